// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Elections, pre-votes, and who may not vote.

import Consensus
import Testing

@Suite("Raft: elections (paper 5.2, 5.4.1; rule 3)")
struct RaftElectionTests {
    @Test("a fresh cluster elects one leader and establishes it", arguments: [[a], [a, b], [a, b, c], [a, b, c, d], [a, b, c, d, e]])
    func electsOne(voters: [MemberID]) throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            var cluster = RaftCluster(voters: voters, seed: seed)
            let leader = try cluster.elect()
            try cluster.run(for: .seconds(1))
            #expect(cluster.leader == leader)
            #expect(cluster.ids.allSatisfy { cluster[$0].raft.leader == leader })
            #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
        }
    }
}
