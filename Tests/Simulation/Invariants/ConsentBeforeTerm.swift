// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Nobody begins a term without the consent of a quorum, given as pre-votes, or being told to by the leader that hands over: a member that was
// cut off comes back in the term in which it left, and disturbs nobody.

import Consensus

package struct ConsentBeforeTerm: Sendable {
    private struct Campaign: Hashable {
        let life: Life
        let term: Term
    }
    private var granted: [Campaign: [MemberID]] = [:]
    private var told: [Life: Term] = [:]
    package init() {}

    /// A granted pre-vote reached the candidate.
    package mutating func consents(_ voter: MemberID, to life: Life, in term: Term) {
        let campaign = Campaign(life: life, term: term)
        if granted[campaign]?.contains(voter) != true { granted[campaign, default: []].append(voter) }
    }

    /// The leader of `term` told it to campaign.
    package mutating func isTold(_ life: Life, in term: Term) { told[life] = max(told[life] ?? .zero, term) }

    /// It votes for itself in `term`.
    package func begins(_ life: Life, _ term: Term, quorum: Int) throws(Broken) {
        if let told = told[life], told.next == term { return }
        let consenting = granted[Campaign(life: life, term: term)] ?? []
        guard consenting.count + 1 >= quorum else {
            throw Broken(
                "ConsentBeforeTerm", [life.member],
                "\(life) begins term \(term) with the consent of \(consenting.map(\.name)) beside its own, where \(quorum) are a quorum")
        }
    }
}
