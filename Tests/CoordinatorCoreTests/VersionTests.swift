// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// New rules of the state machine: when they come into force, and what becomes of a member that does not know them.

import Consensus
import CtrlExec
import DispatcherState
import Testing
import Wire

@testable import CoordinatorCore

@Suite("Versions of the state machine")
struct VersionTests {
    @Test("a cluster of one release follows its newest rules at once; one member alone, too")
    func sameRelease() {
        for count in [1, 3] {
            let cluster = SmallCluster(count)
            _ = cluster.elect()
            #expect(cluster.pass(500) { cluster.members.allSatisfy { $0.state.machineVersion == .newest } })
        }
    }

    @Test("while one member knows only the old rules they stay in force; the last upgrade brings the new ones")
    func mixed() {
        let cluster = SmallCluster(3, knows: [2: .first])
        let leader = cluster.elect().leader
        cluster.pass(1_000)
        #expect(cluster.members.allSatisfy { $0.state.machineVersion == .first })
        // It serves all the same.
        cluster.ask(SmallCluster.issue("ann"), of: 2, ticket: 1, id: "x")
        cluster.pass(200)
        guard case .settled(.operatorIssued) = cluster.reply(to: 1) else {
            Issue.record("\(String(describing: cluster.reply(to: 1)))")
            return
        }
        if leader != 2 { cluster.restart(2) } else { cluster.restart(2, knows: .newest) }
        #expect(cluster.pass(5_000) { cluster.members.allSatisfy { $0.state.machineVersion == .newest } })
        #expect(cluster.stopped.isEmpty)
    }

    @Test("a member that is down keeps the old rules in force, whatever it said before")
    func silent() {
        let cluster = SmallCluster(3)
        cluster.cut = [0, 1].flatMap { number in
            [(cluster.names[2], cluster.names[number]), (cluster.names[number], cluster.names[2])]
        }
        cluster.pass(3_000) { cluster.leader != nil }
        cluster.pass(1_000)
        #expect(cluster.leader != nil && cluster.members.allSatisfy { $0.state.machineVersion == .first })
    }

    @Test("an old release that is put back once the new rules hold stops, and applies nothing under them")
    func putBack() {
        let cluster = SmallCluster(3)
        let other = cluster.elect().others[0]
        #expect(cluster.pass(500) { cluster.members.allSatisfy { $0.state.machineVersion == .newest } })
        let raised = must(cluster.members[other].state.appliedIndex)
        cluster.ask(SmallCluster.issue("ann"), of: other, ticket: 1, id: "x")
        cluster.pass(500)
        #expect(cluster.members[other].state.appliedIndex > raised)
        cluster.restart(other, knows: .first)
        cluster.pass(2_000)
        #expect(cluster.stopped.map(\.member) == [other])
        #expect(cluster.stopped.map(\.reason) == [.versionUnknown(.second, known: .first)])
        #expect(cluster.members[other].state.machineVersion == .second && cluster.members[other].state.appliedIndex <= raised)
        // The others go on, and it comes back with the right release.
        cluster.restart(other)
        #expect(
            cluster.pass(3_000) { cluster.members[other].state.appliedIndex == cluster.members[must(cluster.leader)].state.appliedIndex })
    }
}
