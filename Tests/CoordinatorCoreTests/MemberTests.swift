// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Rules 1, 3 and 4 of the architecture, as a caller of a member sees them.

import Consensus
import CtrlExec
import DispatcherState
import Testing
import Wire

@testable import CoordinatorCore

/// The serial of the operator that a reply says was issued.
private func serial(_ reply: Reply?) -> SerialNumber? {
    guard case .settled(.operatorIssued(_, let serial)) = reply else { return nil }
    return serial
}

@Suite("a member")
struct MemberTests {
    @Test("elects one leader under its lease; the others neither lead nor hold a lease")
    func electsOne() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        #expect(cluster.members[leader].raft.role == .leader)
        for other in others {
            #expect(!cluster.members[other].holdsLease(at: cluster.now))
            #expect(cluster.members[other].raft.leader == cluster.names[leader])
        }
    }

    @Test("that leads reserves, has it signed, records, and answers with the outcome")
    func leaderIssues() {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1")
        #expect(serial(cluster.reply(to: 1)) == serialNumber(incarnation: cluster.members[0].state.genesis.incarnation, counter: 10))
        #expect(cluster.members[leader].state.operators.map(\.name.text) == ["ann"])
        #expect(cluster.members[leader].state.obligations.isEmpty)
    }

    @Test("that is started again does not log once more what its journal holds, but what comes afterwards")
    func historyIsNoNews() {
        let cluster = SmallCluster(1)
        func times(_ action: String) -> Int { cluster.logged.count { $0.record.action == action } }
        _ = cluster.elect()
        cluster.ask(.command(.openPairing(milliseconds: 600_000)), of: 0, ticket: 1, id: "open")
        #expect(cluster.pass(1_000) { times("pairing-mode-start") == 1 })
        cluster.restart(0)
        _ = cluster.elect()
        #expect(cluster.members[0].state.pairingOpenUntil != nil)
        #expect(times("leader-established") == 2 && times("pairing-mode-start") == 1)
        cluster.ask(.command(.closePairing), of: 0, ticket: 2, id: "close")
        #expect(cluster.pass(1_000) { times("pairing-mode-stop") == 1 })
    }

    @Test("that follows forwards, and answers once it has applied the outcome itself")
    func followerForwards() {
        let cluster = SmallCluster()
        let (_, others) = cluster.elect()
        cluster.ask(SmallCluster.issue("ann"), of: others[0], ticket: 1, id: "r1")
        #expect(serial(cluster.reply(to: 1)) != nil)
        #expect(cluster.members[others[0]].state.operators.map(\.name.text) == ["ann"])
    }

    @Test("gives the same answer to the same request id, whoever is asked")
    func sameRequestSameAnswer() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        for (ticket, member) in [(UInt64(1), leader), (2, others[0]), (3, others[1]), (4, leader)] {
            cluster.ask(SmallCluster.issue("ann"), of: member, ticket: ticket, id: "r1")
        }
        let first = serial(cluster.reply(to: 1))
        #expect(first != nil)
        for ticket in UInt64(2)...4 { #expect(serial(cluster.reply(to: ticket)) == first) }
        #expect(cluster.members[leader].state.nextSerialCounter == 11)
    }

    @Test("refuses another request under a used id")
    func reusedID() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1")
        cluster.ask(SmallCluster.issue("bob"), of: others[0], ticket: 2, id: "r1")
        #expect(cluster.reply(to: 2) == .settled(.refused(.requestIDReused)))
    }

    @Test("without a leader answers at the deadline, with the request id under which to ask again")
    func noLeader() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.alive[leader] = false
        cluster.alive[others[1]] = false
        cluster.pass(1000)
        cluster.ask(SmallCluster.issue("ann"), of: others[0], ticket: 1, id: "r1", milliseconds: 700)
        cluster.pass(690)
        #expect(cluster.reply(to: 1) == nil)
        cluster.pass(20)
        #expect(cluster.reply(to: 1) == .noLeader(.client("r1")))
        #expect(!cluster.members[others[0]].isReady(at: cluster.now))
    }

    @Test("keeps a request that was taken while the leader was dying, and gives it to the next")
    func requestOutlivesLeader() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.alive[leader] = false
        cluster.ask(SmallCluster.issue("ann"), of: others[0], ticket: 1, id: "r1")
        #expect(cluster.reply(to: 1) == nil)
        cluster.pass(3000) { cluster.reply(to: 1) != nil }
        #expect(serial(cluster.reply(to: 1)) != nil)
    }

    @Test("that takes over burns the reservation of the leader before it and fulfils the obligation under a new serial")
    func obligationsAreResumed() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.signsAtOnce = false
        cluster.ask(SmallCluster.issue("ann"), of: others[0], ticket: 1, id: "r1")
        #expect(cluster.jobs.map(\.member) == [leader])
        let late = cluster.jobs.removeFirst()
        cluster.alive[leader] = false
        cluster.pass(3000) { !cluster.jobs.isEmpty }
        let successor = cluster.jobs.first?.member
        #expect(successor != nil && successor != leader)
        #expect(cluster.jobs.first?.job.obligation.serial != late.job.obligation.serial)
        // The signature of the dead leader's reservation arrives at its successor: its serial is gone.
        cluster.give(
            .signed(
                late.job.obligation.id, late.job.obligation.serial,
                .success(SignedCertificate(der: [1], notAfter: .init(secondsSince1970: 0)))), to: must(successor))
        cluster.deliver()
        #expect(cluster.reply(to: 1) == nil)
        cluster.signsAtOnce = true
        cluster.deliver()
        let issued = serial(cluster.reply(to: 1))
        #expect(issued != nil && issued != late.job.obligation.serial)
    }

    @Test("signs only under its lease")
    func signingIsGuarded() {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        var effects: [Effect] = []
        cluster.members[leader].handle(
            .request(SmallCluster.issue("ann"), .client("r1"), from: .localUser(uid: 0), deadline: cluster.now + .seconds(5), Ticket(1)),
            at: cluster.moment(of: leader), into: &effects)
        #expect(!effects.contains { if case .sign = $0.action { true } else { false } }, "nothing is signed before the entry is committed")
        let whole = SmallCluster()
        let (first, _) = whole.elect()
        whole.signsAtOnce = false
        whole.ask(SmallCluster.issue("ann"), of: first, ticket: 1, id: "r1")
        #expect(whole.jobs.count == 1)
    }

    @Test("answers a carried request itself and never forwards it on")
    func oneHop() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        let request = ForwardedRequest(
            number: 77, operation: SmallCluster.issue("ann"), principal: .localUser(uid: 0), request: .client("r1"),
            remainingMilliseconds: 1000, believedTerm: cluster.members[others[0]].raft.term)
        var effects: [Effect] = []
        cluster.members[others[0]].handle(
            .peer(.forward(request), from: cluster.names[others[1]]), at: cluster.moment(of: others[0]), into: &effects)
        let sent = effects.compactMap { effect -> PeerMessage? in
            if case .send(let message, _) = effect.action { message } else { nil }
        }
        let expected = ForwardAnswer(
            number: 77, result: .notLeader(cluster.names[leader], term: cluster.members[others[0]].raft.term))
        #expect(sent == [.forwardAnswer(expected)])
    }

    @Test("takes orders from its configured members only")
    func strangersAreIgnored() {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        var effects: [Effect] = []
        let stranger = must(MemberID("stranger"))
        cluster.members[leader].handle(
            .peer(.reportRequest(number: 1), from: stranger), at: cluster.moment(of: leader), into: &effects)
        #expect(effects.allSatisfy { if case .send(_, let to) = $0.action { to != stranger } else { true } })
    }

    @Test("an operator without a record is refused by the state, not by whoever carries the request")
    func unknownOperatorIsRefused() {
        let cluster = SmallCluster()
        let (_, others) = cluster.elect()
        let unknown = Principal.operatorCertificate(must(OperatorName("eve")), must(SerialNumber(bytes: [1])))
        cluster.ask(SmallCluster.issue("eve"), of: others[0], ticket: 1, id: "r1", principal: unknown)
        #expect(cluster.reply(to: 1) == .settled(.refused(.notAllowed)))
    }

    @Test("reads linearizably on any member, under the lease on the leader only, and stale anywhere")
    func reads() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1")
        func read(_ consistency: ReadConsistency, _ member: Int, _ ticket: UInt64) -> Reply? {
            cluster.give(.read(consistency, deadline: cluster.now + .seconds(1), Ticket(ticket)), to: member)
            cluster.deliver()
            cluster.pass(100) { cluster.reply(to: ticket) != nil }
            return cluster.reply(to: ticket)
        }
        #expect(read(.linearizable, leader, 10) == .readable)
        #expect(read(.linearizable, others[0], 11) == .readable)
        #expect(cluster.members[others[0]].state.operators.count == 1)
        #expect(read(.lease, leader, 12) == .readable)
        #expect(read(.lease, others[0], 13) == .notReadable)
        cluster.alive[leader] = false
        cluster.alive[others[1]] = false
        cluster.pass(500)
        #expect(read(.stale, others[0], 14) == .readable)
        cluster.give(.read(.linearizable, deadline: cluster.now + .milliseconds(200), Ticket(15)), to: others[0])
        cluster.pass(250)
        #expect(cluster.reply(to: 15) == .notReadable)
    }

    @Test("hands leadership to the member that is named")
    func transfer() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.ask(.transfer(to: cluster.names[others[1]]), of: others[0], ticket: 1, id: "t1")
        cluster.pass(500) { cluster.reply(to: 1) != nil }
        #expect(cluster.reply(to: 1) == .transferred(to: cluster.names[others[1]]))
        cluster.pass(500) { cluster.leader == others[1] }
        #expect(cluster.leader == others[1])
        #expect(cluster.members[leader].raft.role == .follower)
    }

    @Test("moves leadership once for one request that names nobody, whichever member is asked", arguments: [0, 1, 2])
    func transferToAnybody(asked: Int) {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        let term = cluster.members[leader].raft.term
        cluster.ask(.transfer(to: nil), of: asked, ticket: 1, id: nil)
        cluster.pass(1500) { cluster.reply(to: 1) != nil }
        cluster.pass(1500)
        guard case .transferred(let successor) = cluster.reply(to: 1) else {
            Issue.record("\(String(describing: cluster.reply(to: 1)))")
            return
        }
        #expect(successor != cluster.names[leader])
        #expect(cluster.leader.map { cluster.names[$0] } == successor)
        #expect(cluster.members[asked].raft.term == term.next, "leadership moved exactly once")
    }

    @Test("refuses a carrier that speaks as the leader, and a transfer by somebody who is no operator")
    func carriersHaveNoRights() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        func answer(_ operation: ExclusiveOperation, _ principal: Principal) -> ForwardAnswer.Result? {
            let request = ForwardedRequest(
                number: 5, operation: operation, principal: principal, request: .client("x"), remainingMilliseconds: 1000,
                believedTerm: cluster.members[leader].raft.term)
            var effects: [Effect] = []
            cluster.members[leader].handle(
                .peer(.forward(request), from: cluster.names[others[0]]), at: cluster.moment(of: leader), into: &effects)
            for effect in effects { if case .send(.forwardAnswer(let answer), _) = effect.action { return answer.result } }
            return nil
        }
        let applied = cluster.members[leader].state.appliedIndex
        let refused = ForwardAnswer.Result.settled(.refused(.notAllowed), through: applied)
        #expect(answer(.command(.closePairing), .leader) == refused)
        #expect(answer(.transfer(to: nil), .pairingHost(address: "192.0.2.1")) == refused)
        #expect(cluster.members[leader].state.appliedIndex == applied)
    }

    @Test("that is to end hands leadership on again when it is elected meanwhile, and takes none that is offered")
    func drainingMemberKeepsNothing() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.give(.drain, to: others[0])
        cluster.ask(.transfer(to: cluster.names[others[0]]), of: leader, ticket: 1, id: nil)
        cluster.pass(1500) { cluster.reply(to: 1) != nil }
        #expect(cluster.reply(to: 1) == .transferFailed)
        cluster.alive[leader] = false
        cluster.pass(5000) { cluster.leader == others[1] }
        cluster.pass(1000)
        #expect(cluster.leader == others[1], "whichever of the two was elected, the one that stays leads in the end")
    }

    @Test("that is asked to end hands leadership on first")
    func drain() {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        cluster.give(.drain, to: leader)
        cluster.deliver()
        cluster.pass(500) { cluster.members[leader].hasDrained && cluster.leader != nil }
        #expect(cluster.members[leader].hasDrained)
        #expect(cluster.leader != nil && cluster.leader != leader)
    }

    @Test("announces a decided pairing on every member, so that the one that holds the agent's connection answers it")
    func pairingIsAnnounced() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        let submission = PairingSubmission(
            reqid: Reqid(0xabc), hostname: must(AgentName("web-01")), signingRequest: SigningRequest(der: [0x30, 1]), nonce: "00ff",
            code: "123456", sourceAddress: "192.0.2.7", suggested: Reachability(port: 17443))
        cluster.ask(.command(.submitPairing(submission)), of: others[0], ticket: 1, id: nil, principal: .pairingHost(address: "192.0.2.7"))
        #expect(cluster.reply(to: 1) == .settled(.refused(.pairingClosed)))
        cluster.ask(.command(.openPairing(milliseconds: 600_000)), of: leader, ticket: 2, id: nil)
        cluster.ask(.command(.submitPairing(submission)), of: others[0], ticket: 3, id: nil, principal: .pairingHost(address: "192.0.2.7"))
        #expect(cluster.reply(to: 3) == .settled(.pairingQueued(Reqid(0xabc))))
        cluster.ask(.command(.approvePairing(Reqid(0xabc), Reachability())), of: others[1], ticket: 4, id: "approve")
        guard case .settled(.pairingApproved(Reqid(0xabc), _, _)) = cluster.reply(to: 4) else {
            Issue.record("\(String(describing: cluster.reply(to: 4)))")
            return
        }
        #expect(cluster.announced.map(\.member).sorted() == cluster.names)
        #expect(Set(cluster.announced.map(\.decision)).count == 1)
        #expect(cluster.members[leader].state.agents.map(\.name.text) == ["web-01"])
    }

    @Test("lets a waiting pairing expire by cluster time on an idle cluster")
    func expiryHappensWithoutTraffic() {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        cluster.ask(.command(.openPairing(milliseconds: 5_000)), of: leader, ticket: 1, id: nil)
        #expect(cluster.members[leader].state.pairingOpenUntil != nil)
        cluster.pass(7_000) { cluster.members[leader].state.pairingOpenUntil == nil }
        #expect(cluster.members[leader].state.pairingOpenUntil == nil)
    }

    @Test("alone is a whole dispatcher")
    func soleMember() {
        let cluster = SmallCluster(1)
        let (leader, _) = cluster.elect()
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1")
        #expect(serial(cluster.reply(to: 1)) != nil)
        #expect(cluster.members[leader].hasDrained)
    }

    @Test("reports of all members come together at whoever is asked; who does not answer is missing after the deadline")
    func reports() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.give(.reports(deadline: cluster.now + .milliseconds(500), Ticket(1)), to: others[0])
        cluster.deliver()
        guard case .reports(let all) = cluster.reply(to: 1) else {
            Issue.record("no reports")
            return
        }
        #expect(all.map(\.member) == cluster.names)
        #expect(all.filter { $0.role == .leader }.map(\.member) == [cluster.names[leader]])
        cluster.alive[others[1]] = false
        cluster.give(.reports(deadline: cluster.now + .milliseconds(200), Ticket(2)), to: others[0])
        cluster.pass(250)
        guard case .reports(let some) = cluster.reply(to: 2) else {
            Issue.record("no reports after the deadline")
            return
        }
        #expect(some.map(\.member) == cluster.names.filter { $0 != cluster.names[others[1]] })
    }

    @Test("forgets a caller who left, while what was asked for still happens once")
    func callerLeaves() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.signsAtOnce = false
        cluster.ask(SmallCluster.issue("ann"), of: others[0], ticket: 1, id: "r1")
        cluster.give(.callerGone(Ticket(1)), to: others[0])
        cluster.signsAtOnce = true
        cluster.deliver()
        #expect(cluster.reply(to: 1) == nil)
        #expect(cluster.members[leader].state.operators.map(\.name.text) == ["ann"])
        cluster.ask(SmallCluster.issue("ann"), of: others[1], ticket: 2, id: "r1")
        #expect(serial(cluster.reply(to: 2)) == cluster.members[leader].state.operators.first?.serial)
    }
}
