// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Leadership handed over: at once when it works, harmless when it comes late.

import Consensus
import Testing

@Suite("Raft: transfer (dissertation 3.10; rule 3)")
struct RaftTransferTests {
    /// An elected cluster whose lease is running.
    static func cluster() throws -> (RaftCluster, leader: MemberID, target: MemberID, third: MemberID) {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        try cluster.run(for: .milliseconds(500))
        let others = cluster.ids.filter { $0 != leader }
        return (cluster, leader, others[0], others[1])
    }

    static func isTimeoutNow(_ message: InFlightMessage) -> Bool {
        if case .timeoutNow = message.message.body { true } else { false }
    }

    @Test("a transfer elects the target without waiting for any promise")
    func succeeds() throws {
        for voters in [[a, b], [a, b, c], [a, b, c, d, e]] {
            var cluster = RaftCluster(voters: voters)
            let leader = try cluster.elect()
            try cluster.run(for: .milliseconds(500))
            let target = try #require(cluster.ids.first { $0 != leader })
            let began = cluster.now
            try cluster.transfer(from: leader, to: target)
            #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
            try cluster.settle()
            #expect(cluster.leader == target)
            #expect(cluster.now == began, "no time has passed")
            #expect(cluster[leader].steppedDown == [.transferred])
            #expect(cluster[leader].failedTransfers.isEmpty)
            #expect(cluster[target].established == [cluster[target].raft.term])
        }
    }

    @Test("only another voter can be handed the leadership")
    func refusesOthers() throws {
        var cluster = RaftCluster(voters: [a, b], learners: [c])
        let leader = try cluster.elect()
        for target in [leader, c, d] {
            #expect(throws: ProposeFailure.cannotLead(target)) { try cluster.transfer(from: leader, to: target) }
        }
        let other = leader == a ? b : a
        #expect(throws: ProposeFailure.notLeader(leader)) { try cluster.transfer(from: other, to: leader) }
    }

    @Test("the leader proposes nothing meanwhile, and waits until the target has its whole log")
    func waitsForTheLog() throws {
        var (cluster, leader, target, _) = try Self.cluster()
        cluster[target].writesAtOnce = false
        try cluster.propose("x", at: leader)
        try cluster.settle()
        cluster.keepsSent = true
        try cluster.transfer(from: leader, to: target)
        #expect(throws: ProposeFailure.transferring) { try cluster.propose("y", at: leader) }
        #expect(throws: ProposeFailure.transferring) { try cluster.transfer(from: leader, to: target) }
        try cluster.run(for: .milliseconds(100))
        #expect(cluster.sent.contains(where: Self.isTimeoutNow) == false)
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil, "the lease lives until the log is there")
        cluster[target].writesAtOnce = true
        try cluster.finishWrites(target)
        try cluster.settle()
        #expect(cluster.leader == target)
    }

    @Test("a target that never gets the log ends the transfer after one promise")
    func givesUpWaiting() throws {
        var (cluster, leader, target, _) = try Self.cluster()
        cluster.crash(target)
        try cluster.propose("x", at: leader)
        try cluster.transfer(from: leader, to: target)
        try cluster.run(for: .milliseconds(299))
        #expect(cluster[leader].failedTransfers.isEmpty)
        try cluster.run(for: .milliseconds(1))
        #expect(cluster[leader].failedTransfers == [target])
        try cluster.propose("y", at: leader)
        try cluster.settle()
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
    }

    @Test("between TimeoutNow and its end the leader sends no heartbeat and no append, and holds no lease")
    func silence() throws {
        var (cluster, leader, target, third) = try Self.cluster()
        cluster.drops = Self.isTimeoutNow
        try cluster.transfer(from: leader, to: target)
        cluster.keepsSent = true
        try cluster.read(1, at: leader)
        try cluster.run(for: .milliseconds(149)) { cluster in
            cluster[leader].raft.lease(at: cluster.now) != nil
        }
        #expect(!cluster.sent.contains { $0.from == leader })
        #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
        // Half a promise without success: it goes on.
        try cluster.run(for: .milliseconds(1))
        #expect(cluster[leader].failedTransfers == [target])
        #expect(cluster[leader].raft.lease(at: cluster.now) == cluster.now + cluster.timing.lease)
        #expect(cluster[leader].reads.map(\.index) == [cluster[leader].raft.commitIndex])
        #expect(cluster[third].raft.leader == leader)
    }

    @Test("an answer to a heartbeat from before TimeoutNow does not bring the lease back")
    func resumesAboveN() throws {
        var (cluster, leader, target, third) = try Self.cluster()
        // A round is made and answered, but the answers are still on their way when the lease is given up.
        cluster.now = cluster[leader].raft.nextDeadline
        try cluster.tick(leader)
        let heartbeats = cluster.network
        cluster.network = []
        for heartbeat in heartbeats { try cluster.deliver(heartbeat) }
        let answers = cluster.network
        cluster.network = []
        cluster.drops = { _ in true }
        try cluster.transfer(from: leader, to: target)
        cluster.now = cluster.now + .milliseconds(150)
        try cluster.tick(leader)
        #expect(cluster[leader].failedTransfers == [target])
        for answer in answers { try cluster.deliver(answer) }
        #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
        cluster.heal()
        try cluster.run(for: .milliseconds(60))
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
        #expect(cluster[third].raft.leader == leader)
    }

    @Test("a TimeoutNow that arrives after the leader went on elects nobody under the new lease")
    func lateTimeoutNow() throws {
        var (cluster, leader, target, third) = try Self.cluster()
        cluster.keepsSent = true
        cluster.drops = Self.isTimeoutNow
        try cluster.transfer(from: leader, to: target)
        let timeoutNow = try #require(cluster.sent.last(where: Self.isTimeoutNow))
        // The target hears nothing of the leader going on; the third member does.
        cluster.drops = { $0.to == target && $0.from == leader }
        try cluster.run(for: .milliseconds(151))
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
        let term = cluster[leader].raft.term
        try cluster.deliver(timeoutNow)
        #expect(cluster[target].raft.role == .candidate)
        cluster.drops = { $0.from == target && $0.to == leader }
        try cluster.settle()
        #expect(cluster[target].raft.role != .leader)
        #expect(cluster[third].raft.term == term, "its promise is to a heartbeat above the one that the request names")
        #expect(cluster[leader].raft.lease(at: cluster.now) != nil)
    }

    @Test("a target that has answered a later heartbeat ignores TimeoutNow")
    func targetAnsweredLater() throws {
        var (cluster, leader, target, _) = try Self.cluster()
        cluster.keepsSent = true
        cluster.drops = Self.isTimeoutNow
        try cluster.transfer(from: leader, to: target)
        let timeoutNow = try #require(cluster.sent.last(where: Self.isTimeoutNow))
        cluster.heal()
        try cluster.run(for: .milliseconds(151))
        try cluster.deliver(timeoutNow)
        #expect(cluster[target].raft.role == .follower)
        #expect(cluster[target].raft.leader == leader)
    }

    @Test("a promise is set aside for the term behind the transfer's only, never in a pre-vote, never above n")
    func setsAsideToTheLetter() {
        let transfer = VoteRequest.Transfer(term: Term(4), lastHeartbeat: HeartbeatNumber(7))
        for (newest, asked, isPreVote, granted) in [
            ((7, 4), 5, false, true), ((6, 4), 5, false, true), ((8, 4), 5, false, false), ((7, 4), 6, false, false),
            ((7, 4), 5, true, false), ((1, 5), 5, false, false), ((9, 3), 5, false, true),
        ] as [((number: UInt64, term: UInt64), UInt64, Bool, Bool)] {
            let ballot = Ballot(term: Term(newest.term), vote: nil)
            var voter = RaftElectionTests.voter(Recovered(ballot: ballot, longestPromise: .zero, entries: []))
            var effects: [ConsensusEffect] = []
            voter.receive(RaftElectionTests.heartbeat(newest.number, term: newest.term), from: b, at: .zero, into: &effects)
            effects = []
            let request = RaftElectionTests.voteRequest(term: asked, isPreVote: isPreVote, transfer: transfer)
            voter.receive(request, from: c, at: .zero + .milliseconds(1), into: &effects)
            #expect(RaftElectionTests.grants(effects) == [granted], "\(newest) \(asked) \(isPreVote)")
        }
    }
}
