// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A change of the members never stops the cluster: when its leader proposes it, a quorum of those who are to vote has answered it a moment ago,
// and whoever is to vote and did not before has nearly all that the leader has. And the state says of the members what the log does.

import Consensus
import CoordinatorCore

package struct ChangesKeepAQuorum: Sendable {
    private let patience: TimeSpan
    private var answers: [Life: [MemberID: Instant]] = [:]
    package init(timing: Timing) { patience = timing.promise + timing.promise + timing.heartbeat }

    /// The leader handled an answer of its term.
    package mutating func answered(_ life: Life, by member: MemberID, at now: Instant) { answers[life, default: [:]][member] = now }

    /// - Parameter lacks: how many entries of the leader's log are not on this member's disk.
    package func proposes(_ life: Life, _ change: MembersChange, at now: Instant, lacks: (MemberID) -> UInt64) throws(Broken) {
        // Said once more: nothing changes.
        if change.next.voters == change.former.voters { return }
        let reached = change.next.voters.filter { voter in
            voter == life.member || answers[life]?[voter].map { now.since($0) <= patience } ?? false
        }
        guard reached.count >= change.next.quorum else {
            throw Broken(
                "ChangesKeepAQuorum", [life.member],
                "it proposes the voters \(change.next.voters), of whom it has heard \(reached) of late, where \(change.next.quorum) are needed"
            )
        }
        for voter in change.next.voters where !change.former.isVoter(voter) && lacks(voter) > Member.promotionLag + 1 {
            throw Broken(
                "ChangesKeepAQuorum", [life.member], "it lets \(voter) vote, which lacks \(lacks(voter)) entries of its log")
        }
    }

    /// An entry with a configuration is committed, and was applied.
    package func applied(_ configuration: Configuration, voters: [MemberID], learners: [MemberID]) throws(Broken) {
        guard configuration.voters == voters, configuration.learners == learners else {
            throw Broken(
                "ChangesKeepAQuorum", [],
                "the log says that \(configuration.voters) vote and \(configuration.learners) learn, the state \(voters) and \(learners)")
        }
    }
}
