// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which writes are on their way to the disk, and what of this member's ballot, promise and log is durable. Writes become durable in the
// order in which they were made, so one number says it all; `LeaseRaft` gates its messages on that number.

struct Writes: Sendable {
    struct Pending: Hashable, Sendable {
        let id: WriteID
        let made: Instant
        /// When this write is durable, the log as it now stands is durable up to here. A later truncation lowers it.
        var logThrough: LogIndex
        let ballot: Ballot?
    }

    /// Oldest first; `logThrough` never falls from one to the next.
    private(set) var pending: [Pending] = []
    private(set) var newest = WriteID.zero
    /// Everything up to here is durable.
    private(set) var durable = WriteID.zero
    private(set) var durableIndex: LogIndex
    private(set) var durableBallot: Ballot
    private(set) var lastProgress: Instant

    init(durableIndex: LogIndex, durableBallot: Ballot, now: Instant) {
        self.durableIndex = durableIndex
        self.durableBallot = durableBallot
        lastProgress = now
    }

    mutating func add(_ record: JournalWrite, logThrough: LogIndex, at now: Instant) -> WriteID {
        if let from = record.truncateFrom {
            durableIndex = min(durableIndex, from.previous)
            for position in pending.indices { pending[position].logThrough = min(pending[position].logThrough, from.previous) }
        }
        newest = newest.next
        pending.append(Pending(id: newest, made: now, logThrough: logThrough, ballot: record.ballot))
        return newest
    }

    /// A snapshot is on disk, and holds all that the log does up to `index`: so much is durable, whatever the journal has. `log` ends at
    /// `lastIndex` now.
    mutating func becameDurable(through index: LogIndex, lastIndex: LogIndex) {
        durableIndex = min(max(durableIndex, index), lastIndex)
        for position in pending.indices { pending[position].logThrough = min(max(pending[position].logThrough, index), lastIndex) }
    }

    /// This write and all before it are on disk.
    mutating func becameDurable(_ id: WriteID, at now: Instant) {
        precondition(id <= newest, "a write is reported durable that was never made")
        guard id > durable else { return }
        durable = id
        lastProgress = now
        var count = 0
        while count < pending.count, pending[count].id <= id {
            durableIndex = max(durableIndex, pending[count].logThrough)
            durableBallot = pending[count].ballot ?? durableBallot
            count += 1
        }
        pending.removeFirst(count)
    }

    func isDurable(_ id: WriteID) -> Bool { id <= durable }

    func gate(_ id: WriteID) -> Gate { isDurable(id) ? .none : .durable(id) }

    /// The first write after which the log is durable up to `index`; zero if it already is.
    func writeThatMakesDurable(_ index: LogIndex) -> WriteID {
        if index <= durableIndex { return .zero }
        for write in pending where write.logThrough >= index { return write.id }
        preconditionFailure("an entry stands in the log that was never written")
    }

    /// When the journal will have made no progress for `limit`; nil while it has nothing to do.
    func stalls(after limit: TimeSpan) -> Instant? {
        guard let oldest = pending.first else { return nil }
        return max(oldest.made, lastProgress) + limit
    }
}
