// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When a member puts its state into a snapshot, what becomes of its log then, and what it means to take over somebody else's state.

import Consensus
import CtrlExec
import DispatcherState
import Testing
import Wire

@testable import CoordinatorCore

@Suite("Snapshots of a member")
struct SnapshotTests {
    private static let policy = SnapshotPolicy(
        entries: 10, bytes: 1 << 20, margin: 3, keptForOthers: RetentionLimit(entries: 100, bytes: 1 << 20))

    private func issue(_ count: Int, _ cluster: SmallCluster, at member: Int, from first: UInt64 = 1) {
        for number in first..<(first + UInt64(count)) {
            cluster.ask(SmallCluster.issue("op-\(number)"), of: member, ticket: number, id: "r-\(number)")
        }
    }

    @Test("are taken after so many entries, and all but a margin of the log goes then")
    func taken() throws {
        let cluster = SmallCluster(snapshots: Self.policy)
        let (leader, _) = cluster.elect()
        issue(12, cluster, at: leader)
        cluster.pass(200)
        for member in cluster.members.indices {
            let snapshot = try #require(cluster.snapshots[member])
            #expect(snapshot.base.index == snapshot.state.appliedIndex)
            #expect(snapshot.base.configuration.voters == cluster.names)
            let raft = cluster.members[member].raft
            #expect(raft.snapshot == snapshot.base.place)
            #expect(raft.base(at: cluster.members[member].state.appliedIndex).index == cluster.members[member].state.appliedIndex)
            #expect(raft.invariantViolation() == nil)
        }
    }

    @Test("are taken after so many bytes as well")
    func takenByBytes() {
        let cluster = SmallCluster(
            1,
            snapshots: SnapshotPolicy(
                entries: 1_000_000, bytes: 400, margin: 3, keptForOthers: RetentionLimit(entries: 100, bytes: 1 << 20)))
        let (leader, _) = cluster.elect()
        issue(8, cluster, at: leader)
        #expect(cluster.snapshots[leader] != nil)
    }

    @Test("bring up a member that was away for longer than the log reaches, and its callers hear what became of their requests")
    func installed() throws {
        let cluster = SmallCluster(snapshots: Self.policy)
        let (leader, others) = cluster.elect()
        let away = others[0]
        cluster.cut = cluster.names.indices.filter { $0 != away }.flatMap {
            [(cluster.names[$0], cluster.names[away]), (cluster.names[away], cluster.names[$0])]
        }
        // Asked for at both: what is decided meanwhile, the member that was away only finds in the state.
        cluster.ask(SmallCluster.issue("twice"), of: leader, ticket: 900, id: "same")
        cluster.ask(SmallCluster.issue("twice"), of: away, ticket: 901, id: "same", milliseconds: 60_000)
        // The leader keeps its log for a while, for whoever was there a moment ago.
        cluster.pass(11_000)
        issue(20, cluster, at: leader)
        issue(20, cluster, at: leader, from: 21)
        cluster.cut = []
        let isAsked = cluster.pass(2_000) { !cluster.fetches.isEmpty }
        #expect(isAsked, "the leader has forgotten what the member lacks")
        let offered = try #require(cluster.fetches.first).place
        // An offer that comes again is no second fetch.
        cluster.pass(500)
        #expect(cluster.fetches.count == 1)
        cluster.fetch()
        #expect(cluster.members[away].state.appliedIndex >= offered.index)
        let hasAgreed = cluster.pass(2_000) {
            cluster.members[away].state.fullStateHash() == cluster.members[leader].state.fullStateHash()
        }
        #expect(hasAgreed)
        guard case .settled(.operatorIssued) = cluster.reply(to: 901) else {
            Issue.record("the caller was told \(String(describing: cluster.reply(to: 901)))")
            return
        }
        #expect(cluster.logged.contains { $0.member == cluster.names[away] && $0.record.action == "snapshot-install" })
        #expect(cluster.projected.contains { $0.0 == cluster.names[away] && $0.1 == .everything })
    }

    @Test("that are gone by the time they are fetched are offered anew, the newest first")
    func offeredAgain() throws {
        let cluster = SmallCluster(snapshots: Self.policy)
        let (leader, others) = cluster.elect()
        let away = others[0]
        cluster.cut = cluster.names.indices.filter { $0 != away }.flatMap {
            [(cluster.names[$0], cluster.names[away]), (cluster.names[away], cluster.names[$0])]
        }
        cluster.pass(11_000)
        issue(40, cluster, at: leader)
        cluster.cut = []
        cluster.pass(2_000) { !cluster.fetches.isEmpty }
        let first = try #require(cluster.fetches.first).place
        issue(40, cluster, at: leader, from: 100)
        #expect(cluster.snapshots[leader]?.base.place != first)
        cluster.fetch()
        let isAskedAgain = cluster.pass(1_000) { !cluster.fetches.isEmpty }
        #expect(isAskedAgain)
        cluster.fetch()
        let hasAgreed = cluster.pass(2_000) {
            cluster.members[away].state.fullStateHash() == cluster.members[leader].state.fullStateHash()
        }
        #expect(hasAgreed)
    }

    @Test("are what a member begins from, with the identities in them opened")
    func restarted() throws {
        let cluster = SmallCluster(snapshots: Self.policy)
        let (leader, others) = cluster.elect()
        cluster.ask(
            .command(.beginRotation(overlapMilliseconds: 86_400_000, isCompromised: false, replacing: nil)), of: leader, ticket: 800,
            id: "rot")
        cluster.pass(200)
        issue(20, cluster, at: leader)
        cluster.pass(200)
        let member = others[0]
        let snapshot = try #require(cluster.snapshots[member])
        cluster.restart(member)
        #expect(cluster.members[member].state == snapshot.state)
        let hasAgreed = cluster.pass(3_000) {
            cluster.members[member].state.fullStateHash() == cluster.members[leader].state.fullStateHash()
        }
        #expect(hasAgreed)
        for identity in cluster.members[member].state.identities {
            #expect(cluster.members[member].held.contains(identity.serial))
        }
        #expect(cluster.members[member].state.identities.count > 1)
    }

    @Test("that the disk has no room for are tried again later, and any other failure ends the process")
    func failures() {
        let cluster = SmallCluster(1, snapshots: Self.policy)
        let (leader, _) = cluster.elect()
        var member = cluster.members[leader]
        var effects: [Effect] = []
        member.handle(.snapshotNotSaved(.disk(.full)), at: cluster.moment(of: leader), into: &effects)
        #expect(effects.contains { if case .log(let record) = $0.action { record.action == "snapshot-fail" } else { false } })
        #expect(!effects.contains { if case .stop = $0.action { true } else { false } })
        effects = []
        let failure = DiskFailure.failed(operation: "synchronize", nil, reason: "input/output error")
        member.handle(.snapshotNotSaved(.disk(failure)), at: cluster.moment(of: leader), into: &effects)
        #expect(effects.contains { if case .stop(.snapshotFailed(failure)) = $0.action { true } else { false } })
    }
}
