// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How entries travel, what counts as durable, what commits, and when a leader gives up its disk.

import Consensus
import Testing

@Suite("Raft: replication and commit (paper 5.3, 5.4.2; rule 2)")
struct RaftReplicationTests {
    static func entry(_ index: UInt64, _ term: UInt64, _ text: String = "") -> Entry {
        Entry(index: LogIndex(index), term: Term(term), payload: Array(text.utf8))
    }

    static func append(
        term: UInt64, number: UInt64 = 1, previous: (index: UInt64, term: UInt64), _ entries: [Entry], commit: UInt64 = 0
    ) -> Message {
        let heartbeat = Heartbeat(number: HeartbeatNumber(number), promise: .milliseconds(300), commit: LogIndex(commit))
        let body = Append(
            heartbeat: heartbeat, previousIndex: LogIndex(previous.index), previousTerm: Term(previous.term), entries: entries)
        return Message(term: Term(term), body: .append(body))
    }

    /// The answers in `effects`, with what they wait for.
    static func answers(_ effects: [ConsensusEffect]) -> [(result: AppendAnswer.Result, gate: Gate)] {
        RaftElectionTests.sends(effects).compactMap {
            if case .appendAnswer(let answer) = $0.message.body { (answer.result, $0.gate) } else { nil }
        }
    }

    /// A follower of `b` in `term` whose log and promise are on disk.
    static func follower(_ entries: [Entry], term: UInt64) -> LeaseRaft {
        RaftElectionTests.voter(
            Recovered(ballot: Ballot(term: Term(term), vote: nil), longestPromise: .milliseconds(300), entries: entries))
    }

    @Test("what is proposed is applied by everybody, in the same order, in one heartbeat")
    func appliesEverywhere() throws {
        var cluster = RaftCluster(voters: [a, b, c], learners: [d])
        let leader = try cluster.elect()
        for number in 1...10 { try cluster.propose("entry \(number)", at: leader) }
        try cluster.settle()
        for id in cluster.ids { #expect(cluster[id].applied.map(\.payload) == cluster[leader].applied.map(\.payload)) }
        #expect(cluster[leader].applied.count == 11)
    }

    @Test("an answer to an append waits for the write of its entries, and again when they come twice")
    func answerWaitsForTheWrite() {
        var follower = Self.follower([], term: 1)
        var effects: [ConsensusEffect] = []
        let append = Self.append(term: 1, previous: (0, 0), [Self.entry(1, 1), Self.entry(2, 1)])
        follower.receive(append, from: b, at: .zero, into: &effects)
        follower.receive(Self.append(term: 1, previous: (2, 1), [Self.entry(3, 1)]), from: b, at: .zero, into: &effects)
        follower.receive(append, from: b, at: .zero, into: &effects)
        #expect(Self.answers(effects).map(\.result) == [.matched(LogIndex(2)), .matched(LogIndex(3)), .matched(LogIndex(2))])
        #expect(Self.answers(effects).map(\.gate) == [.durable(WriteID(1)), .durable(WriteID(2)), .durable(WriteID(1))])
        effects = []
        follower.wrote(WriteID(1), at: .zero, into: &effects)
        follower.receive(append, from: b, at: .zero, into: &effects)
        #expect(Self.answers(effects).map(\.gate) == [.none])
    }

    @Test("an answer speaks for the append's entries, not for what else stands in the log")
    func answerMatchesTheAppendOnly() {
        let left = [Self.entry(1, 1), Self.entry(2, 1), Self.entry(3, 1)]
        var follower = Self.follower(left, term: 2)
        var effects: [ConsensusEffect] = []
        follower.receive(Self.append(term: 2, previous: (1, 1), []), from: b, at: .zero, into: &effects)
        #expect(Self.answers(effects).map(\.result) == [.matched(LogIndex(1))])
        #expect(follower.lastLogIndex == LogIndex(3))
    }

    @Test("only a real conflict truncates; an old append does not undo a newer one")
    func truncatesOnConflictOnly() {
        let log = [Self.entry(1, 1), Self.entry(2, 1), Self.entry(3, 1)]
        var follower = Self.follower(log, term: 3)
        var effects: [ConsensusEffect] = []
        follower.receive(Self.append(term: 3, previous: (0, 0), [Self.entry(1, 1)]), from: b, at: .zero, into: &effects)
        #expect(follower.lastLogIndex == LogIndex(3))
        #expect(Self.answers(effects).map(\.gate) == [.none])
        effects = []
        follower.receive(
            Self.append(term: 3, previous: (1, 1), [Self.entry(2, 1), Self.entry(3, 3, "new")]), from: b, at: .zero, into: &effects)
        let record = JournalWrite(truncateFrom: LogIndex(3), entries: [Self.entry(3, 3, "new")])
        #expect(effects.contains(.write(record, WriteID(1))))
        #expect(Self.answers(effects).map(\.result) == [.matched(LogIndex(3))])
        #expect(Self.answers(effects).map(\.gate) == [.durable(WriteID(1))])
    }

    @Test("entries whose write is still pending when a conflict removes them are never taken for durable")
    func truncatedWhilePending() {
        var follower = Self.follower([], term: 1)
        var effects: [ConsensusEffect] = []
        let old = [Self.entry(1, 1), Self.entry(2, 1), Self.entry(3, 1)]
        follower.receive(Self.append(term: 1, previous: (0, 0), old), from: b, at: .zero, into: &effects)
        // A new leader replaces 2 and 3 before they are on disk.
        follower.receive(
            Self.append(term: 2, previous: (1, 1), [Self.entry(2, 2), Self.entry(3, 2)]), from: c, at: .zero, into: &effects)
        effects = []
        follower.wrote(WriteID(1), at: .zero, into: &effects)
        #expect(follower.invariantViolation() == nil)
        let again = Self.append(term: 2, number: 2, previous: (1, 1), [Self.entry(2, 2), Self.entry(3, 2)], commit: 3)
        follower.receive(again, from: c, at: .zero, into: &effects)
        #expect(Self.answers(effects).map(\.gate) == [.durable(WriteID(3))])
        #expect(effects.contains(.commit(through: LogIndex(1))))
        follower.wrote(WriteID(3), at: .zero, into: &effects)
        #expect(effects.contains(.commit(through: LogIndex(3))))
    }

    @Test("a follower without the preceding entry says where the logs may meet, a term at a time")
    func mismatchHint() {
        let log = [Self.entry(1, 1), Self.entry(2, 1), Self.entry(3, 2), Self.entry(4, 2)]
        for (previous, hint, hintTerm) in [((9, 4), 4, 2), ((4, 1), 2, 1), ((3, 3), 3, 2)] as [((UInt64, UInt64), UInt64, UInt64)] {
            var follower = Self.follower(log, term: 5)
            var effects: [ConsensusEffect] = []
            follower.receive(Self.append(term: 5, previous: previous, []), from: b, at: .zero, into: &effects)
            #expect(Self.answers(effects).map(\.result) == [.mismatch(hint: LogIndex(hint), hintTerm: Term(hintTerm))])
        }
    }

    @Test("malformed appends are ignored")
    func malformed() {
        for (previous, entries) in [
            ((0, 0), [Self.entry(2, 1)]), ((0, 0), [Self.entry(1, 2)]), ((0, 1), []), ((.max, 1), [Self.entry(1, 1)]),
            ((0, 0), [Self.entry(1, 1), Self.entry(2, 0)]),
        ] as [((UInt64, UInt64), [Entry])] {
            var follower = Self.follower([], term: 1)
            var effects: [ConsensusEffect] = []
            follower.receive(Self.append(term: 1, previous: previous, entries), from: b, at: .zero, into: &effects)
            #expect(effects.isEmpty)
        }
    }

    @Test("the leader counts in the commit only with what is durable on its own disk (dissertation 10.2.1)")
    func leaderCountsWhenDurable() throws {
        var cluster = RaftCluster(voters: [a, b])
        let leader = try cluster.elect()
        cluster[leader].writesAtOnce = false
        let index = try cluster.propose("x", at: leader)
        try cluster.settle()
        let other = leader == a ? b : a
        #expect(cluster[other].disk.entries.count == Int(index.position))
        #expect(cluster[leader].raft.commitIndex < index)
        try cluster.finishWrites(leader)
        #expect(cluster[leader].raft.commitIndex == index)
    }

    @Test("a quorum of followers commits what the leader may not apply yet")
    func appliesOnlyWhatIsDurableHere() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        cluster[leader].writesAtOnce = false
        let index = try cluster.propose("x", at: leader)
        try cluster.settle()
        #expect(cluster[leader].raft.commitIndex == index)
        #expect(cluster[leader].applied.last?.index == index.previous)
        try cluster.finishWrites(leader)
        #expect(cluster[leader].applied.last?.index == index)
    }

    /// The situation of figure 8: an entry of an older term on a majority is not committed by that; only an entry of the leader's own
    /// term commits it.
    @Test("an entry of an older term is never committed by counting (figure 8)")
    func ownTermOnly() {
        let log = [Self.entry(1, 1), Self.entry(2, 2, "old")]
        var raft = RaftElectionTests.voter(Recovered(ballot: Ballot(term: Term(3), vote: nil), longestPromise: .zero, entries: log))
        var effects: [ConsensusEffect] = []
        func step(_ body: Message.Body, term: UInt64, from: MemberID, at now: Instant) {
            raft.receive(Message(term: Term(term), body: body), from: from, at: now, into: &effects)
        }
        let now = raft.nextDeadline
        raft.tick(at: now, into: &effects)
        #expect(raft.role == .preCandidate)
        step(.voteAnswer(VoteAnswer(isPreVote: true, granted: true, campaignTerm: Term(4))), term: 3, from: b, at: now)
        raft.wrote(WriteID(1), at: now, into: &effects)
        step(.voteAnswer(VoteAnswer(isPreVote: false, granted: true, campaignTerm: Term(4))), term: 4, from: b, at: now)
        #expect(raft.role == .leader)
        #expect(raft.lastLogIndex == LogIndex(3))
        // Entry 2 of term 2 is on three of three disks.
        let old = AppendAnswer(number: HeartbeatNumber(1), result: .matched(LogIndex(2)))
        step(.appendAnswer(old), term: 4, from: b, at: now)
        step(.appendAnswer(old), term: 4, from: c, at: now)
        #expect(raft.commitIndex == .zero)
        // Entry 3 of term 4 on two of three commits both.
        raft.wrote(WriteID(2), at: now, into: &effects)
        step(.appendAnswer(AppendAnswer(number: HeartbeatNumber(1), result: .matched(LogIndex(3)))), term: 4, from: c, at: now)
        #expect(raft.commitIndex == LogIndex(3))
    }

    @Test("a deposed leader's uncommitted entries give way, committed ones never do")
    func conflictsAreRepaired() throws {
        for seed in 1...20 as ClosedRange<UInt64> {
            var cluster = RaftCluster(voters: [a, b, c], seed: seed)
            let old = try cluster.elect()
            try cluster.propose("kept", at: old)
            try cluster.settle()
            cluster.isolate(old)
            for number in 1...100 { try cluster.propose("lost \(number)", at: old) }
            try cluster.run(for: .seconds(2))
            let new = try cluster.elect()
            for number in 1...100 { try cluster.propose("new \(number)", at: new) }
            cluster.heal()
            try cluster.run(for: .seconds(2))
            #expect(cluster[old].log == cluster[new].log)
            #expect(cluster[old].applied.count == 103)
            try cluster.checkLogMatching()
        }
    }

    @Test("appends that are lost are sent again")
    func retransmits() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        cluster.drops = { if case .append(let append) = $0.message.body { !append.entries.isEmpty } else { false } }
        let index = try cluster.propose("x", at: leader)
        try cluster.run(for: .milliseconds(100))
        cluster.heal()
        #expect(cluster[leader].raft.commitIndex < index)
        try cluster.run(for: .milliseconds(110))
        for id in cluster.ids { #expect(cluster[id].applied.last?.index == index) }
    }

    @Test("a member that missed thousands of entries catches up in batches within the window")
    func catchesUp() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let late = try #require(cluster.ids.first { $0 != leader })
        cluster.crash(late)
        for number in 0..<3000 {
            try cluster.propose(String(repeating: "x", count: 100 + number % 7), at: leader)
            try cluster.settle()
        }
        cluster.restart(late)
        cluster.keepsSent = true
        try cluster.run(for: .milliseconds(250))
        #expect(cluster[late].applied.count == cluster[leader].applied.count)
        let sizes = cluster.sent.compactMap {
            if case .append(let append) = $0.message.body, $0.to == late { append.entries.count } else { nil }
        }
        #expect(sizes.max() == 64)
        #expect(sizes.reduce(0, +) < 3200, "entries are sent once, not again and again")
    }

    @Test("an append carries at most 128 KiB, but always one entry")
    func batchesByBytes() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let late = try #require(cluster.ids.first { $0 != leader })
        cluster.isolate(late)
        for _ in 0..<8 { try cluster.step(leader) { try $0.propose([UInt8](repeating: 7, count: 60 * 1024), at: $1, into: &$2).index } }
        try cluster.step(leader) { try $0.propose([UInt8](repeating: 7, count: Entry.payloadLimit), at: $1, into: &$2).index }
        try cluster.settle()
        cluster.heal()
        cluster.keepsSent = true
        try cluster.run(for: .milliseconds(250))
        #expect(cluster[late].applied.count == 10)
        let sizes = cluster.sent.compactMap { message -> Int? in
            guard case .append(let append) = message.message.body, message.to == late else { return nil }
            return append.entries.count
        }
        #expect(sizes.max() == 2)
    }

    @Test("no more than the window is on its way to a member that does not answer")
    func window() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let slow = try #require(cluster.ids.first { $0 != leader })
        cluster[slow].writesAtOnce = false
        cluster.keepsSent = true
        for number in 0..<200 {
            try cluster.propose("\(number)", at: leader)
            try cluster.settle()
        }
        let appends = cluster.sent.count { if case .append = $0.message.body, $0.to == slow { true } else { false } }
        #expect(appends == 16)
        cluster[slow].writesAtOnce = true
        try cluster.finishWrites(slow)
        try cluster.settle()
        #expect(cluster[slow].applied.count == 201)
    }

    @Test("what cannot be proposed is refused with its reason")
    func refusals() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let other = try #require(cluster.ids.first { $0 != leader })
        #expect(throws: ProposeFailure.notLeader(leader)) { try cluster.propose("x", at: other) }
        #expect(throws: ProposeFailure.tooLarge) {
            try cluster.step(leader) { try $0.propose([UInt8](repeating: 0, count: Entry.payloadLimit + 1), at: $1, into: &$2).index }
        }
        cluster.isolate(leader)
        for number in 0..<4096 { try cluster.propose("\(number)", at: leader) }
        #expect(throws: ProposeFailure.logFull) { try cluster.propose("one more", at: leader) }
    }

    @Test("a leader whose journal makes no progress for a second gives up, and does not campaign while that lasts")
    func journalStalls() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        cluster[leader].writesAtOnce = false
        try cluster.propose("x", at: leader)
        try cluster.run(for: .milliseconds(999))
        #expect(cluster.leader == leader)
        try cluster.run(for: .milliseconds(1))
        #expect(cluster[leader].steppedDown == [.journalStalled])
        let new = try cluster.elect()
        #expect(new != leader)
        // Alone with a stalled disk, it does not even ask.
        cluster.isolate(leader)
        try cluster.run(for: .seconds(5))
        #expect(cluster[leader].raft.role == .follower)
        try cluster.finishWrites(leader)
        try cluster.run(for: .seconds(1))
        #expect(cluster[leader].raft.role == .preCandidate)
    }

    @Test("a leader whose disk is full gives up and lets others lead")
    func diskFull() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        try cluster.step(leader) { $0.diskIsFull(at: $1, into: &$2) }
        #expect(cluster[leader].steppedDown == [.diskFull])
        #expect(try cluster.elect() != leader)
    }
}
