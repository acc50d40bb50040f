// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One member of the explored cluster: the real core, its disk, and what waits for its disk. Nodes are shared between states and never changed
// once they stand in one.

import Consensus

final class Node {
    /// Nil while the member is down.
    var raft: LeaseRaft?
    /// What is durable. `entries` is the log whole, also what the member has forgotten of it: that stands up to `base`, and was committed.
    var disk = Recovered.nothing
    /// Oldest first.
    var pending: [(write: JournalWrite, id: WriteID)] = []
    var held: [(packet: Packet, write: WriteID)] = []
    var durableWrite = WriteID.zero
    /// The log as the member sees it, and what it has forgotten of it.
    var log: [Entry] = []
    /// What was handed out for applying.
    var applied = LogIndex.zero
    /// The snapshot that it is to get, once this write is durable.
    var fetch: (place: SnapshotPlace, write: WriteID)?
    private(set) var fingerprint: UInt64 = 0

    init(raft: LeaseRaft) { self.raft = raft }

    private init(copying other: Node) {
        raft = other.raft
        disk = other.disk
        pending = other.pending
        held = other.held
        durableWrite = other.durableWrite
        log = other.log
        applied = other.applied
        fetch = other.fetch
    }

    func copy() -> Node { Node(copying: self) }

    /// Once it is as it will stand in a state, and again when time has passed.
    func takeFingerprint(at now: Instant) {
        var fingerprint = CoreFingerprint()
        fingerprint.add(disk.ballot)
        fingerprint.add(disk.longestPromise.nanoseconds)
        fingerprint.add(disk.entries)
        fingerprint.add(disk.base?.index.position ?? 0)
        fingerprint.add(disk.snapshot?.index.position ?? 0)
        fingerprint.add(disk.snapshot?.term.number ?? 0)
        for (write, _) in pending {
            fingerprint.add(write.base?.index.position ?? 0)
            fingerprint.add(write.base?.place.term.number ?? 0)
            fingerprint.add(write.forgetThrough?.position ?? 0)
            fingerprint.add(write.ballot ?? .initial)
            fingerprint.add(write.longestPromise?.nanoseconds ?? 0)
            fingerprint.add(write.truncateFrom?.position ?? 0)
            fingerprint.add(write.entries)
        }
        for (packet, write) in held {
            fingerprint.add(packet.fingerprint)
            fingerprint.add(write.number - durableWrite.number)
        }
        if let fetch {
            fingerprint.add(max(fetch.write, durableWrite).number - durableWrite.number + 1)
            fingerprint.add(fetch.place.index.position)
            fingerprint.add(fetch.place.term.number)
        } else {
            fingerprint.add(0)
        }
        fingerprint.add(applied.position)
        if let raft { raft.addFingerprint(at: now, to: &fingerprint) } else { fingerprint.add(0) }
        self.fingerprint = fingerprint.value
    }
}

extension Node {
    /// The log, whole, that the member begins with if it starts now: where its journal does not hold the entry of its newest snapshot, that
    /// begins anew behind it (`Journal.open`).
    func durableLog(_ committed: [Entry]) -> [Entry] {
        guard let snapshot = disk.snapshot, !disk.entries.holds(snapshot) else { return disk.entries }
        return Array(committed.prefix(Int(snapshot.index.position)))
    }

    /// What the journal gives back now.
    func recover(_ committed: [Entry]) -> Recovered {
        let log = durableLog(committed)
        if let snapshot = disk.snapshot, !disk.entries.holds(snapshot) {
            disk.base = LogBase(place: snapshot, configuration: Cluster.configuration)
        }
        disk.entries = log
        var recovered = disk
        recovered.entries.removeFirst(Int(disk.base?.index.position ?? 0))
        return recovered
    }
}

extension Recovered {
    mutating func apply(_ write: JournalWrite, _ committed: [Entry]) {
        ballot = write.ballot ?? ballot
        longestPromise = write.longestPromise ?? longestPromise
        entries.apply(write, committed)
        base = write.base ?? base
        if let index = write.forgetThrough, index > base?.index ?? .zero, index.position <= UInt64(entries.count) {
            let place = SnapshotPlace(index: index, term: entries[Int(index.position) - 1].term)
            base = LogBase(place: place, configuration: Cluster.configuration)
        }
    }
}

extension [Entry] {
    /// What stands before a base is what was committed.
    mutating func apply(_ write: JournalWrite, _ committed: [Entry]) {
        if let base = write.base { self = Array(committed.prefix(Int(base.index.position))) }
        if let from = write.truncateFrom, from.position <= UInt64(count) { removeSubrange((Int(from.position) - 1)...) }
        self += write.entries
    }

    func holds(_ place: SnapshotPlace) -> Bool {
        place.index.position <= UInt64(count) && self[Int(place.index.position) - 1].term == place.term
    }
}
