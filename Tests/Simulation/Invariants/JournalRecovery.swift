// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member finds after a crash is what it had flushed, and then, in order, perhaps some of what it had written since. A disk that lost
// only what was not synchronized is no reason to refuse.

import Consensus

package struct JournalRecovery: Sendable {
    package init() {}

    /// - Parameter committed: the log that the cluster agreed on, up to an index.
    package func recovered(
        _ member: MemberID, _ recovered: Recovered, known: inout KnownJournal, committed: (LogIndex) -> [LogMark] = { _ in [] }
    ) throws(Broken) {
        let (durable, snapshot) = (known.durable, known.snapshot)
        guard known.recovered(recovered, committed: committed) else {
            throw Broken(
                "JournalRecovery", [member],
                "on disk were \(durable.ballot), a longest promise of \(durable.longestPromise.milliseconds) ms, \(durable.last) entries and"
                    + " \(snapshot.map { "the snapshot behind \($0)" } ?? "no snapshot");"
                    + " what came back is \(recovered.ballot), \(recovered.longestPromise.milliseconds) ms, \(recovered.entries.count)"
                    + " entries behind \(recovered.base?.index ?? .zero) and \(recovered.snapshot.map { "a snapshot behind \($0)" } ?? "none"),"
                    + " which it never wrote in this order")
        }
    }

    /// Of a disk on which a bit was flipped while nobody ran: it is refused, or it gives back what it would give back without that.
    ///
    /// - Parameter committed: the log that the cluster agreed on, up to an index.
    package func recoveredDamaged(
        _ member: MemberID, _ recovered: Recovered, known: KnownJournal, committed: (LogIndex) -> [LogMark] = { _ in [] }
    ) throws(Broken) {
        var known = known
        let durable = known.durable
        guard known.recovered(recovered, committed: committed) else {
            throw Broken(
                "JournalRecovery", [member],
                "a damaged journal gave back \(recovered.ballot), \(recovered.longestPromise.milliseconds) ms and"
                    + " \(recovered.entries.count) entries behind \(recovered.base?.index ?? .zero), where \(durable.ballot),"
                    + " \(durable.longestPromise.milliseconds) ms and \(durable.last) entries were durable")
        }
    }

    /// Of a disk as it was a while ago: what it gives back was written once.
    package func recoveredEarlier(
        _ member: MemberID, _ recovered: Recovered, newest: Ballot, committed: (LogIndex) -> LogMark? = { _ in nil },
        isKnown: (LogMark, LogIndex) -> Bool
    ) throws(Broken) {
        var last = recovered.base?.index ?? .zero
        guard var mark = last == .zero ? .origin : committed(last), mark.term == recovered.base?.term ?? .zero else {
            throw Broken("JournalRecovery", [member], "an old journal gave back a log that begins behind \(last), as nobody's does")
        }
        for entry in recovered.entries {
            guard entry.index == last.next else {
                throw Broken("JournalRecovery", [member], "an old journal gave back entry \(entry.index) behind entry \(last)")
            }
            (last, mark) = (entry.index, mark.followed(by: entry))
            guard isKnown(mark, last) else {
                throw Broken("JournalRecovery", [member], "an old journal gave back an entry \(entry.index) that nobody ever wrote")
            }
        }
        guard recovered.ballot.term <= newest.term else {
            throw Broken(
                "JournalRecovery", [member], "an old journal gave back \(recovered.ballot), and \(newest) is the newest ever written")
        }
    }

    package func refused(_ member: MemberID, _ refusal: String) throws(Broken) {
        throw Broken("JournalRecovery", [member], "its journal is refused, and nothing but unsynchronized data was lost: \(refusal)")
    }
}
