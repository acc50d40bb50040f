// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who the members are, changed by entries of the log: one voter at a time, effective when appended, undone when cut off.

import Consensus
import Testing

@Suite("Raft: membership")
struct RaftMembershipTests {
    private func failure(_ body: () throws -> Void) -> ProposeFailure? {
        do { try body() } catch { return error as? ProposeFailure }
        return nil
    }

    /// Appends the change and waits until all of the new members have it.
    private func change(_ cluster: inout RaftCluster, to voters: [MemberID], learners: [MemberID] = []) throws {
        let leader = try cluster.elect()
        let index = try cluster.change(to: voters, learners: learners, at: leader)
        try cluster.run(for: .seconds(5)) { cluster in
            (voters + learners).allSatisfy { cluster[$0].applied.last.map { $0.index >= index } ?? false }
        }
        for id in voters + learners {
            guard cluster[id].raft.configuration == Configuration(voters: voters, learners: learners) else {
                throw Failure("\(id) has \(cluster[id].raft.configuration)")
            }
        }
    }

    @Test("one member grows to three, each first a learner, and shrinks back to one")
    func growAndShrink() throws {
        var cluster = RaftCluster(voters: [a], outsiders: [b, c])
        #expect(try cluster.elect() == a)
        try cluster.propose("alone", at: a)
        try change(&cluster, to: [a], learners: [b])
        try change(&cluster, to: [a, b])
        try change(&cluster, to: [a, b], learners: [c])
        try change(&cluster, to: [a, b, c])
        #expect(cluster[c].applied.contains { $0.payload == Array("alone".utf8) })
        cluster.crash(a)
        let successor = try cluster.elect()
        #expect(successor != a)
        cluster.restart(a)
        try change(&cluster, to: [successor, a])
        try change(&cluster, to: [successor])
        try cluster.propose("alone again", at: successor)
        try cluster.run(for: .seconds(1))
        #expect(cluster[successor].applied.last?.payload == Array("alone again".utf8))
        try cluster.checkLogMatching()
    }

    @Test("no change before an entry of the own term is committed, none beside another, one voter at a time")
    func oneAtATime() throws {
        var cluster = RaftCluster(voters: [a, b, c], outsiders: [d, e])
        let leader = try cluster.elect()
        #expect(failure { try cluster.change(to: [a, b, c, d, e], at: leader) } == .tooManyChanges)
        #expect(failure { try cluster.change(to: [a, b, d], at: leader) } == .tooManyChanges)
        let others = [a, b, c].filter { $0 != leader }
        cluster.isolate(leader)
        try cluster.change(to: [a, b, c, d], at: leader)
        #expect(failure { try cluster.change(to: [a, b, c, d, e], at: leader) } == .changeUnderway)
        cluster.heal()
        // A new leader whose followers' disks are slow has committed nothing of its term yet.
        cluster.crash(leader)
        for other in others { cluster[other].writesAtOnce = true }
        try cluster.run(for: .seconds(5)) { $0.leader != nil && $0.leader != leader }
        let successor = try #require(cluster.leader)
        let established = cluster[successor].established.contains(cluster[successor].raft.term)
        if !established { #expect(failure { try cluster.change(to: others, at: successor) } == .changeUnderway) }
        #expect(failure { try cluster.change(to: [successor], at: others.first { $0 != successor } ?? a) } != nil)
    }

    @Test("a change counts as soon as it is appended, and is undone when another leader's log cuts it off")
    func undone() throws {
        var cluster = RaftCluster(voters: [a, b, c], outsiders: [d])
        let leader = try cluster.elect()
        cluster.isolate(leader)
        try cluster.change(to: [a, b, c, d], at: leader)
        #expect(cluster[leader].raft.configuration.voters == [a, b, c, d])
        try cluster.run(for: .seconds(3))
        let successor = try #require(cluster.leader)
        #expect(successor != leader)
        try cluster.propose("instead", at: successor)
        cluster.heal()
        try cluster.run(for: .seconds(2))
        #expect(cluster[leader].raft.configuration.voters == [a, b, c])
        #expect(cluster[leader].raft.configurationIndex == .zero)
        #expect(cluster[d].applied.isEmpty)
        try cluster.checkLogMatching()
    }

    @Test("a leader that removes itself does not count itself, leads until that is committed, and never again")
    func removesItself() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let others = [a, b, c].filter { $0 != leader }
        cluster.crash(others[1])
        let index = try cluster.change(to: others, at: leader)
        try cluster.run(for: .milliseconds(150))
        // One of the two that are left has it, and with the leader that would be two of three.
        #expect(cluster[leader].raft.role == .leader && cluster[leader].raft.commitIndex < index)
        #expect(cluster[others[0]].raft.lastLogIndex == index)
        cluster.restart(others[1])
        try cluster.run(for: .seconds(5)) { $0[leader].steppedDown.contains(.removed) }
        #expect(cluster[leader].steppedDown.contains(.removed))
        let successor = try cluster.elect()
        #expect(others.contains(successor))
        try cluster.propose("without it", at: successor)
        let term = cluster[successor].raft.term
        try cluster.run(for: .seconds(5))
        #expect(cluster[successor].raft.term == term && cluster[leader].raft.role == .follower)
    }

    @Test("a removed member that never heard of it unseats nobody")
    func removedMember() throws {
        var cluster = RaftCluster(voters: [a, b, c])
        let leader = try cluster.elect()
        let removed = try #require([a, b, c].first { $0 != leader })
        cluster.isolate(removed)
        try cluster.change(to: [a, b, c].filter { $0 != removed }, at: leader)
        try cluster.run(for: .seconds(2))
        let term = cluster[leader].raft.term
        cluster.heal()
        try cluster.run(for: .seconds(5))
        #expect(cluster[leader].raft.role == .leader && cluster[leader].raft.term == term)
        #expect(cluster[removed].raft.configuration.isVoter(removed), "nobody told it")
    }

    @Test("the configuration is what the journal says, also after a restart; whoever is not a voter does not campaign")
    func restart() throws {
        var cluster = RaftCluster(voters: [a, b], outsiders: [c])
        try change(&cluster, to: [a, b], learners: [c])
        for id in [a, b, c] { cluster.crash(id) }
        for id in [a, b, c] { cluster.restart(id) }
        #expect([a, b, c].allSatisfy { cluster[$0].raft.configuration == Configuration(voters: [a, b], learners: [c]) })
        cluster.crash(a)
        cluster.crash(b)
        try cluster.run(for: .seconds(5))
        #expect(cluster[c].raft.role == .follower && cluster[c].raft.term == cluster[c].disk.ballot.term)
    }

    @Test("a member that is left alone and restarts waits for the promise that it gave to the leader that left")
    func leftAlone() throws {
        var cluster = RaftCluster(voters: [a, b])
        let leader = try cluster.elect()
        let other = leader == a ? b : a
        // What the other answers is lost: the leader leads on, under the other's promise.
        try cluster.run(for: .milliseconds(100))
        cluster.drops = { $0.from == other }
        try cluster.change(to: [other], at: leader)
        try cluster.settle()
        #expect(cluster[other].raft.configuration.voters == [other])
        cluster.crash(other)
        cluster.restart(other)
        // `RaftCluster` fails where two hold a lease at once.
        try cluster.run(for: .seconds(2))
        #expect(cluster.leader == other)
        #expect(cluster[other].established.count == 1)
    }
}
