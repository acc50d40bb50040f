// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One snapshot as a file: what stands behind one entry of the log, with that entry's place and the configuration that was in force there.
//
//     magic, format, size of the whole file, index, term      five words
//     configuration                                           voters, learners: a count and names each
//     zeros up to the next word
//     size of the body                                        one word
//     body, zeros up to the next word                         opaque to consensus
//     checksum over everything before it                      one word
//
// A file has its name only when all of it was synchronized, so one that does not read back is damaged and never unfinished.

/// The entry that a snapshot stands behind: the state in it is the one after this entry was applied.
package struct SnapshotPlace: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let index: LogIndex
    /// The term of the entry at `index`.
    package let term: Term
    package init(index: LogIndex, term: Term) {
        self.index = index
        self.term = term
    }
    /// Of committed entries, so that a greater index never has a smaller term.
    package static func < (left: SnapshotPlace, right: SnapshotPlace) -> Bool { left.index < right.index }
    package var description: String { "entry \(index) of term \(term)" }
}

package struct Snapshot: Hashable, Sendable {
    /// More bytes are no snapshot.
    package static let bodyLimit = 1 << 30

    package let place: SnapshotPlace
    /// In force at that entry.
    package let configuration: Configuration
    /// Opaque to consensus.
    package let body: [UInt8]
    package var base: LogBase { LogBase(place: place, configuration: configuration) }
    package init(place: SnapshotPlace, configuration: Configuration, body: [UInt8]) {
        self.place = place
        self.configuration = configuration
        self.body = body
    }
}

/// Why bytes are no snapshot.
package enum SnapshotFlaw: Error, Hashable, Sendable, CustomStringConvertible {
    case unknownFormat(UInt32)
    case damaged(String)

    package var description: String {
        switch self {
        case .unknownFormat(let format):
            "the snapshot has format \(format) and this release reads format \(SnapshotFile.format): start the release that wrote it"
        case .damaged(let reason): "the snapshot is damaged: \(reason)"
        }
    }
}

package enum SnapshotFile {
    /// Rises with every change that an older release cannot read.
    package static let format: UInt32 = 1
    private static let magic: UInt64 = 0x746f_6873_7061_6e73  // "snapshot"
    private static let headBytes = 40
    /// No index or term of a living cluster comes near this; beyond it, adding one could overflow.
    private static let numberLimit: UInt64 = 1 << 62
    /// Head, checksum, the size of the body, and a configuration of sixteen members with the longest names.
    package static let bytesLimit = Snapshot.bodyLimit + 1024

    package static func encode(_ snapshot: Snapshot) -> [UInt8] {
        precondition(snapshot.body.count <= Snapshot.bodyLimit, "a snapshot's body is larger than any may be")
        var members = LittleEndianWriter()
        for list in [snapshot.configuration.voters, snapshot.configuration.learners] {
            members.put(UInt32(list.count))
            for member in list { members.put(member.name) }
        }
        members.pad()
        let padded = (snapshot.body.count + 7) & ~7
        let size = headBytes + members.bytes.count + 8 + padded + 8
        var head = LittleEndianWriter()
        for word in [magic, UInt64(format), UInt64(size), snapshot.place.index.position, snapshot.place.term.number] { head.put(word) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size)
        bytes += head.bytes
        bytes += members.bytes
        bytes.append(contentsOf: repeatElement(0, count: 8))
        bytes.setWord(UInt64(snapshot.body.count), at: bytes.count - 8)
        bytes += snapshot.body
        bytes.append(contentsOf: repeatElement(0, count: padded - snapshot.body.count + 8))
        bytes.setWord(checksum(bytes[..<(size - 8)]), at: size - 8)
        return bytes
    }

    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        var checksum = Checksum()
        bytes.withUnsafeBytes { checksum.mix(bytes: $0) }
        return checksum.value
    }

    package static func decode(_ bytes: [UInt8]) throws(SnapshotFlaw) -> Snapshot {
        guard bytes.count >= headBytes + 24, bytes.count & 7 == 0, bytes.count <= bytesLimit else {
            throw .damaged("it has \(bytes.count) bytes")
        }
        guard bytes.word(at: 0) == magic else { throw .damaged("it does not begin as a snapshot does") }
        // Before the checksum: what another release wrote may end in another way.
        guard bytes.word(at: 8) == UInt64(format) else { throw .unknownFormat(UInt32(truncatingIfNeeded: bytes.word(at: 8))) }
        guard bytes.word(at: 16) == UInt64(bytes.count) else { throw .damaged("it has not the size that it states") }
        let end = bytes.count - 8
        guard bytes.word(at: end) == checksum(bytes[..<end]) else { throw .damaged("it does not read back as it was written") }

        var reader = LittleEndianReader(bytes[headBytes..<end])
        func takeMembers() throws(SnapshotFlaw) -> [MemberID] {
            guard let count = reader.takeUInt32(), count <= 64 else { throw .damaged("it holds no configuration") }
            var members: [MemberID] = []
            for _ in 0..<count {
                guard let name = reader.takeString(), let member = MemberID(String(decoding: name, as: UTF8.self)) else {
                    throw .damaged("it holds no valid member id where there should be one")
                }
                members.append(member)
            }
            return members
        }
        let voters = try takeMembers()
        let learners = try takeMembers()
        guard let configuration = Configuration(voters: voters, learners: learners) else {
            throw .damaged("its configuration is not one to five voters, each named once")
        }
        let body = headBytes + (end - headBytes - reader.remaining + 7) & ~7
        guard body + 8 <= end, let count = Int(exactly: bytes.word(at: body)), count <= end, (count + 7) & ~7 == end - body - 8 else {
            throw .damaged("its body has not the size that it states")
        }
        let place = SnapshotPlace(index: LogIndex(bytes.word(at: 24)), term: Term(bytes.word(at: 32)))
        let numbers = 1...numberLimit
        guard numbers.contains(place.index.position), numbers.contains(place.term.number) else {
            throw .damaged("it stands behind no entry")
        }
        return Snapshot(place: place, configuration: configuration, body: Array(bytes[body + 8..<body + 8 + count]))
    }
}
