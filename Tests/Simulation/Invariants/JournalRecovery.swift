// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member finds after a crash is what it had flushed, and then, in order, perhaps some of what it had written since. A disk that lost
// only what was not synchronized is no reason to refuse.

import Consensus

package struct JournalRecovery: Sendable {
    package init() {}

    package func recovered(_ member: MemberID, _ recovered: Recovered, known: inout KnownJournal) throws(Broken) {
        let durable = known.durable
        guard known.recovered(recovered) else {
            throw Broken(
                "JournalRecovery", [member],
                "on disk were \(durable.ballot), a longest promise of \(durable.longestPromise.milliseconds) ms and \(durable.last) entries;"
                    + " its journal gave back \(recovered.ballot), \(recovered.longestPromise.milliseconds) ms and \(recovered.entries.count)"
                    + " entries, which it never wrote in this order")
        }
    }

    /// Of a journal in which a bit was flipped: it may be refused, or its unconfirmed end be cut, but what it gives back was written once.
    package func recoveredDamaged(
        _ member: MemberID, _ recovered: Recovered, newest: Ballot, isKnown: (LogMark, LogIndex) -> Bool
    ) throws(Broken) {
        var found = KnownLog()
        for entry in recovered.entries {
            guard entry.index == found.last.next else {
                throw Broken("JournalRecovery", [member], "a damaged journal gave back entry \(entry.index) behind entry \(found.last)")
            }
            found.append(entry)
            guard let mark = found.mark(at: entry.index), isKnown(mark, entry.index) else {
                throw Broken("JournalRecovery", [member], "a damaged journal gave back an entry \(entry.index) that nobody ever wrote")
            }
        }
        guard recovered.ballot.term <= newest.term else {
            throw Broken(
                "JournalRecovery", [member], "a damaged journal gave back \(recovered.ballot), and \(newest) is the newest ever written")
        }
    }

    package func refused(_ member: MemberID, _ refusal: JournalRefusal) throws(Broken) {
        throw Broken("JournalRecovery", [member], "its journal is refused, and nothing but unsynchronized data was lost: \(refusal)")
    }
}
