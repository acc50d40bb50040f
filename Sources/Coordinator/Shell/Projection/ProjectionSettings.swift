// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where the projected files go.

import DispatcherState

package struct ProjectionSettings: Hashable, Sendable {
    /// `/etc/ctrl-exec`, unless the configuration says otherwise.
    package var configurationDirectory: String
    /// `/var/lib/ctrl-exec`, likewise.
    package var dataDirectory: String
    /// The current identity's private key in the clear, for programs that call agents by themselves.
    package var projectsKeys: Bool
    package init(configurationDirectory: String, dataDirectory: String, projectsKeys: Bool = false) {
        self.configurationDirectory = configurationDirectory
        self.dataDirectory = dataDirectory
        self.projectsKeys = projectsKeys
    }

    package func directory(of root: ProjectedPath.Root) -> String {
        switch root {
        case .configuration: configurationDirectory
        case .data: dataDirectory
        }
    }

    func place(of path: ProjectedPath) -> String { directory(of: path.root) + "/" + path.name }

    /// What is made below a root where it is missing; the roots themselves are made by whoever installs the member.
    static let folders: [(root: ProjectedPath.Root, name: String, mode: UInt32)] = [
        (.data, "agents", 0o770), (.data, "pairing", 0o770),
    ]
}
