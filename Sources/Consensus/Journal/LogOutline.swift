// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a journal knows of the log that it holds, without the entries: enough to say in the header of a new segment what stands before it.

struct LogOutline: Hashable, Sendable {
    private(set) var base: LogBase
    private(set) var last: LogIndex
    /// Each term with its first entry here, rising.
    private var terms: [Beginning<Term>] = []
    /// Each change of the configuration with its entry, rising.
    private var changes: [Beginning<Configuration>] = []

    private struct Beginning<Value: Hashable & Sendable>: Hashable, Sendable {
        let index: LogIndex
        let value: Value
    }

    init(behind base: LogBase) {
        self.base = base
        last = base.index
    }

    /// The end of the log, as the base of what follows.
    var end: LogBase { place(at: last) ?? base }

    /// Nil outside of the log.
    func place(at index: LogIndex) -> LogBase? {
        guard index >= base.index, index <= last else { return nil }
        let term = terms.last { $0.index <= index }?.value ?? base.term
        let configuration = changes.last { $0.index <= index }?.value ?? base.configuration
        return LogBase(place: SnapshotPlace(index: index, term: term), configuration: configuration)
    }

    func holds(_ place: SnapshotPlace) -> Bool { self.place(at: place.index)?.term == place.term }

    mutating func append(_ entry: Entry) {
        precondition(entry.index == last.next, "entry \(entry.index) cannot follow entry \(last)")
        if entry.term != end.term { terms.append(Beginning(index: entry.index, value: entry.term)) }
        if let configuration = entry.configuration { changes.append(Beginning(index: entry.index, value: configuration)) }
        last = entry.index
    }

    /// Removes `index` and everything behind it.
    mutating func truncate(from index: LogIndex) {
        last = max(base.index, min(last, index.previous))
        while let beginning = terms.last, beginning.index > last { terms.removeLast() }
        while let beginning = changes.last, beginning.index > last { changes.removeLast() }
    }

    /// The base moves up to `index`.
    mutating func forget(through index: LogIndex) {
        guard index > base.index, let place = place(at: index) else { return }
        base = place
        terms.removeAll { $0.index <= index }
        changes.removeAll { $0.index <= index }
    }
}
