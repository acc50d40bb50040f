// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What members do for a rotation: hold, tell the leader, activate, call agents, and go on where another leader stopped.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Testing
import Wire

@Suite struct RotationDutyTests {
    private static let begin = ExclusiveOperation.command(
        .beginRotation(overlapMilliseconds: 1_000, isCompromised: false, replacing: nil))

    private func pair(_ cluster: SmallCluster, _ name: String, reqid: UInt64, at leader: Int) throws {
        let submission = PairingSubmission(
            reqid: Reqid(reqid), hostname: try #require(AgentName(name)), signingRequest: SigningRequest(der: [9]), nonce: "n",
            code: "123456", sourceAddress: "192.0.2.7", suggested: Reachability())
        cluster.ask(.command(.openPairing(milliseconds: 600_000)), of: leader, ticket: 1_000 + reqid, id: "open-\(reqid)")
        cluster.ask(
            .command(.submitPairing(submission)), of: leader, ticket: 2_000 + reqid, id: "submit-\(reqid)",
            principal: .pairingHost(address: "192.0.2.7"))
        cluster.ask(.command(.approvePairing(Reqid(reqid), Reachability())), of: leader, ticket: 3_000 + reqid, id: "approve-\(reqid)")
        cluster.pass(100)
    }

    /// Answers the calls that wait, as a willing agent would.
    private func answerCalls(_ cluster: SmallCluster) {
        let calls = cluster.agentCalls
        cluster.agentCalls = []
        for (member, call) in calls {
            let result: AgentTaskAnswer.Result = call.task == .learn ? .learned(.endpoint) : .done
            let answer = AgentTaskAnswer(result, accepted: call.identities.first)
            cluster.give(.agentAnswered(call: call.number, answer), to: member)
        }
        cluster.deliver()
    }

    @Test("a rotation without agents goes from its beginning to the retirement of the old identity")
    func alone() throws {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.ask(Self.begin, of: others[0], ticket: 1, id: "begin")
        cluster.pass(100)
        guard case .settled(.rotationBegun(let serial)) = cluster.reply(to: 1) else {
            Issue.record("\(String(describing: cluster.reply(to: 1)))")
            return
        }
        #expect(cluster.pass(3_000) { cluster.members[leader].state.currentIdentity?.serial == serial })
        #expect(cluster.pass(3_000) { cluster.members[leader].state.identities.first?.phase == .retired })
    }

    @Test("a member that is cut off does not hold up the activation, but the retirement")
    func cutOff() throws {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        let lost = others[1]
        for other in cluster.names where other != cluster.names[lost] {
            cluster.cut.append((other, cluster.names[lost]))
            cluster.cut.append((cluster.names[lost], other))
        }
        cluster.pass(1_500)
        cluster.ask(Self.begin, of: leader, ticket: 1, id: "begin")
        #expect(cluster.pass(3_000) { cluster.members[leader].state.identities.map(\.phase) == [.previous, .current] })
        cluster.pass(3_000)
        let state = cluster.members[leader].state
        #expect(state.identities.map(\.phase) == [.previous, .current])
        #expect(state.identities.first.flatMap { state.retirementWait(of: $0) }?.members == [cluster.names[lost]])
        cluster.cut = []
        #expect(cluster.pass(5_000) { cluster.members[leader].state.identities.map(\.phase) == [.retired, .current] })
    }

    @Test("an agent is asked how it is told, told, and after the overlap told to forget")
    func agent() throws {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        try pair(cluster, "web-1", reqid: 1, at: leader)
        let old = try #require(cluster.members[leader].state.currentIdentity?.serial)
        cluster.ask(Self.begin, of: leader, ticket: 1, id: "begin")
        #expect(cluster.pass(1_000) { !cluster.agentCalls.isEmpty })
        #expect(cluster.agentCalls.map(\.1.task) == [.learn])
        answerCalls(cluster)
        #expect(cluster.pass(1_000) { !cluster.agentCalls.isEmpty })
        let new = try #require(cluster.members[leader].state.newestIdentity?.serial)
        #expect(cluster.agentCalls.map(\.1.task) == [.announce(new)])
        #expect(cluster.agentCalls.first?.1.identities == [old, new])
        answerCalls(cluster)
        #expect(cluster.pass(4_000) { !cluster.agentCalls.isEmpty })
        #expect(cluster.agentCalls.map(\.1.task) == [.remove(old)])
        #expect(cluster.agentCalls.first?.1.identities == [new])
        answerCalls(cluster)
        #expect(cluster.pass(2_000) { cluster.members[leader].state.identities.map(\.phase) == [.retired, .current] })
    }

    @Test("an agent that does not answer is asked again, and again after a longer while")
    func backsOff() throws {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        try pair(cluster, "web-1", reqid: 1, at: leader)
        cluster.ask(Self.begin, of: leader, ticket: 1, id: "begin")
        var instants: [Instant] = []
        for _ in 0..<4 {
            #expect(cluster.pass(6_000) { !cluster.agentCalls.isEmpty })
            instants.append(cluster.now)
            let (member, call) = cluster.agentCalls.removeFirst()
            cluster.give(.agentAnswered(call: call.number, AgentTaskAnswer(.unreachable("off"))), to: member)
            cluster.deliver()
        }
        let gaps = zip(instants, instants.dropFirst()).map { $1.since($0) }
        #expect(gaps[0] >= .milliseconds(500) && gaps[1] >= .milliseconds(1_000) && gaps[2] >= .milliseconds(2_000))
    }

    @Test("the next leader goes on with what the first one left")
    func nextLeader() throws {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        try pair(cluster, "web-1", reqid: 1, at: leader)
        cluster.ask(Self.begin, of: leader, ticket: 1, id: "begin")
        #expect(cluster.pass(1_000) { !cluster.agentCalls.isEmpty })
        cluster.alive[leader] = false
        cluster.agentCalls = []
        #expect(cluster.pass(5_000) { cluster.leader.map { $0 != leader } ?? false && !cluster.agentCalls.isEmpty })
        let successor = try #require(cluster.leader)
        for _ in 0..<2 {
            answerCalls(cluster)
            cluster.pass(500)
        }
        let state = cluster.members[successor].state
        #expect(state.agents.first?.confirmedIdentities.last == state.currentIdentity?.serial)
        #expect(state.identities.count == 2)
    }

    @Test("what a follower sees at an agent reaches the state")
    func observes() throws {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        try pair(cluster, "web-1", reqid: 1, at: leader)
        cluster.ask(Self.begin, of: leader, ticket: 1, id: "begin")
        cluster.pass(200)
        let state = cluster.members[leader].state
        let (old, new) = (try #require(state.identities.first?.serial), try #require(state.identities.last?.serial))
        let agent = try #require(state.agents.first?.key)
        cluster.give(.observed(AgentObservation(agent: agent, accepted: new, refused: [old])), to: others[0])
        cluster.deliver()
        #expect(cluster.pass(500) { cluster.members[others[1]].state.agents.first?.confirmedIdentities == [new] })
    }

    @Test("tags that a follower learned of an agent reach every member, with one entry for each change")
    func tags() throws {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        try pair(cluster, "web-1", reqid: 1, at: leader)
        let agent = try #require(cluster.members[leader].state.agents.first?.key)
        let tags = try #require(AgentTags([AgentTag(key: "role", value: "web")]))
        cluster.give(.tagsObserved(agent, tags), to: others[0])
        cluster.deliver()
        #expect(cluster.pass(500) { cluster.members.allSatisfy { $0.state.agents.first?.tags == tags } })
        let index = cluster.members[leader].state.appliedIndex
        for member in cluster.members.indices { cluster.give(.tagsObserved(agent, tags), to: member) }
        cluster.give(.tagsObserved(AgentKey(name: agent.name, pairing: Reqid(99)), .none), to: leader)
        cluster.deliver()
        cluster.pass(200)
        #expect(cluster.members[leader].state.appliedIndex == index)
        cluster.give(.tagsObserved(agent, .none), to: leader)
        cluster.deliver()
        #expect(cluster.pass(500) { cluster.members.allSatisfy { $0.state.agents.first?.tags == AgentTags.none } })
    }

    @Test("a certificate that nears its end is replaced without anybody asking")
    func automatic() throws {
        let cluster = SmallCluster()
        let (leader, _) = cluster.elect()
        // The clock of the fixture stands at 1,800,000,000 s, the certificate ends at 4,000,000,000 s.
        cluster.wallOffset = 4_000_000_000 - 1_800_000_000 - 89 * 86_400
        #expect(
            cluster.pass(62_000) { cluster.members[leader].state.rotation != nil || cluster.members[leader].state.identities.count > 1 })
    }
}
