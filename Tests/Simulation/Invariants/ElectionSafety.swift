// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// At most one leader in a term (Raft paper, figure 3), and it is one life of one member: who restarts has forgotten that it led.

import Consensus

package struct ElectionSafety: Sendable {
    private var leaders: [Term: Life] = [:]
    package init() {}

    package mutating func leads(_ life: Life, in term: Term) throws(Broken) {
        guard let other = leaders[term] else {
            leaders[term] = life
            return
        }
        guard other == life else {
            throw Broken("ElectionSafety", [other.member, life.member], "term \(term) is led by \(other) and by \(life)")
        }
    }
}
