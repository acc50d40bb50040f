// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Linearizable reads: confirmed by a heartbeat that was made after the read arrived, wherever it was asked.

import Consensus
import Testing

@Suite("Raft: read index (dissertation 6.4; rule 3)")
struct RaftReadTests {
    @Test("a read is answered on every member with the commit index at its arrival", arguments: [[a], [a, b, c], [a, b, c, d, e]])
    func everywhere(voters: [MemberID]) throws {
        var cluster = RaftCluster(voters: voters)
        let leader = try cluster.elect()
        let index = try cluster.propose("x", at: leader)
        try cluster.settle()
        for id in cluster.ids {
            try cluster.read(7, at: id)
            try cluster.settle()
            #expect(cluster[id].reads.map(\.index) == [index])
            #expect(cluster[id].reads.map(\.token) == [ReadToken(7)])
        }
    }

    @Test("answers to heartbeats from before the read confirm nothing")
    func needsALaterRound() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        cluster.now = cluster[leader].raft.nextDeadline
        try cluster.tick(leader)
        let early = cluster.network
        cluster.network = []
        for heartbeat in early { try cluster.deliver(heartbeat) }
        let earlyAnswers = cluster.network
        cluster.network = []
        try cluster.read(1, at: leader)
        let round = cluster.network
        cluster.network = []
        #expect(round.count == 2)
        for answer in earlyAnswers { try cluster.deliver(answer) }
        #expect(cluster[leader].reads.isEmpty)
        try cluster.deliver(round[0])
        try cluster.settle()
        #expect(cluster[leader].reads.map(\.index) == [cluster[leader].raft.commitIndex])
    }

    @Test("reads that arrive during a round share the next one")
    func sharesRounds() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        cluster.keepsSent = true
        for number in 1...100 as ClosedRange<UInt64> { try cluster.read(number, at: leader) }
        try cluster.settle()
        #expect(cluster[leader].reads.count == 100)
        let heartbeats = cluster.sent.count { if case .heartbeat = $0.message.body { true } else { false } }
        #expect(heartbeats == 4)
    }

    @Test("a leader without a committed entry of its own term keeps reads waiting")
    func waitsForOwnTerm() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let old = try cluster.elect()
        try cluster.propose("x", at: old)
        try cluster.settle()
        cluster.crash(old)
        cluster.drops = { if case .append = $0.message.body { true } else { false } }
        try cluster.run(for: .seconds(2)) { $0.leader != nil }
        let new = try #require(cluster.leader)
        try cluster.read(1, at: new)
        try cluster.run(for: .milliseconds(60))
        #expect(cluster[new].reads.isEmpty)
        cluster.heal()
        try cluster.run(for: .milliseconds(200))
        #expect(cluster[new].reads.map(\.index) == [cluster[new].raft.commitIndex])
    }

    @Test("a follower without an answer says so after one promise, a member without a leader at once")
    func noLeader() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        try cluster.read(1, at: a)
        #expect(cluster[a].reads.map(\.index) == [nil])
        let leader = try cluster.elect()
        let follower = try #require(cluster.ids.first { $0 != leader })
        let before = cluster[follower].reads.count
        cluster.drops = { if case .readIndexRequest = $0.message.body { true } else { false } }
        try cluster.read(2, at: follower)
        try cluster.run(for: .milliseconds(299))
        #expect(cluster[follower].reads.count == before)
        try cluster.run(for: .milliseconds(1))
        #expect(cluster[follower].reads.last?.index == nil)
        #expect(cluster[follower].reads.count == before + 1)
    }

    @Test("a leader that steps down answers its waiting reads with nothing")
    func stepsDown() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        cluster.isolate(leader)
        try cluster.read(1, at: leader)
        try cluster.run(for: .seconds(1))
        #expect(cluster[leader].reads.map(\.index) == [nil])
    }

    @Test("an answer to a question from before a restart answers nothing that is asked after it")
    func answersFromBeforeARestart() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let follower = try #require(cluster.ids.first { $0 != leader })
        try cluster.read(1, at: follower)
        // The question reaches the leader; the answer is still on its way when the follower restarts.
        var held: [InFlightMessage] = []
        while !cluster.network.isEmpty {
            let message = cluster.network.removeFirst()
            if case .readIndexAnswer = message.message.body { held.append(message) } else { try cluster.deliver(message) }
        }
        #expect(held.count == 1)
        cluster.crash(follower)
        cluster.restart(follower)
        try cluster.propose("newer", at: leader)
        try cluster.run(for: .milliseconds(200))
        try cluster.read(1, at: follower)
        try cluster.deliver(held[0])
        #expect(cluster[follower].reads.isEmpty)
        try cluster.settle()
        #expect(cluster[follower].reads.map(\.index) == [cluster[leader].raft.commitIndex])
    }
}
