// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the log holds and what is written to the journal.

/// One entry of the replicated log. `payload` is opaque to consensus; it is empty in the entry with which a leader begins its term.
package struct Entry: Hashable, Sendable {
    /// At most this many bytes of payload; a larger proposal is refused before it enters the log.
    package static let payloadLimit = 256 * 1024

    package let index: LogIndex
    package let term: Term
    package let payload: [UInt8]
    /// Who the members are from here on; nil in most entries.
    package let configuration: Configuration?
    package init(index: LogIndex, term: Term, payload: [UInt8], configuration: Configuration? = nil) {
        self.index = index
        self.term = term
        self.payload = payload
        self.configuration = configuration
    }
}

/// Term and vote: one record, because a vote without its term is meaningless.
package struct Ballot: Hashable, Sendable {
    package let term: Term
    package let vote: MemberID?
    package init(term: Term, vote: MemberID?) {
        self.term = term
        self.vote = vote
    }
    package static let initial = Ballot(term: .zero, vote: nil)
}

/// What one step of the core wants on disk, in this order: base, ballot, promise, truncation, entries.
package struct JournalWrite: Hashable, Sendable {
    /// All that the journal holds of the log is void: it goes on behind this entry, whose snapshot is on disk.
    package var base: LogBase?
    package var ballot: Ballot?
    /// The longest promise ever made; written before the first answer that makes a longer one.
    package var longestPromise: TimeSpan?
    /// Entries from here on are void (they conflict with the leader's).
    package var truncateFrom: LogIndex?
    /// Contiguous, and right behind what stays of the log.
    package var entries: [Entry]
    /// Nobody will ask for what stands up to here: the journal may drop it, or some of it, when it likes.
    package var forgetThrough: LogIndex?
    package init(
        base: LogBase? = nil, ballot: Ballot? = nil, longestPromise: TimeSpan? = nil, truncateFrom: LogIndex? = nil, entries: [Entry] = [],
        forgetThrough: LogIndex? = nil
    ) {
        self.base = base
        self.ballot = ballot
        self.longestPromise = longestPromise
        self.truncateFrom = truncateFrom
        self.entries = entries
        self.forgetThrough = forgetThrough
    }
    package var isEmpty: Bool {
        base == nil && ballot == nil && longestPromise == nil && truncateFrom == nil && entries.isEmpty && forgetThrough == nil
    }
}

/// What a journal gives back when it is opened: all of it was durable.
package struct Recovered: Hashable, Sendable {
    package var ballot: Ballot
    package var longestPromise: TimeSpan
    /// Where the log begins; nil: before the first entry.
    package var base: LogBase?
    /// All that stands behind the base.
    package var entries: [Entry]
    /// Where the newest snapshot stands: at the base or behind it, and never where the log does not reach. Nil: there is none. The member
    /// begins from it, and what stands up to it is committed.
    package var snapshot: SnapshotPlace?
    package init(
        ballot: Ballot, longestPromise: TimeSpan, base: LogBase? = nil, entries: [Entry], snapshot: SnapshotPlace? = nil
    ) {
        self.ballot = ballot
        self.longestPromise = longestPromise
        self.base = base
        self.entries = entries
        self.snapshot = snapshot
    }
    /// Zero: the log is empty and has always been.
    package var lastIndex: LogIndex { entries.last?.index ?? base?.index ?? .zero }
    package static let nothing = Recovered(ballot: .initial, longestPromise: .zero, entries: [])
}
