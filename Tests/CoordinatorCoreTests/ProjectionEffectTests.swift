// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member says about files, and what it is told about its surroundings.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Testing
import Wire

@Suite struct ProjectionEffectTests {
    @Test("every member says everything once it has caught up, then what each entry changes, and nothing of what changes no file")
    func follows() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        for name in cluster.names {
            #expect(cluster.projected.filter { $0.0 == name }.map(\.1) == [.everything])
        }
        cluster.projected = []
        cluster.ask(.command(.openPairing(milliseconds: 600_000)), of: others[0], ticket: 1, id: "open")
        cluster.pass(200)
        #expect(cluster.projected.isEmpty)
        let submission = PairingSubmission(
            reqid: Reqid(7), hostname: must(AgentName("web-1")), signingRequest: SigningRequest(der: [9]), nonce: "0123", code: "432319",
            sourceAddress: "192.0.2.7", suggested: Reachability())
        cluster.ask(
            .command(.submitPairing(submission)), of: leader, ticket: 2, id: "submit", principal: .pairingHost(address: "192.0.2.7"))
        #expect(cluster.pass(1_000) { cluster.projected.count == cluster.names.count })
        #expect(cluster.projected.map(\.1) == cluster.names.map { _ in .parts([.pairing(Reqid(7))]) })
        #expect(cluster.projected.map(\.0).sorted() == cluster.names)
    }

    @Test("a member that has not heard from a leader says nothing: the files of its last run are newer than what it has applied")
    func waits() {
        let cluster = SmallCluster()
        cluster.alive = [true, false, false]
        cluster.pass(3_000)
        #expect(cluster.projected.isEmpty)
    }

    @Test("what the shell says of its surroundings stands in the report that others get, with the member's own calendar")
    func facts() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        let facts = MemberFacts(
            disk: MemberFacts.DiskSpace(freeBytes: 5, totalBytes: 10), projection: .failing("no such directory"), keptAside: 2)
        cluster.give(.facts(facts), to: others[0])
        cluster.give(.reports(deadline: cluster.now + .milliseconds(500), Ticket(9)), to: leader)
        cluster.deliver()
        cluster.pass(600) { cluster.reply(to: 9) != nil }
        guard case .reports(let reports) = cluster.reply(to: 9) else {
            Issue.record("no reports")
            return
        }
        let report = reports.first { $0.member == cluster.names[others[0]] }
        #expect(report?.facts == facts)
        #expect(report?.calendar == cluster.moment(of: others[0]).wallClock)
        #expect(reports.first { $0.member == cluster.names[leader] }?.facts == MemberFacts())
    }
}
