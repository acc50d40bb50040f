// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The files that ctrl-exec's users have scripts for (architecture, rule 6): which there are, and what they are made of. What they contain
// is in `DispatcherState+Projection.swift`; who writes them, and when, is the shell's business.

import CtrlExec

/// A file that follows the applied state.
package struct ProjectedFile: Hashable, Sendable {
    package let path: ProjectedPath
    package let content: [UInt8]
    /// Permission bits, as ctrl-exec's own tools set them.
    package let mode: UInt32
    package init(path: ProjectedPath, content: [UInt8], mode: UInt32) {
        self.path = path
        self.content = content
        self.mode = mode
    }
}

/// Where a projected file belongs: below one of two roots, whose places the configuration says.
package struct ProjectedPath: Comparable, Hashable, Sendable, CustomStringConvertible {
    package enum Root: String, Hashable, Sendable, CaseIterable {
        /// `/etc/ctrl-exec`.
        case configuration = "etc"
        /// `/var/lib/ctrl-exec`.
        case data = "var"
    }
    package let root: Root
    /// One name, or a folder and a name.
    package let name: String
    package init(_ root: Root, _ name: String) {
        self.root = root
        self.name = name
    }
    package static func < (left: ProjectedPath, right: ProjectedPath) -> Bool {
        (left.root.rawValue, left.name) < (right.root.rawValue, right.name)
    }
    package var description: String { "\(root.rawValue)/\(name)" }

    /// The dispatcher's private key, which is only projected if the configuration says so, and never by this room.
    package static let dispatcherKey = ProjectedPath(.configuration, "dispatcher.key")
}

/// A part of the state that makes one file, or, in two cases, several.
package enum ProjectedPart: Hashable, Sendable {
    /// The CA's certificate, which never changes, and the current identity's.
    case certificates
    case rotation
    case agent(AgentName)
    /// An agent's status depends on which identity is the newest.
    case everyAgent
    case pairing(Reqid)
}

/// What somebody who follows the projection must look at again.
package enum ProjectionChange: Hashable, Sendable {
    case everything
    case parts([ProjectedPart])
}

/// What a part looks like now.
package enum ProjectedPartState: Hashable, Sendable {
    case file(ProjectedFile)
    /// There is no such file.
    case absent(ProjectedPath)

    package var path: ProjectedPath {
        switch self {
        case .file(let file): file.path
        case .absent(let path): path
        }
    }
}
