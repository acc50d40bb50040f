// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The release that programs report in pings, capabilities and `--version`.

package enum Release {
    package static let version = "0.1.0"
    /// With the commit of the build, if it is known: `0.1.0 (95da8b7)`.
    package static func described(commit: String) -> String { commit.isEmpty ? version : "\(version) (\(commit))" }
    /// What `cea` says in pings and capabilities: begins with its name, so that a dispatcher knows which dialect it speaks.
    package static let agentVersion = "cea-" + version
}
