// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where searches begin. From nothing, an election alone takes ten steps, and what is interesting comes after it; so most searches begin where
// a cluster has come to by steps of its own, chosen here instead of searched for.

import Consensus

package struct Root {
    package let name: String
    package let cluster: Cluster

    /// All of them, in the order in which they are searched.
    package static func all() throws(Broken) -> [Root] {
        var fresh = Cluster(budget: Budget())
        var led = fresh
        try led.elect(0, among: [0, 1, 2])
        var apart = fresh
        try apart.elect(0, among: [0, 1])
        var torn = led
        try torn.take(proposing: 0)
        torn.lose { $0.to != 0 }
        while torn.pendingWrites(of: 0) { try torn.take(.finishWrite(0)) }
        fresh.budget = Budget(crashes: 1, passes: 2, lastTerm: 2, packets: 4)
        led.budget = Budget(proposals: 1, crashes: 1, passes: 4, lastTerm: 3, packets: 4)
        var handing = led
        handing.budget = Budget(proposals: 0, transfers: 1, crashes: 0, passes: 4, lastTerm: 3, packets: 4)
        apart.budget = Budget(proposals: 1, crashes: 1, passes: 4, lastTerm: 3, packets: 3)
        torn.budget = Budget(proposals: 0, crashes: 1, passes: 4, lastTerm: 3, packets: 3)
        return [
            Root(name: "three members that never had a leader", cluster: fresh),
            Root(name: "a leader whom both others follow", cluster: led),
            Root(name: "a leader who is to hand over", cluster: handing),
            Root(name: "a leader of whom one member knows nothing", cluster: apart),
            Root(name: "a leader with an entry that nobody else has", cluster: torn),
        ]
    }
}

extension Cluster {
    func pendingWrites(of member: Int) -> Bool { !nodes[member].pending.isEmpty }

    fileprivate mutating func take(proposing member: Int) throws(Broken) {
        budget.proposals = 1
        try take(.propose(member))
    }

    /// `member` campaigns, and everything between those named arrives until nothing is left; the others hear nothing.
    fileprivate mutating func elect(_ member: Int, among heard: [Int]) throws(Broken) {
        try take(.tick(member))
        while true {
            lose { !heard.contains($0.to) || !heard.contains($0.from) }
            if let writer = heard.first(where: { pendingWrites(of: $0) }) {
                try take(.finishWrite(writer))
            } else if !network.isEmpty {
                try take(.deliver(0))
            } else {
                return
            }
        }
    }
}
