// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The names of the protocol as types, so that a term cannot be passed for an index.

/// A term of the Raft paper (section 5.1). Terms begin at 1; 0 is "before the first election".
package struct Term: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static let zero = Term(0)
    package static func < (left: Term, right: Term) -> Bool { left.number < right.number }
    package var next: Term { Term(number + 1) }
    package var description: String { "\(number)" }
}

/// The place of an entry in the log. The first entry has index 1; 0 is "before the first entry".
package struct LogIndex: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let position: UInt64
    package init(_ position: UInt64) { self.position = position }
    package static let zero = LogIndex(0)
    package static func < (left: LogIndex, right: LogIndex) -> Bool { left.position < right.position }
    package var next: LogIndex { LogIndex(position + 1) }
    /// The index before this one; zero stays zero.
    package var previous: LogIndex { LogIndex(position == 0 ? 0 : position - 1) }
    package var description: String { "\(position)" }
}

/// The name of a member, never reused: 1 to 32 characters of `a-z`, `0-9` and `-`, beginning with a letter.
package struct MemberID: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let name: String
    package init?(_ name: String) {
        let bytes = Array(name.utf8)
        guard (1...32).contains(bytes.count), (97...122).contains(bytes[0]) else { return nil }
        for byte in bytes where !((97...122).contains(byte) || (48...57).contains(byte) || byte == 45) { return nil }
        self.name = name
    }
    package static func < (left: MemberID, right: MemberID) -> Bool { left.name < right.name }
    package var description: String { name }
}

/// Names one write that the core handed to the journal. Rises by one with each; writes become durable in this order.
package struct WriteID: Comparable, Hashable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static let zero = WriteID(0)
    package static func < (left: WriteID, right: WriteID) -> Bool { left.number < right.number }
    package var next: WriteID { WriteID(number + 1) }
}

/// The number of a heartbeat within a term. An append counts as one. Begins at 1; 0 is "none yet".
package struct HeartbeatNumber: Comparable, Hashable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static let zero = HeartbeatNumber(0)
    package static func < (left: HeartbeatNumber, right: HeartbeatNumber) -> Bool { left.number < right.number }
    package var next: HeartbeatNumber { HeartbeatNumber(number + 1) }
}
