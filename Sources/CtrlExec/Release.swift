// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The release that programs report in pings, capabilities and `--version`.

package enum Release {
    package static let version = "0.1.0"
    /// What `cea` says in pings and capabilities: begins with its name, so that a dispatcher knows which dialect it speaks.
    package static let agentVersion = "cea-" + version
}
