// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who votes. One to five voters; learners receive the log and promise, and count for nothing.

/// The members of the cluster as consensus sees them. Both lists are sorted and disjoint.
///
/// It may be changed by an entry of the log: effective on each member as soon as the entry stands in its log, undone where the entry is cut off.
/// One voter comes or goes at a time, so that every quorum of the one has a member in every quorum of the other (dissertation, section 4.1).
package struct Configuration: Hashable, Sendable {
    package let voters: [MemberID]
    package let learners: [MemberID]
    /// All of them, sorted.
    package let members: [MemberID]

    /// At most so many learners at a time.
    package static let learnerLimit = 5

    /// Nil unless there are one to five voters and at most five learners, and nobody is listed twice.
    package init?(voters: [MemberID], learners: [MemberID] = []) {
        let voters = voters.sorted()
        let learners = learners.sorted()
        let everybody = (voters + learners).sorted()
        guard (1...5).contains(voters.count), learners.count <= Configuration.learnerLimit else { return nil }
        for (left, right) in zip(everybody, everybody.dropFirst()) where left == right { return nil }
        self.voters = voters
        self.learners = learners
        members = everybody
    }

    /// Whether one change may lead to the other: at most one voter comes or goes. Learners count for nothing and may change at will.
    package func isOneChange(from other: Configuration) -> Bool {
        voters.count { !other.isVoter($0) } + other.voters.count { !isVoter($0) } <= 1
    }

    /// More than half of the voters.
    package var quorum: Int { voters.count / 2 + 1 }
    package func isVoter(_ member: MemberID) -> Bool { voters.contains(member) }

    /// The greatest value that a quorum of the voters has reached; `value` is asked for every voter.
    package func reachedByQuorum<Value: Comparable>(_ value: (MemberID) -> Value) -> Value {
        let values = voters.map(value).sorted(by: >)
        return values[quorum - 1]
    }
}
