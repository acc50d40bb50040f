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

    package func refused(_ member: MemberID, _ refusal: JournalRefusal) throws(Broken) {
        throw Broken("JournalRecovery", [member], "its journal is refused, and nothing but unsynchronized data was lost: \(refusal)")
    }
}
