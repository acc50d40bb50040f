// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Whether a path can be run.

import Glibc

/// A regular file, or a link to one, that this process may execute.
package func isExecutableFile(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
}
