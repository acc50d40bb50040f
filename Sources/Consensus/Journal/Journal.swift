// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The durable log over an abstract disk. SEAM: this file fixes the outward face; the room's builder fills it.

/// What a member is born with; the first thing in its journal, never changed.
package struct Genesis: Hashable, Sendable {
    package let member: MemberID
    package let configuration: Configuration
    /// The initial replicated state, opaque to consensus.
    package let payload: [UInt8]
    package init(member: MemberID, configuration: Configuration, payload: [UInt8]) {
        self.member = member
        self.configuration = configuration
        self.payload = payload
    }
}

package enum JournalRefusal: Error, Hashable, Sendable {
    /// No journal here: never initialised, or the disk is lost.
    case missing
    /// A record that was durable does not read back.
    case damaged(FileName, offset: UInt64, reason: String)
    case unknownFormat(UInt32)
    case disk(DiskFailure)
}

package struct Journal<D: Disk>: Sendable {
    package private(set) var disk: D
    /// Makes the journal of a new member; refuses a directory that already holds one.
    package static func create(on disk: D, genesis: Genesis) throws(DiskFailure) { fatalError("seam") }
    package static func open(on disk: D) throws(JournalRefusal) -> (journal: Journal<D>, genesis: Genesis, recovered: Recovered) {
        fatalError("seam")
    }
    /// Writes behind what is there; durable only after `flush`. Several appends may share one flush.
    package mutating func append(_ write: JournalWrite) throws(DiskFailure) { fatalError("seam") }
    /// When it returns, everything appended is durable. After a failure the journal must not be used again.
    package mutating func flush() throws(DiskFailure) { fatalError("seam") }
}
