// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the world knows of one member's journal: what the member wrote, and what of it is on disk. From this the invariants judge what a
// member says, and what its journal gives back after a crash.

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
    mutating func apply(ballot: Ballot) { self.ballot = ballot }
    mutating func truncate(from index: LogIndex) {
        guard index <= last, index > .zero else { return }
        marks.removeSubrange((Int(index.position) - 1)...)
    }
    mutating func append(_ entry: Entry) {
        marks.append((marks.last ?? .origin).followed(by: entry))
    }
    mutating func apply(_ write: JournalWrite) {
        if let ballot = write.ballot { self.ballot = ballot }
        if let longest = write.longestPromise { longestPromise = longest }
        if let index = write.truncateFrom { truncate(from: index) }
        for entry in write.entries { append(entry) }
    }
    func agrees(with other: KnownLog) -> Bool {
        ballot == other.ballot && longestPromise == other.longestPromise && marks.count == other.marks.count
            && marks.last == other.marks.last
    }
}

package struct KnownJournal: Sendable {
    /// Flushed: whatever happens, the member comes back with at least this.
    package private(set) var durable = KnownLog()
    /// As the core sees it: everything that it wrote, on disk or not.
    package private(set) var written = KnownLog()
    /// Written and not known to be flushed, oldest first.
    private var pending: [(id: WriteID, write: JournalWrite)] = []
    package init() {}

    package var hasUnflushed: Bool { !pending.isEmpty }

    package mutating func write(_ write: JournalWrite, _ id: WriteID) {
        written.apply(write)
        pending.append((id, write))
    }

    package mutating func flushed(through id: WriteID) {
        var count = 0
        for item in pending {
            guard item.id <= id else { break }
            durable.apply(item.write)
            count += 1
        }
        pending.removeFirst(count)
    }

    /// A member came back. True if what it found is what was flushed, and then, in the order in which it was written, some of the rest.
    package mutating func recovered(_ recovered: Recovered) -> Bool {
        var found = KnownLog()
        found.ballot = recovered.ballot
        found.longestPromise = recovered.longestPromise
        for entry in recovered.entries {
            guard entry.index == found.last.next else { return false }
            found.append(entry)
        }
        let isPossible = isPrefix(found)
        durable = found
        written = found
        pending = []
        return isPossible
    }

    private func isPrefix(_ found: KnownLog) -> Bool {
        var candidate = durable
        if candidate.agrees(with: found) { return true }
        for (_, write) in pending {
            if let ballot = write.ballot { candidate.ballot = ballot }
            if candidate.agrees(with: found) { return true }
            if let longest = write.longestPromise { candidate.longestPromise = longest }
            if candidate.agrees(with: found) { return true }
            if let index = write.truncateFrom { candidate.truncate(from: index) }
            if candidate.agrees(with: found) { return true }
            for entry in write.entries {
                candidate.append(entry)
                if candidate.agrees(with: found) { return true }
            }
        }
        return false
    }
}
