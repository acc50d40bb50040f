// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the world knows of one member's disk: what the member wrote, and what of it is durable. From this the invariants judge what a member
// says, and what its journal and its snapshots give back after a crash.
//
// A log that begins behind a snapshot is known whole all the same: up to the snapshot it is the one that was committed.

import Consensus

/// The logs of two members agree up to an index if and only if the chains there are equal.
package struct LogMark: Hashable, Sendable {
    package let term: Term
    /// Of this entry and all before it.
    package let chain: UInt64
    package init(term: Term, chain: UInt64) {
        self.term = term
        self.chain = chain
    }
    static let origin = LogMark(term: .zero, chain: 0)
    func followed(by entry: Entry) -> LogMark {
        LogMark(term: entry.term, chain: mixed(mixed(chain, entry.term.number), digest(of: entry.payload)))
    }
}

package struct KnownLog: Sendable {
    package var ballot = Ballot.initial
    package var longestPromise = TimeSpan.zero
    /// From index 1 on.
    package var marks: [LogMark] = []
    package init() {}

    package var last: LogIndex { LogIndex(UInt64(marks.count)) }
    /// Nil behind the end of the log.
    package func mark(at index: LogIndex) -> LogMark? {
        if index == .zero { return .origin }
        return index <= last ? marks[Int(index.position) - 1] : nil
    }
    mutating func truncate(from index: LogIndex) {
        guard index <= last, index > .zero else { return }
        marks.removeSubrange((Int(index.position) - 1)...)
    }
    mutating func append(_ entry: Entry) {
        marks.append((marks.last ?? .origin).followed(by: entry))
    }
    /// The log as it is when a snapshot is on disk beside it: what does not have the snapshot's entry is void.
    func behind(_ prefix: [LogMark]) -> KnownLog {
        guard let last = prefix.last, mark(at: LogIndex(UInt64(prefix.count))) != last else { return self }
        var log = self
        log.marks = prefix
        return log
    }
    /// Whether it is exactly this that came back.
    func cameBack(as recovered: Recovered) -> Bool {
        let base = recovered.base?.place ?? SnapshotPlace(index: .zero, term: .zero)
        guard ballot == recovered.ballot, longestPromise == recovered.longestPromise, last == recovered.lastIndex,
            var mark = mark(at: base.index), mark.term == base.term
        else { return false }
        for entry in recovered.entries { mark = mark.followed(by: entry) }
        return mark == self.mark(at: last)
    }
}

package struct KnownJournal: Sendable {
    /// Flushed: whatever happens, the member comes back with at least this.
    package private(set) var durable = KnownLog()
    /// As the core sees it: everything that it wrote, on disk or not.
    package private(set) var written = KnownLog()
    /// What the journal alone would give back.
    private var flushed = KnownLog()
    /// Written and not known to be flushed, oldest first.
    private var pending: [Pending] = []
    /// The newest snapshot that is on disk, and the committed log up to it.
    package private(set) var snapshot: SnapshotPlace?
    private var prefix: [LogMark] = []
    /// One that is on its way there.
    private var saving: SnapshotPlace?
    /// No entry behind this was ever given up.
    private var forgotten = LogIndex.zero
    package init() {}

    private struct Pending: Sendable {
        let id: WriteID
        let write: JournalWrite
        /// The committed log up to the write's base.
        let prefix: [LogMark]
    }

    package var hasUnflushed: Bool { !pending.isEmpty }
    package var beginsAnew: Bool { pending.contains { $0.write.base != nil } }

    /// - Parameter prefix: the committed log up to the write's base, if it has one.
    package mutating func write(_ write: JournalWrite, _ id: WriteID, prefix: [LogMark] = []) {
        let item = Pending(id: id, write: write, prefix: prefix)
        KnownJournal.apply(item, to: &written)
        if let base = write.base { forgotten = max(forgotten, base.index) }
        if let index = write.forgetThrough { forgotten = max(forgotten, index) }
        pending.append(item)
    }

    private static func apply(_ item: Pending, to log: inout KnownLog) { for change in changes(item) { change(&log) } }

    /// One after the other, as they stand in the journal.
    private static func changes(_ item: Pending) -> [(inout KnownLog) -> Void] {
        var changes: [(inout KnownLog) -> Void] = []
        let write = item.write
        if write.base != nil { changes.append { $0.marks = item.prefix } }
        if let ballot = write.ballot { changes.append { $0.ballot = ballot } }
        if let longest = write.longestPromise { changes.append { $0.longestPromise = longest } }
        if let index = write.truncateFrom { changes.append { $0.truncate(from: index) } }
        for entry in write.entries { changes.append { $0.append(entry) } }
        return changes
    }

    package mutating func flushed(through id: WriteID) {
        var count = 0
        for item in pending {
            guard item.id <= id else { break }
            KnownJournal.apply(item, to: &flushed)
            count += 1
        }
        pending.removeFirst(count)
        durable = flushed.behind(prefix)
    }

    /// A snapshot is being written.
    package mutating func saves(_ place: SnapshotPlace) { saving = place }

    /// It is on disk; `prefix` is the committed log up to it.
    package mutating func saved(_ place: SnapshotPlace, prefix: [LogMark]) {
        saving = nil
        guard snapshot.map({ $0 < place }) ?? true else { return }
        (snapshot, self.prefix) = (place, prefix)
        durable = flushed.behind(prefix)
    }

    /// A member came back. True if what it found is what was flushed, and then, in the order in which it was written, some of the rest; with
    /// the newest snapshot that was on disk, or one that was on its way there.
    ///
    /// - Parameter committed: the committed log up to an index.
    package mutating func recovered(_ recovered: Recovered, committed: (LogIndex) -> [LogMark] = { _ in [] }) -> Bool {
        let isSnapshotPossible = recovered.snapshot == snapshot || (recovered.snapshot != nil && recovered.snapshot == saving)
        let prefix = recovered.snapshot.map { committed($0.index) } ?? []
        let isBasePossible = recovered.base?.index ?? .zero <= max(forgotten, recovered.snapshot?.index ?? .zero)
        let found = isBasePossible ? find(recovered, behind: prefix) : nil
        snapshot = recovered.snapshot
        self.prefix = prefix
        saving = nil
        pending = []
        durable = found ?? durable
        flushed = durable
        written = durable
        return isSnapshotPossible && found != nil
    }

    private func find(_ recovered: Recovered, behind prefix: [LogMark]) -> KnownLog? {
        var candidate = flushed
        if candidate.behind(prefix).cameBack(as: recovered) { return candidate.behind(prefix) }
        for item in pending {
            for change in KnownJournal.changes(item) {
                change(&candidate)
                if candidate.behind(prefix).cameBack(as: recovered) { return candidate.behind(prefix) }
            }
        }
        return nil
    }
}
