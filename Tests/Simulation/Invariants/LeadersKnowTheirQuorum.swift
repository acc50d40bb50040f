// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A leader that no quorum answers any more stops to call itself one within two promises (check-quorum).

import Consensus

package struct LeadersKnowTheirQuorum: Sendable {
    private struct Heard {
        let life: Life
        let term: Term
        var since: Instant
        var answers = PerMember<Instant>()
    }
    private let limit: TimeSpan
    private var heard = PerMember<Heard>()
    package init(timing: Timing) {
        limit = timing.promise + timing.promise + timing.heartbeat
    }

    package mutating func elected(_ life: Life, term: Term, at now: Instant) {
        heard[life.member] = Heard(life: life, term: term, since: now)
    }

    /// The voters have changed: how long the new ones have been silent counts from now.
    package mutating func reconfigured(_ life: Life, at now: Instant) {
        if heard[life.member]?.life == life { heard[life.member]?.since = now }
    }

    /// A voter's answer of that term was handled by the leader.
    package mutating func answered(_ life: Life, term: Term, by voter: MemberID, at now: Instant) {
        guard heard[life.member]?.life == life, heard[life.member]?.term == term else { return }
        heard[life.member]?.answers[voter] = now
    }

    /// It still leads after a tick at `now`, by its own clock.
    package func leads(_ life: Life, term: Term, voters: [MemberID], quorum: Int, at now: Instant) throws(Broken) {
        // Itself it counts only as a voter.
        let others = quorum - (voters.contains(life.member) ? 1 : 0)
        guard let heard = heard[life.member], heard.life == life, heard.term == term, others > 0 else { return }
        var newest = voters.filter { $0 != life.member }.map { heard.answers[$0] ?? heard.since }
        newest.sort(by: >)
        let contact = max(heard.since, newest[others - 1])
        guard now.since(contact) > limit else { return }
        throw Broken(
            "LeadersKnowTheirQuorum", [life.member],
            "\(life) leads term \(term), and no quorum has answered it for \(now.since(contact).milliseconds) ms")
    }
}
