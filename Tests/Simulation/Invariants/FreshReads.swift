// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A linearizable read sees everything that was acknowledged, and everything that another read saw, before it was asked. Within the bound
// on clocks, so does a read under the lease.

import Consensus

package struct FreshReads: Sendable {
    /// What a read that is asked now must see.
    package private(set) var acknowledged = LogIndex.zero
    package init() {}

    /// Somebody knows now that the log was committed so far.
    package mutating func known(_ index: LogIndex) { acknowledged = max(acknowledged, index) }

    package func reads(_ member: MemberID, _ consistency: String, mustSee: LogIndex, sees: LogIndex) throws(Broken) {
        guard sees < mustSee else { return }
        throw Broken(
            "FreshReads", [member], "a \(consistency) read saw the state at index \(sees), and \(mustSee) was known before it was asked")
    }
}
