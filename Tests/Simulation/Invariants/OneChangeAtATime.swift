// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One member comes, goes or begins to vote at a time, and none while the last change is not committed.

import Consensus

package struct OneChangeAtATime: Sendable {
    package init() {}

    /// A leader wrote an entry with a configuration.
    package func proposes(_ member: MemberID, _ change: MembersChange) throws(Broken) {
        guard change.formerIndex <= change.commit else {
            throw Broken(
                "OneChangeAtATime", [member],
                "it proposes \(change.next.voters) while the change at \(change.formerIndex) is not known to be committed")
        }
        guard change.next.isOneChange(from: change.former) else {
            throw Broken("OneChangeAtATime", [member], "it goes from \(change.former.voters) to \(change.next.voters) in one step")
        }
    }
}

/// A change of the members, as its leader has it when it proposes it.
package struct MembersChange: Hashable, Sendable {
    package let former: Configuration
    /// Where the former one stands, and how much is known to be committed.
    package let formerIndex: LogIndex
    package let commit: LogIndex
    package let next: Configuration
    package init(former: Configuration, formerIndex: LogIndex, commit: LogIndex, next: Configuration) {
        self.former = former
        self.formerIndex = formerIndex
        self.commit = commit
        self.next = next
    }
}
