// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Elections, pre-votes, and who may not vote.

import Consensus
import Testing

@Suite("Raft: elections (paper 5.2, 5.4.1; rule 3)")
struct RaftElectionTests {
    /// A voter on its own, to which the test speaks as `b` and `c`.
    static func voter(_ recovered: Recovered = .nothing, now: Instant = .zero) -> LeaseRaft {
        let configuration = Configuration(voters: [a, b, c])!
        return LeaseRaft(id: a, configuration: configuration, recovered: recovered, timing: Timing(), seed: 1, now: now)
    }

    static func heartbeat(_ number: UInt64, term: UInt64, promise: TimeSpan = .milliseconds(300), commit: UInt64 = 0) -> Message {
        let body = Heartbeat(number: HeartbeatNumber(number), promise: promise, commit: LogIndex(commit))
        return Message(term: Term(term), body: .heartbeat(body))
    }

    static func voteRequest(
        term: UInt64, isPreVote: Bool = false, last: (index: UInt64, term: UInt64) = (0, 0), transfer: VoteRequest.Transfer? = nil
    ) -> Message {
        let request = VoteRequest(
            isPreVote: isPreVote, lastLogIndex: LogIndex(last.index), lastLogTerm: Term(last.term), transfer: transfer)
        return Message(term: Term(term), body: .voteRequest(request))
    }

    static func sends(_ effects: [ConsensusEffect]) -> [(message: Message, to: MemberID, gate: Gate)] {
        effects.compactMap { effect in
            if case .send(let message, let to, let gate) = effect { (message, to, gate) } else { nil }
        }
    }

    static func grants(_ effects: [ConsensusEffect]) -> [Bool] {
        sends(effects).compactMap { if case .voteAnswer(let answer) = $0.message.body { answer.granted } else { nil } }
    }

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

    @Test("a crashed leader is replaced within promise, jitter and one round of votes")
    func replacesCrashedLeader() throws {
        for seed in 1...50 as ClosedRange<UInt64> {
            var cluster = RaftCluster(voters: [a, b, c], seed: seed)
            let old = try cluster.elect()
            try cluster.run(for: .seconds(1))
            cluster.crash(old)
            let crashed = cluster.now
            let new = try cluster.elect()
            #expect(new != old)
            #expect(cluster.now.since(crashed) <= .milliseconds(451))
        }
    }

    @Test("a vote is given only to a log that is at least as up to date (5.4.1)")
    func checksTheLog() {
        let entries = [
            Entry(index: LogIndex(1), term: Term(1), payload: []), Entry(index: LogIndex(2), term: Term(3), payload: []),
        ]
        let recovered = Recovered(ballot: Ballot(term: Term(3), vote: nil), longestPromise: .zero, entries: entries)
        for (last, granted) in [((1, 3), false), ((5, 2), false), ((2, 3), true), ((1, 4), true), ((3, 3), true)]
            as [((UInt64, UInt64), Bool)]
        {
            for isPreVote in [true, false] {
                var voter = Self.voter(recovered)
                var effects: [ConsensusEffect] = []
                voter.receive(Self.voteRequest(term: 5, isPreVote: isPreVote, last: last), from: b, at: .zero, into: &effects)
                #expect(Self.grants(effects) == [granted], "\(last)")
                // A real request raises the term all the same; a pre-vote raises nothing.
                #expect(voter.term == Term(isPreVote ? 3 : 5))
            }
        }
    }

    @Test("a member votes once in a term, and the same way when it is asked again")
    func votesOnce() {
        var voter = Self.voter()
        var effects: [ConsensusEffect] = []
        voter.receive(Self.voteRequest(term: 1), from: b, at: .zero, into: &effects)
        voter.receive(Self.voteRequest(term: 1), from: c, at: .zero, into: &effects)
        voter.receive(Self.voteRequest(term: 1), from: b, at: .zero, into: &effects)
        #expect(Self.grants(effects) == [true, false, true])
    }

    @Test("a member that is only asking for pre-votes gives its vote of the current term, and stops asking")
    func preCandidateVotes() {
        var voter = Self.voter(Recovered(ballot: Ballot(term: Term(2), vote: nil), longestPromise: .zero, entries: []))
        var effects: [ConsensusEffect] = []
        let now = voter.nextDeadline
        voter.tick(at: now, into: &effects)
        #expect(voter.role == .preCandidate)
        effects = []
        voter.receive(Self.voteRequest(term: 2), from: b, at: now, into: &effects)
        #expect(Self.grants(effects) == [true])
        #expect(voter.role == .follower)
        #expect(voter.invariantViolation() == nil)
    }

    @Test("a vote is remembered across a restart")
    func voteSurvivesRestart() {
        var voter = Self.voter(Recovered(ballot: Ballot(term: Term(1), vote: b), longestPromise: .zero, entries: []))
        var effects: [ConsensusEffect] = []
        voter.receive(Self.voteRequest(term: 1), from: c, at: .zero, into: &effects)
        voter.receive(Self.voteRequest(term: 1), from: b, at: .zero, into: &effects)
        #expect(Self.grants(effects) == [false, true])
    }

    @Test("a vote leaves only after the write of its ballot, even when it is given again")
    func voteWaitsForItsBallot() {
        var voter = Self.voter()
        var effects: [ConsensusEffect] = []
        voter.receive(Self.voteRequest(term: 1), from: b, at: .zero, into: &effects)
        voter.receive(Self.voteRequest(term: 1), from: b, at: .zero, into: &effects)
        #expect(effects.first == .write(JournalWrite(ballot: Ballot(term: Term(1), vote: b)), WriteID(1)))
        #expect(Self.sends(effects).map(\.gate) == [.durable(WriteID(1)), .durable(WriteID(1))])
        effects = []
        voter.wrote(WriteID(1), at: .zero, into: &effects)
        voter.receive(Self.voteRequest(term: 1), from: b, at: .zero, into: &effects)
        #expect(Self.sends(effects).map(\.gate) == [.none])
    }

    @Test("a vote in a term that is durable already waits for its own record")
    func voteInADurableTermWaits() {
        var voter = Self.voter(Recovered(ballot: Ballot(term: Term(5), vote: nil), longestPromise: .zero, entries: []))
        var effects: [ConsensusEffect] = []
        voter.receive(Self.voteRequest(term: 5), from: b, at: .zero, into: &effects)
        #expect(Self.grants(effects) == [true])
        #expect(Self.sends(effects).map(\.gate) == [.durable(WriteID(1))])
    }

    @Test("a refusal that raises the term waits for the term's record")
    func refusalWaitsForTheTerm() {
        let entries = [Entry(index: LogIndex(1), term: Term(1), payload: [])]
        var voter = Self.voter(Recovered(ballot: Ballot(term: Term(1), vote: nil), longestPromise: .zero, entries: entries))
        var effects: [ConsensusEffect] = []
        voter.receive(Self.voteRequest(term: 4), from: b, at: .zero, into: &effects)
        #expect(Self.grants(effects) == [false])
        #expect(Self.sends(effects).map(\.gate) == [.durable(WriteID(1))])
    }

    @Test("a candidate's requests and its own vote wait for its ballot")
    func candidateWaitsForItsBallot() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        for id in cluster.ids { cluster[id].writesAtOnce = false }
        cluster.keepsSent = true
        try cluster.run(for: .milliseconds(151)) { cluster in cluster.ids.contains { cluster[$0].raft.role == .candidate } }
        let candidate = try #require(cluster.ids.first { cluster[$0].raft.role == .candidate })
        func requests() -> Int {
            cluster.sent.count { if case .voteRequest(let request) = $0.message.body { !request.isPreVote } else { false } }
        }
        #expect(requests() == 0)
        try cluster.finishWrites(candidate)
        #expect(requests() == 2)
        // The others have voted in memory, and nothing of it has left.
        try cluster.settle()
        #expect(cluster[candidate].raft.role == .candidate)
        let other = try #require(cluster.ids.first { $0 != candidate })
        try cluster.finishWrites(other)
        try cluster.settle()
        #expect(cluster[candidate].raft.role == .leader)
    }

    @Test("a candidate's own vote does not count while an earlier write is all that became durable")
    func ownVoteWaitsForItsOwnWrite() {
        var voter = Self.voter(Recovered(ballot: Ballot(term: Term(1), vote: nil), longestPromise: .milliseconds(300), entries: []))
        var effects: [ConsensusEffect] = []
        let entry = RaftReplicationTests.entry(1, 1)
        voter.receive(RaftReplicationTests.append(term: 1, previous: (0, 0), [entry]), from: b, at: .zero, into: &effects)
        let now = voter.nextDeadline
        voter.tick(at: now, into: &effects)
        func grant(isPreVote: Bool, from: MemberID) {
            let answer = VoteAnswer(isPreVote: isPreVote, granted: true, campaignTerm: Term(2))
            voter.receive(Message(term: Term(isPreVote ? 1 : 2), body: .voteAnswer(answer)), from: from, at: now, into: &effects)
        }
        grant(isPreVote: true, from: c)
        #expect(voter.role == .candidate)
        voter.wrote(WriteID(1), at: now, into: &effects)
        grant(isPreVote: false, from: c)
        #expect(voter.role == .candidate)
        #expect(voter.invariantViolation() == nil)
        voter.wrote(WriteID(2), at: now, into: &effects)
        #expect(voter.role == .leader)
    }

    @Test("a sole voter leads at once, and after a restart does not wait for promises")
    func soleVoter() throws {
        var cluster = RaftCluster(voters: [a])
        try cluster.tick(a)
        #expect(cluster[a].established == [Term(1)])
        #expect(try cluster.propose("x", at: a) == LogIndex(2))
        #expect(cluster[a].raft.commitIndex == LogIndex(2))
        #expect(cluster[a].raft.lease(at: cluster.now) != nil)
        cluster.crash(a)
        cluster.restart(a)
        try cluster.tick(a)
        #expect(cluster[a].established == [Term(1), Term(2)])
        #expect(cluster[a].applied.count == 3)
    }

    @Test("a member that was cut off comes back without disturbing its leader (dissertation 9.6)")
    func preVote() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let term = cluster[leader].raft.term
        let outsider = try #require(cluster.ids.first { $0 != leader })
        cluster.isolate(outsider)
        try cluster.run(for: .seconds(10))
        #expect(cluster[outsider].raft.role == .preCandidate)
        #expect(cluster[outsider].raft.term == term)
        cluster.heal()
        try cluster.run(for: .seconds(2))
        #expect(cluster[leader].steppedDown.isEmpty)
        #expect(cluster.ids.allSatisfy { cluster[$0].raft.term == term && cluster[$0].raft.leader == leader })
    }

    @Test("a member under a promise refuses votes and pre-votes before it looks at their term")
    func promiseBlocksVotes() {
        var voter = Self.voter()
        var effects: [ConsensusEffect] = []
        voter.receive(Self.heartbeat(1, term: 1), from: b, at: .zero, into: &effects)
        let last = Instant.zero + TimeSpan(nanoseconds: 299_999_999)
        for isPreVote in [true, false] {
            effects = []
            voter.receive(Self.voteRequest(term: 9, isPreVote: isPreVote, last: (9, 9)), from: c, at: last, into: &effects)
            #expect(Self.grants(effects) == [false])
            #expect(voter.term == Term(1))
            #expect(voter.leader == b)
        }
        effects = []
        voter.receive(Self.voteRequest(term: 9, last: (9, 9)), from: c, at: .zero + .milliseconds(300), into: &effects)
        #expect(Self.grants(effects) == [true])
        #expect(voter.term == Term(9))
    }

    @Test("a shorter promise asked for later does not shorten the one that was made")
    func promiseNeverShrinks() {
        var voter = Self.voter()
        var effects: [ConsensusEffect] = []
        voter.receive(Self.heartbeat(1, term: 1), from: b, at: .zero, into: &effects)
        voter.receive(Self.heartbeat(2, term: 1, promise: .milliseconds(100)), from: b, at: .zero + .milliseconds(50), into: &effects)
        effects = []
        voter.receive(Self.voteRequest(term: 2), from: c, at: .zero + .milliseconds(299), into: &effects)
        #expect(Self.grants(effects) == [false])
    }

    @Test("the promise binds the leader's own vote for as long as its newest heartbeat does")
    func leaderPromisesToo() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        try cluster.run(for: .seconds(1))
        let other = try #require(cluster.ids.first { $0 != leader })
        // A higher term in a message that no promise holds off: the leader steps down at once, and still may not vote.
        let term = cluster[leader].raft.term.next
        let refusal = Message(term: term, body: .heartbeatAnswer(HeartbeatAnswer(number: .zero)))
        try cluster.deliver(InFlightMessage(message: refusal, from: other, to: leader))
        #expect(cluster[leader].steppedDown == [.higherTerm])
        var raft = cluster[leader].raft
        var effects: [ConsensusEffect] = []
        let last = (index: UInt64(99), term: term.number)
        raft.receive(Self.voteRequest(term: term.number, last: last), from: other, at: cluster.now + .milliseconds(249), into: &effects)
        #expect(Self.grants(effects) == [false])
        effects = []
        raft.receive(Self.voteRequest(term: term.number, last: last), from: other, at: cluster.now + .milliseconds(300), into: &effects)
        #expect(Self.grants(effects) == [true])
    }

    @Test("a restarted voter gives no vote of any kind for the longest promise that it ever made")
    func restartHold() {
        let start = Instant.zero + .seconds(5)
        let recovered = Recovered(ballot: Ballot(term: Term(3), vote: nil), longestPromise: .milliseconds(400), entries: [])
        var voter = Self.voter(recovered, now: start)
        #expect(voter.nextDeadline >= start + .milliseconds(400))
        let held = start + .milliseconds(399)
        let transfer = VoteRequest.Transfer(term: Term(3), lastHeartbeat: HeartbeatNumber(1000))
        for request in [
            Self.voteRequest(term: 4), Self.voteRequest(term: 4, isPreVote: true), Self.voteRequest(term: 4, transfer: transfer),
        ] {
            var effects: [ConsensusEffect] = []
            voter.receive(request, from: b, at: held, into: &effects)
            #expect(Self.grants(effects) == [false])
            #expect(voter.term == Term(3))
        }
        var effects: [ConsensusEffect] = []
        voter.tick(at: held, into: &effects)
        #expect(effects.isEmpty)
        voter.receive(Self.voteRequest(term: 4), from: b, at: start + .milliseconds(400), into: &effects)
        #expect(Self.grants(effects) == [true])
    }

    @Test("a restarted voter does not campaign for a leader that hands over, while its hold lasts")
    func restartHoldOutlastsTimeoutNow() {
        let recovered = Recovered(ballot: Ballot(term: Term(3), vote: nil), longestPromise: .milliseconds(300), entries: [])
        var voter = Self.voter(recovered)
        var effects: [ConsensusEffect] = []
        voter.receive(Self.heartbeat(7, term: 3), from: b, at: .zero, into: &effects)
        let timeoutNow = Message(term: Term(3), body: .timeoutNow(lastHeartbeat: HeartbeatNumber(7)))
        voter.receive(timeoutNow, from: b, at: .zero + .milliseconds(299), into: &effects)
        #expect(voter.role == .follower)
        voter.receive(timeoutNow, from: b, at: .zero + .milliseconds(300), into: &effects)
        #expect(voter.role == .candidate)
    }

    @Test("a leader that a quorum no longer answers steps down after one promise")
    func checkQuorum() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        try cluster.run(for: .seconds(1))
        cluster.isolate(leader)
        let cut = cluster.now
        try cluster.run(for: .seconds(2)) { $0[leader].raft.role != .leader }
        #expect(cluster[leader].steppedDown == [.lostQuorum])
        #expect(cluster.now.since(cut) <= .milliseconds(300))
        #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
    }

    @Test("a learner follows and promises, but does not campaign, and its vote counts for nobody by whose log it is a learner")
    func learners() throws {
        var cluster = RaftCluster(voters: [a, b], learners: [c, d])
        let leader = try cluster.elect()
        let other = leader == a ? b : a
        try cluster.propose("x", at: leader)
        try cluster.settle()
        #expect(cluster[c].raft.lastLogIndex == cluster[leader].raft.lastLogIndex)
        var learner = cluster[c].raft
        var effects: [ConsensusEffect] = []
        learner.receive(Self.voteRequest(term: 50, last: (50, 50)), from: other, at: cluster.now, into: &effects)
        #expect(Self.votes(effects) == [false], "it has promised")
        // Who asks may know a configuration in which it votes.
        effects = []
        learner.receive(Self.voteRequest(term: 50, last: (50, 50)), from: other, at: cluster.now + .seconds(5), into: &effects)
        #expect(Self.votes(effects) == [true])
        cluster.isolate(other)
        try cluster.run(for: .seconds(1))
        #expect(cluster[leader].steppedDown == [.lostQuorum])
        #expect(cluster[leader].raft.lease(at: cluster.now) == nil)
        #expect(cluster[c].raft.role == .follower && cluster[d].raft.role == .follower)
        #expect(cluster[c].raft.leader == nil)
    }

    @Test("a leader of an old term learns the new one from the answer to its heartbeat")
    func oldLeaderLearns() {
        var voter = Self.voter(Recovered(ballot: Ballot(term: Term(5), vote: nil), longestPromise: .zero, entries: []))
        var effects: [ConsensusEffect] = []
        voter.receive(Self.heartbeat(3, term: 4), from: b, at: .zero, into: &effects)
        let expected = Message(term: Term(5), body: .heartbeatAnswer(HeartbeatAnswer(number: .zero)))
        #expect(Self.sends(effects).map(\.message) == [expected])
        #expect(voter.leader == nil)
    }

    private static func votes(_ effects: [ConsensusEffect]) -> [Bool] {
        sends(effects).compactMap { if case .voteAnswer(let answer) = $0.message.body { answer.granted } else { nil } }
    }

    @Test("messages of impossible terms, and those that ask for too long a promise, are ignored")
    func ignoresTheImpossible() {
        var voter = Self.voter()
        var effects: [ConsensusEffect] = []
        voter.receive(Self.heartbeat(1, term: .max), from: b, at: .zero, into: &effects)
        voter.receive(Self.voteRequest(term: .max), from: b, at: .zero, into: &effects)
        voter.receive(Self.heartbeat(1, term: 1, promise: .seconds(61)), from: b, at: .zero, into: &effects)
        #expect(Self.sends(effects).isEmpty)
    }

    @Test("five voters go on without two of them, and not without three")
    func fiveVoters() throws {
        var cluster = RaftCluster(voters: [a, b, c, d, e])
        for _ in 0..<2 {
            let leader = try cluster.elect()
            try cluster.propose("from \(leader)", at: leader)
            try cluster.settle()
            cluster.crash(leader)
        }
        let last = try cluster.elect()
        try cluster.propose("still", at: last)
        try cluster.settle()
        #expect(cluster[last].applied.count == 6)
        cluster.crash(last)
        try cluster.run(for: .seconds(10))
        #expect(cluster.leader == nil)
        cluster.restart(last)
        try cluster.elect()
    }
}
