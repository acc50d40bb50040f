// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The log in memory: whole, from index 1, with terms that never fall. It knows nothing of what is durable (`Writes`) or committed.

struct Log: Sendable {
    /// A leader accepts no proposal beyond this many entries.
    static let entryLimit = 1_000_000
    /// A leader accepts no proposal while this many entries wait for their commit.
    static let uncommittedLimit: UInt64 = 4096
    /// One append carries at most this many entries …
    static let batchEntryLimit = 64
    /// … and this many bytes of payload, but always at least one entry.
    static let batchByteLimit = 128 * 1024

    /// `entries[i].index == i + 1`.
    private(set) var entries: [Entry]
    /// The places of the entries that change the configuration, rising.
    private(set) var changes: [LogIndex] = []

    init(_ entries: [Entry]) {
        for (offset, entry) in entries.enumerated() {
            precondition(entry.index.position == UInt64(offset) + 1, "the recovered log has a gap")
        }
        self.entries = entries
        for entry in entries where entry.configuration != nil { changes.append(entry.index) }
    }

    var lastIndex: LogIndex { LogIndex(UInt64(entries.count)) }
    var lastTerm: Term { entries.last?.term ?? .zero }

    /// The term of the entry at `index`; zero before the first entry, nil beyond the last.
    func term(at index: LogIndex) -> Term? {
        if index == .zero { return .zero }
        guard index <= lastIndex else { return nil }
        return entries[Int(index.position) - 1].term
    }

    /// The newest change of the configuration, committed or not; nil: there is none.
    var newestChange: (index: LogIndex, configuration: Configuration)? {
        guard let index = changes.last, let configuration = entries[Int(index.position) - 1].configuration else { return nil }
        return (index, configuration)
    }

    /// The change before the newest; nil: there is none.
    var changeBeforeNewest: Configuration? {
        changes.count < 2 ? nil : entries[Int(changes[changes.count - 2].position) - 1].configuration
    }

    /// Whether a log that ends like this is at least as up to date as this one (paper, section 5.4.1).
    func isNotAhead(ofLastIndex index: LogIndex, lastTerm term: Term) -> Bool {
        term > lastTerm || (term == lastTerm && index >= lastIndex)
    }

    mutating func append(_ entry: Entry) {
        precondition(entry.index == lastIndex.next, "an entry must stand right behind the last one")
        precondition(entry.term >= lastTerm, "terms never fall within a log")
        entries.append(entry)
        if entry.configuration != nil { changes.append(entry.index) }
    }

    /// Removes `index` and everything behind it.
    mutating func truncate(from index: LogIndex) {
        precondition(index > .zero && index <= lastIndex, "there is nothing to truncate")
        entries.removeLast(entries.count - Int(index.position) + 1)
        while let last = changes.last, last >= index { changes.removeLast() }
    }

    /// Entries `after` < index <= `through`.
    func slice(after: LogIndex, through: LogIndex) -> ArraySlice<Entry> {
        entries[Int(after.position)..<Int(through.position)]
    }

    /// What one append beginning at `index` carries.
    func batch(from index: LogIndex) -> (entries: [Entry], bytes: Int) {
        let start = Int(index.position) - 1
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
    /// it, so that each exchange skips at least one whole term.
    func lastIndex(upTo index: LogIndex, termAtMost term: Term) -> LogIndex {
        var low = 0
        var high = Int(min(index, lastIndex).position)
        while low < high {
            let middle = (low + high + 1) / 2
            if entries[middle - 1].term <= term { low = middle } else { high = middle - 1 }
        }
        return LogIndex(UInt64(low))
    }
}
