// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member votes for one candidate in a term, whatever happened to it in between.

import Consensus

package struct OneVotePerTerm: Sendable {
    private struct Ballot: Hashable {
        let member: MemberID
        let term: Term
    }
    private var votes: [Ballot: MemberID] = [:]
    package init() {}

    /// On the wire: a granted vote, or a request for votes as a vote for itself.
    package mutating func votes(_ member: MemberID, in term: Term, for candidate: MemberID) throws(Broken) {
        let ballot = Ballot(member: member, term: term)
        guard let known = votes[ballot] else {
            votes[ballot] = candidate
            return
        }
        guard known == candidate else {
            throw Broken("OneVotePerTerm", [member], "in term \(term) it voted for \(known) and for \(candidate)")
        }
    }
}
