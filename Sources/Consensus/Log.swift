// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The log in memory: everything behind its base, with terms that never fall. What stood up to the base is forgotten; it was committed, and a
// snapshot holds what it did. The log knows nothing of what is durable (`Writes`) or committed.

/// Where a log begins: behind which entry, and who the members are there.
package struct LogBase: Hashable, Sendable {
    package let place: SnapshotPlace
    /// In force at that entry.
    package let configuration: Configuration
    package init(place: SnapshotPlace, configuration: Configuration) {
        self.place = place
        self.configuration = configuration
    }
    package var index: LogIndex { place.index }
    package var term: Term { place.term }

    /// Before the first entry.
    static func origin(_ configuration: Configuration) -> LogBase {
        LogBase(place: SnapshotPlace(index: .zero, term: .zero), configuration: configuration)
    }
}

struct Log: Sendable {
    /// A leader accepts no proposal while so many entries stand behind the base.
    static let entryLimit = 1_000_000
    /// A leader accepts no proposal while this many entries wait for their commit.
    static let uncommittedLimit: UInt64 = 4096
    /// One append carries at most this many entries …
    static let batchEntryLimit = 64
    /// … and this many bytes of payload, but always at least one entry.
    static let batchByteLimit = 128 * 1024

    private(set) var base: LogBase
    /// `entries[i].index == base.index + i + 1`.
    private(set) var entries: [Entry]
    /// Of all payloads.
    private(set) var bytes = 0
    /// The places of the entries that change the configuration, rising.
    private(set) var changes: [LogIndex] = []

    init(_ entries: [Entry] = [], behind base: LogBase) {
        for (offset, entry) in entries.enumerated() {
            precondition(entry.index.position == base.index.position + UInt64(offset) + 1, "the recovered log has a gap")
        }
        self.base = base
        self.entries = entries
        for entry in entries {
            bytes += entry.payload.count
            if entry.configuration != nil { changes.append(entry.index) }
        }
    }

    var lastIndex: LogIndex { LogIndex(base.index.position + UInt64(entries.count)) }
    var lastTerm: Term { entries.last?.term ?? base.term }

    /// Only of what stands behind the base.
    private func offset(of index: LogIndex) -> Int { Int(index.position - base.index.position) - 1 }

    /// The term of the entry at `index`, the base's included; zero before the first entry; nil where there is none, or none any more.
    func term(at index: LogIndex) -> Term? {
        if index == base.index { return base.term }
        guard index > base.index, index <= lastIndex else { return nil }
        return entries[offset(of: index)].term
    }

    /// The newest configuration, committed or not, and where it stands: at the base, if it is from there or from before.
    var newestChange: (index: LogIndex, configuration: Configuration) {
        guard let index = changes.last, let configuration = entries[offset(of: index)].configuration else {
            return (base.index, base.configuration)
        }
        return (index, configuration)
    }

    /// What was in force before the newest change.
    var configurationBeforeNewest: Configuration { changes.count < 2 ? base.configuration : configuration(at: changes[changes.count - 2]) }

    /// What is in force at an entry, the base's included.
    func configuration(at index: LogIndex) -> Configuration {
        guard let change = changes.last(where: { $0 <= index }), let configuration = entries[offset(of: change)].configuration else {
            return base.configuration
        }
        return configuration
    }

    /// Whether a log that ends like this is at least as up to date as this one (paper, section 5.4.1).
    func isNotAhead(ofLastIndex index: LogIndex, lastTerm term: Term) -> Bool {
        term > lastTerm || (term == lastTerm && index >= lastIndex)
    }

    mutating func append(_ entry: Entry) {
        precondition(entry.index == lastIndex.next, "an entry must stand right behind the last one")
        precondition(entry.term >= lastTerm, "terms never fall within a log")
        entries.append(entry)
        bytes += entry.payload.count
        if entry.configuration != nil { changes.append(entry.index) }
    }

    /// Removes `index` and everything behind it.
    mutating func truncate(from index: LogIndex) {
        precondition(index > base.index && index <= lastIndex, "there is nothing to truncate")
        for entry in entries[offset(of: index)...] { bytes -= entry.payload.count }
        entries.removeSubrange(offset(of: index)...)
        while let last = changes.last, last >= index { changes.removeLast() }
    }

    /// The base moves up to `index`.
    mutating func forget(through index: LogIndex) {
        precondition(index > base.index && index <= lastIndex, "there is nothing to forget")
        guard let term = term(at: index) else { preconditionFailure("an entry within the log has a term") }
        let configuration = configuration(at: index)
        let count = offset(of: index) + 1
        for entry in entries[..<count] { bytes -= entry.payload.count }
        entries.removeFirst(count)
        changes.removeAll { $0 <= index }
        base = LogBase(place: SnapshotPlace(index: index, term: term), configuration: configuration)
    }

    /// Entries `after` < index <= `through`.
    func slice(after: LogIndex, through: LogIndex) -> ArraySlice<Entry> {
        precondition(after >= base.index, "these entries are forgotten")
        return entries[(offset(of: after) + 1)..<(offset(of: through) + 1)]
    }

    /// What one append beginning at `index` carries.
    func batch(from index: LogIndex) -> (entries: [Entry], bytes: Int) {
        let start = offset(of: index)
        var end = start
        var bytes = 0
        while end < entries.count, end - start < Log.batchEntryLimit {
            let size = entries[end].payload.count
            if end > start, bytes + size > Log.batchByteLimit { break }
            bytes += size
            end += 1
        }
        return (Array(entries[start..<end]), bytes)
    }

    /// The last index not above `index` whose term is not above `term`: where two logs may still agree. Both sides of a mismatch use
    /// it, so that each exchange skips at least one whole term. Somewhere before the base, if it must be there.
    func lastIndex(upTo index: LogIndex, termAtMost term: Term) -> LogIndex {
        if index < base.index || base.term > term { return min(index, base.index.previous) }
        var low = 0
        var high = Int(min(index, lastIndex).position - base.index.position)
        while low < high {
            let middle = (low + high + 1) / 2
            if entries[middle - 1].term <= term { low = middle } else { high = middle - 1 }
        }
        return LogIndex(base.index.position + UInt64(low))
    }
}
