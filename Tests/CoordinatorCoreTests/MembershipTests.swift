// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How a leader brings the members after what is wanted, and what becomes of those that were removed.

import Consensus
import CtrlExec
import DispatcherState
import Testing
import Wire

@testable import CoordinatorCore

@Suite("Members that come and go")
struct MembershipTests {
    private let hash = [UInt8](repeating: 7, count: 32)

    private func ready(_ count: Int) -> SmallCluster {
        let cluster = SmallCluster(count)
        _ = cluster.elect()
        cluster.pass(1_000) { cluster.members.allSatisfy { $0.state.machineVersion == .newest } }
        return cluster
    }

    /// Invited and let in; it does not run yet.
    private func admit(_ name: String, to cluster: SmallCluster, ticket: UInt64) {
        let leader = must(cluster.leader)
        cluster.ask(
            .command(.invite(must(MemberID(name)), address: "192.0.2.1:\(8_000 + ticket)", secretHash: hash)), of: leader, ticket: ticket,
            id: "invite-\(name)")
        let join = JoinRequest(member: must(MemberID(name)), secretHash: hash, publicKey: [1], signingRequest: SigningRequest(der: [0x30]))
        cluster.ask(
            .command(.admit(join)), of: leader, ticket: ticket + 1_000, id: "join-\(name)", principal: .joiningHost(address: "192.0.2.1"))
        cluster.pass(100)
    }

    private func remove(_ name: String, from cluster: SmallCluster, ticket: UInt64) -> Reply? {
        cluster.ask(.command(.removeMember(must(MemberID(name)))), of: must(cluster.leader), ticket: ticket, id: "remove-\(name)")
        cluster.pass(50)
        return cluster.reply(to: ticket)
    }

    private func voters(_ cluster: SmallCluster) -> [String] { must(cluster.leader.map { cluster.members[$0].state.voters.map(\.name) }) }

    @Test("one becomes three and goes back to one, the leader among those that go")
    func oneThreeOne() {
        let cluster = ready(1)
        for (number, name) in ["b", "c"].enumerated() {
            admit(name, to: cluster, ticket: UInt64(number) + 1)
            // Admitted and not there: it learns, and counts for nothing.
            cluster.pass(300)
            #expect(cluster.leader != nil && !voters(cluster).contains(name))
            cluster.add(name)
            #expect(cluster.pass(3_000) { voters(cluster).contains(name) })
        }
        #expect(voters(cluster) == ["a", "b", "c"])
        #expect(cluster.pass(1_000) { cluster.members.allSatisfy { $0.isReady(at: cluster.now) } })
        // All hold the dispatcher's identity, as far as the state knows.
        #expect(cluster.pass(1_000) { cluster.members[0].state.membersWithout(cluster.members[0].state.currentIdentity!.serial).isEmpty })
        #expect(remove("a", from: cluster, ticket: 50) == .settled(.memberRemoved(must(MemberID("a")))))
        #expect(cluster.pass(3_000) { cluster.left.contains { $0.member == 0 } })
        cluster.alive[0] = false
        #expect(cluster.pass(3_000) { cluster.leader != nil })
        let other = cluster.leader == 1 ? "c" : "b"
        #expect(remove(other, from: cluster, ticket: 51) == .settled(.memberRemoved(must(MemberID(other)))))
        #expect(cluster.pass(3_000) { voters(cluster).count == 1 && cluster.left.count == 2 })
    }

    @Test("a removal after which too few would answer is refused with the reason, and nothing is proposed")
    func refused() {
        let cluster = ready(3)
        let (leader, others) = cluster.elect()
        cluster.alive[others[0]] = false
        cluster.pass(1_000)
        let name = cluster.names[others[1]].name
        guard case .settled(.refused(.membershipRefused(let reason))) = remove(name, from: cluster, ticket: 1) else {
            Issue.record("\(String(describing: cluster.reply(to: 1)))")
            return
        }
        #expect(reason.contains("2 would be needed") && reason.contains(cluster.names[others[0]].name))
        #expect(cluster.members[leader].state.members.allSatisfy { $0.phase == .staying })
        // The one that does not answer may go.
        _ = remove(cluster.names[others[0]].name, from: cluster, ticket: 2)
        #expect(cluster.pass(1_000) { voters(cluster).count == 2 })
    }

    @Test("one that was removed while it heard nobody asks, is told, and disturbs nobody")
    func told() {
        let cluster = ready(3)
        let (leader, others) = cluster.elect()
        let (gone, stays) = (others[0], others[1])
        cluster.cut = [leader, stays].flatMap { [(cluster.names[gone], cluster.names[$0]), (cluster.names[$0], cluster.names[gone])] }
        cluster.pass(1_000)
        _ = remove(cluster.names[gone].name, from: cluster, ticket: 1)
        #expect(cluster.pass(1_000) { voters(cluster).count == 2 })
        let term = cluster.members[leader].raft.term
        cluster.cut = []
        #expect(cluster.pass(3_000) { cluster.left.contains { $0.member == gone } })
        cluster.pass(2_000)
        #expect(cluster.members[leader].raft.term == term && cluster.leader == leader)
        #expect(cluster.left.count { $0.member == gone } == 1)
    }

    @Test("a learner that was removed before it heard of anybody is told by those of whom it knew when it joined")
    func learnerTold() {
        let cluster = ready(1)
        admit("b", to: cluster, ticket: 1)
        cluster.pass(200)
        _ = remove("b", from: cluster, ticket: 2)
        #expect(cluster.pass(1_000) { cluster.members[0].state.formerMember(must(MemberID("b"))) != nil })
        cluster.add("b")
        #expect(cluster.pass(3_000) { cluster.left.contains { $0.member == 1 } })
    }

    @Test("an invitation that nobody uses is over after ten minutes, also where nothing else happens")
    func invitationEnds() {
        let cluster = ready(1)
        let guest = must(MemberID("b"))
        cluster.ask(.command(.invite(guest, address: "192.0.2.1:8001", secretHash: hash)), of: 0, ticket: 1, id: "invite")
        cluster.pass(1_000)
        cluster.now = cluster.now + .seconds(598)
        cluster.pass(500)
        #expect(cluster.members[0].state.invitation(of: guest) != nil)
        #expect(cluster.pass(2_000) { cluster.members[0].state.invitations.isEmpty })
        let index = cluster.members[0].state.appliedIndex
        cluster.pass(2_000)
        #expect(cluster.members[0].state.appliedIndex == index)
    }

    @Test("strangers' requests are not taken up, but for what a log that lags needs to hear of them")
    func strangers() {
        let cluster = ready(3)
        let leader = cluster.elect().leader
        let stranger = must(MemberID("z"))
        var effects: [Effect] = []
        cluster.members[leader].handle(.peer(.reportRequest(number: 1), from: stranger), at: cluster.moment(of: leader), into: &effects)
        #expect(!effects.contains { if case .send(_, stranger) = $0.action { true } else { false } })
    }
}
