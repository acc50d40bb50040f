// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The name under which an agent's allowlist knows a script.

/// `^[\w-]+$` (protocol page, 6.1), ASCII, at most 200 bytes because lock files are named for it.
package struct ScriptName: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package init?(_ text: String) {
        guard (1...Limits.nameBytes).contains(text.utf8.count), text.utf8.allSatisfy({ $0.isWordByte || $0 == 45 }) else { return nil }
        self.text = text
    }
    package static func < (left: ScriptName, right: ScriptName) -> Bool { left.text.utf8.lexicographicallyPrecedes(right.text.utf8) }
    package var description: String { text }

    /// With this name the rotation script of 0.9 and 0.10 is called (16.4); `cea` knows it by itself.
    package static let updateSerial = "update-ctrl-exec-serial"
}

/// What an agent accepts as the id of an asynchronous run: `^[A-Za-z0-9_-]+$` (6.2), at most 200 bytes. Wider than `Reqid`.
package struct RunReference: Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package init?(_ text: String) {
        guard (1...Limits.nameBytes).contains(text.utf8.count), text.utf8.allSatisfy({ $0.isWordByte || $0 == 45 }) else { return nil }
        self.text = text
    }
    package var description: String { text }
}
