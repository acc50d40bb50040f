// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the lease rests on: the making of heartbeats, promises on disk, a quorum of voters.

import Consensus
import Testing

@Suite("Raft: promise and lease (rule 3)")
struct RaftLeaseTests {
    @Test("the lease is (1 - r) * (P / (1 + r) - E), 236 ms with the defaults")
    func arithmetic() {
        #expect(Timing().lease.milliseconds == 236)
        #expect(Timing(promise: .milliseconds(1100), effectAge: .zero, clockRateBoundPerMille: 100).lease == .milliseconds(900))
        #expect(Timing(promise: .milliseconds(300), effectAge: .zero, clockRateBoundPerMille: 0).lease == .milliseconds(300))
        #expect(Timing(promise: .milliseconds(10), effectAge: .milliseconds(10)).lease == .zero)
    }

    @Test("a lease under three heartbeats, or a promise over a minute, is refused in words")
    func refusedTimings() {
        #expect(Timing().problem() == nil)
        #expect(Timing(heartbeat: .milliseconds(78)).problem() == nil)
        #expect(Timing(heartbeat: .milliseconds(79)).problem()?.contains("three heartbeats") == true)
        #expect(Timing(heartbeat: .zero).problem()?.contains("heartbeat time is under a millisecond") == true)
        #expect(Timing(electionJitter: .zero).problem()?.contains("election jitter") == true)
        #expect(Timing(promise: .seconds(61)).problem()?.contains("60000 ms") == true)
    }

    @Test("the lease counts from the making of the heartbeat, however late its answer arrives")
    func fromMakingNotReceipt() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        try cluster.run(for: .milliseconds(500))
        // The next round is made now; its answers stay on the way for 150 ms.
        cluster.now = cluster[leader].raft.nextDeadline
        let made = cluster.now
        try cluster.tick(leader)
        let heartbeats = cluster.network
        cluster.network = []
        for heartbeat in heartbeats { try cluster.deliver(heartbeat) }
        let answers = cluster.network
        cluster.network = []
        #expect(!answers.isEmpty)
        cluster.now = cluster.now + .milliseconds(150)
        for answer in answers { try cluster.deliver(answer) }
        #expect(cluster[leader].raft.lease(at: cluster.now) == made + cluster.timing.lease)
        #expect(cluster[leader].raft.lastLeaderContact == made)
        // At its end it is over.
        #expect(cluster[leader].raft.lease(at: made + cluster.timing.lease) == nil)
    }

    @Test("an answer to an old heartbeat renews nothing")
    func oldAnswers() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let follower = try #require(cluster.ids.first { $0 != leader })
        try cluster.run(for: .milliseconds(500))
        let lease = try #require(cluster[leader].raft.lease(at: cluster.now))
        let term = cluster[leader].raft.term
        for number in [1, 2, 1_000_000] as [UInt64] {
            let answer = Message(term: term, body: .heartbeatAnswer(HeartbeatAnswer(number: HeartbeatNumber(number))))
            try cluster.deliver(InFlightMessage(message: answer, from: follower, to: leader))
        }
        #expect(cluster[leader].raft.lease(at: cluster.now) == lease)
    }

    @Test("there is no lease before an entry of the own term is committed")
    func notBeforeOwnCommit() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        // Ballots and promises reach the disk, entries do not.
        for id in cluster.ids { cluster[id].writesAtOnce = false }
        try cluster.run(for: .seconds(2)) { cluster in
            cluster.leader != nil ? true : cluster.ids.contains { !cluster[$0].pendingWrites.isEmpty }
        }
        var rounds = 0
        while cluster.leader == nil, rounds < 100 {
            rounds += 1
            for id in cluster.ids { try cluster.finishWrites(id) }
            try cluster.settle()
        }
        let leader = try #require(cluster.leader)
        // The followers' promise must be on disk before they answer; it was written before the first entry.
        for id in cluster.ids where id != leader { try cluster.finishWrites(id, count: 1) }
        try cluster.run(for: .milliseconds(150))
        #expect(cluster[leader].raft.lastLeaderContact != nil)
        #expect(cluster[leader].raft.commitIndex == .zero)
        #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
        for id in cluster.ids { try cluster.finishWrites(id) }
        try cluster.settle()
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
    }

    @Test("a heartbeat answer does not wait for entries, but a promise longer than any before waits for its record")
    func promiseIsRecorded() {
        var voter = RaftElectionTests.voter()
        var effects: [ConsensusEffect] = []
        voter.receive(RaftElectionTests.heartbeat(1, term: 1), from: b, at: .zero, into: &effects)
        let writes = effects.compactMap { if case .write(let write, let id) = $0 { (write, id) } else { nil } }
        #expect(writes.map(\.0).contains(JournalWrite(longestPromise: .milliseconds(300))))
        let last = writes.last?.1
        #expect(RaftElectionTests.sends(effects).map(\.gate) == last.map { [.durable($0)] })
        effects = []
        if let last { voter.wrote(last, at: .zero, into: &effects) }
        // Entries are on their way to the disk; the answer to a heartbeat leaves all the same.
        let entry = Entry(index: LogIndex(1), term: Term(1), payload: [1])
        let heartbeat = Heartbeat(number: HeartbeatNumber(2), promise: .milliseconds(300), commit: .zero)
        let append = Append(heartbeat: heartbeat, previousIndex: .zero, previousTerm: .zero, entries: [entry])
        voter.receive(Message(term: Term(1), body: .append(append)), from: b, at: .zero, into: &effects)
        voter.receive(RaftElectionTests.heartbeat(3, term: 1), from: b, at: .zero, into: &effects)
        #expect(RaftElectionTests.sends(effects).map(\.gate) == [.durable(WriteID(3)), .none])
        effects = []
        voter.receive(RaftElectionTests.heartbeat(4, term: 1, promise: .milliseconds(500)), from: b, at: .zero, into: &effects)
        #expect(effects.first == .write(JournalWrite(longestPromise: .milliseconds(500)), WriteID(4)))
        #expect(RaftElectionTests.sends(effects).map(\.gate) == [.durable(WriteID(4))])
    }

    @Test("with five voters two answers make a lease, one does not")
    func quorumOfFive() throws {
        var cluster = RaftCluster(voters: [a, b, c, d, e])
        let leader = try cluster.elect()
        let others = cluster.ids.filter { $0 != leader }
        cluster.isolate(others[0], others[1])
        try cluster.run(for: .seconds(1))
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
        cluster.isolate(others[0], others[1], others[2])
        try cluster.run(for: .milliseconds(245))
        #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
    }

    @Test("heartbeats keep the lease alive while every disk but the promise is slow")
    func slowDisks() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        for id in cluster.ids { cluster[id].writesAtOnce = false }
        try cluster.propose("x", at: leader)
        try cluster.run(for: .milliseconds(900))
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
        #expect(cluster[leader].steppedDown.isEmpty)
    }
}
