// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which version this is; one place for all who say it.

package let cedVersion = "0.1.0"
