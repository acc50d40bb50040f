// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One member of the explored cluster: the real core, its disk, and what waits for its disk. Nodes are shared between states and never changed
// once they stand in one.

import Consensus

final class Node {
    /// Nil while the member is down.
    var raft: LeaseRaft?
    /// What is durable.
    var disk = Recovered.nothing
    /// Oldest first.
    var pending: [(write: JournalWrite, id: WriteID)] = []
    var held: [(packet: Packet, write: WriteID)] = []
    var durableWrite = WriteID.zero
    /// The log as the member sees it.
    var log: [Entry] = []
    private(set) var fingerprint: UInt64 = 0

    init(raft: LeaseRaft) { self.raft = raft }

    private init(copying other: Node) {
        raft = other.raft
        disk = other.disk
        pending = other.pending
        held = other.held
        durableWrite = other.durableWrite
        log = other.log
    }

    func copy() -> Node { Node(copying: self) }

    /// Once it is as it will stand in a state, and again when time has passed.
    func takeFingerprint(at now: Instant) {
        var fingerprint = CoreFingerprint()
        fingerprint.add(disk.ballot)
        fingerprint.add(disk.longestPromise.nanoseconds)
        fingerprint.add(disk.entries)
        for (write, _) in pending {
            fingerprint.add(write.ballot ?? .initial)
            fingerprint.add(write.longestPromise?.nanoseconds ?? 0)
            fingerprint.add(write.truncateFrom?.position ?? 0)
            fingerprint.add(write.entries)
        }
        for (packet, write) in held {
            fingerprint.add(packet.fingerprint)
            fingerprint.add(write.number - durableWrite.number)
        }
        if let raft { raft.addFingerprint(at: now, to: &fingerprint) } else { fingerprint.add(0) }
        self.fingerprint = fingerprint.value
    }
}

extension Recovered {
    mutating func apply(_ write: JournalWrite) {
        ballot = write.ballot ?? ballot
        longestPromise = write.longestPromise ?? longestPromise
        entries.apply(write)
    }
}

extension [Entry] {
    mutating func apply(_ write: JournalWrite) {
        if let from = write.truncateFrom, from.position <= UInt64(count) { removeSubrange((Int(from.position) - 1)...) }
        self += write.entries
    }
}
