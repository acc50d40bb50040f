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
        // Two members have committed an entry; the leader has forgotten it behind a snapshot, and the third knows of nothing.
        var forgotten = apart
        try forgotten.take(proposing: 0)
        try forgotten.settle(among: [0, 1])
        try forgotten.forget(0)
        // Two such entries, and none was ever committed: another leads since, and has forgotten what was committed in place of the first.
        var replaced = torn
        try replaced.take(proposing: 0)
        replaced.lose { $0.to != 0 }
        while replaced.pendingWrites(of: 0) { try replaced.take(.finishWrite(0)) }
        replaced.budget = Budget(passes: 3)
        for _ in 0..<3 { try replaced.take(.pass) }
        try replaced.elect(1, among: [1, 2])
        try replaced.forget(1)
        fresh.budget = Budget(crashes: 1, passes: 2, lastTerm: 2, packets: 4)
        led.budget = Budget(proposals: 1, crashes: 1, passes: 4, lastTerm: 3, packets: 4)
        var handing = led
        handing.budget = Budget(proposals: 0, transfers: 1, crashes: 0, passes: 4, lastTerm: 3, packets: 4)
        apart.budget = Budget(proposals: 1, crashes: 1, passes: 4, lastTerm: 3, packets: 3)
        torn.budget = Budget(proposals: 0, crashes: 1, passes: 4, lastTerm: 3, packets: 3)
        forgotten.budget = Budget(proposals: 1, crashes: 1, passes: 4, snapshots: 1, lastTerm: 3, packets: 3)
        replaced.budget = Budget(proposals: 1, crashes: 1, passes: 4, snapshots: 1, lastTerm: 3, packets: 3)
        return [
            Root(name: "three members that never had a leader", cluster: fresh),
            Root(name: "a leader whom both others follow", cluster: led),
            Root(name: "a leader who is to hand over", cluster: handing),
            Root(name: "a leader of whom one member knows nothing", cluster: apart),
            Root(name: "a leader with an entry that nobody else has", cluster: torn),
            Root(name: "a leader that has forgotten what one member lacks", cluster: forgotten),
            Root(name: "a leader that has forgotten what another has something else in place of", cluster: replaced),
        ]
    }
}

extension Cluster {
    func pendingWrites(of member: Int) -> Bool { !nodes[member].pending.isEmpty }

    fileprivate mutating func take(proposing member: Int) throws(Broken) {
        budget.proposals = 1
        try take(.propose(member))
    }

    fileprivate mutating func forget(_ member: Int) throws(Broken) {
        budget.snapshots = 1
        try take(.snapshot(member))
        while pendingWrites(of: member) { try take(.finishWrite(member)) }
        guard let raft = nodes[member].raft, raft.role == .leader, raft.logBase.index > .zero else {
            throw Broken("Roots", "member \(member) does not lead behind a snapshot: \(summary)")
        }
    }

    /// `member` campaigns, and everything between those named arrives until nothing is left; the others hear nothing.
    fileprivate mutating func elect(_ member: Int, among heard: [Int]) throws(Broken) {
        try take(.tick(member))
        try settle(among: heard)
    }

    fileprivate mutating func settle(among heard: [Int]) throws(Broken) {
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
