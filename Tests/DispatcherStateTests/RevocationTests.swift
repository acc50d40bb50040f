// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a revocation does to operators, agents and rotations, and what cannot be revoked.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

@Suite("revocation")
struct RevocationTests {
    private func named(_ name: String) throws -> Command { .revoke(.operatorNamed(try operatorName(name)), reason: "left the company") }

    @Test("of an operator ends all of its certificates, and nobody else's")
    func operators() throws {
        var log = try Log()
        let (first, second, other) = (try log.issue("ann"), try log.issue("ann"), try log.issue("annie"))
        let outcome = log.outcome(try named("ann"))
        #expect(outcome == .revoked(at: log.state.appliedIndex))
        #expect(log.state.revocations.map(\.serial) == [first, second])
        #expect(log.state.revocations.map(\.reason) == ["left the company", "left the company"])
        #expect(log.state.operators.map(\.serial) == [other])
        let ann = Principal.operatorCertificate(try operatorName("ann"), first)
        #expect(log.outcome(.closePairing, by: ann) == .refused(.notAllowed))
        #expect(log.outcome(.closePairing, by: .operatorCertificate(try operatorName("annie"), other)) == .pairingClosed)
    }

    @Test("said again names the entry that did it, and changes nothing")
    func twice() throws {
        var log = try Log()
        let serial = try log.issue("ann")
        let outcome = log.outcome(try named("ann"))
        let before = log.state.revocations
        #expect(log.outcome(try named("ann")) == outcome)
        #expect(log.outcome(.revoke(.serial(serial), reason: "another reason")) == outcome)
        #expect(log.state.revocations == before)
    }

    @Test("of an operator whose certificate is being made ends that too")
    func underway() throws {
        var log = try Log()
        _ = try log.issue("ann")
        log.apply(.issueOperator(try operatorName("ann"), signingRequest: SigningRequest(der: [1])), .init(client: "again"))
        let applied = log.apply(try named("ann"))
        #expect(applied.settled.map(\.outcome) == [.refused(.operatorRevoked(try operatorName("ann")))])
        #expect(log.state.obligations.isEmpty)
        // Asked for anew it is another certificate.
        let serial = try log.issue("ann")
        #expect(log.state.operators.map(\.serial) == [serial])
    }

    @Test("of an agent leaves its record, and ends with its being paired anew")
    func agents() throws {
        var log = try Log()
        try log.pair(1, "web-1")
        let agent = try #require(log.state.agent(named: try agentName("web-1")))
        #expect(log.outcome(.revoke(.agent(agent.name), reason: "broken into")) == .revoked(at: log.state.appliedIndex))
        #expect(log.state.isRevoked(agent))
        #expect(log.state.revocation(of: agent.certificateSerial)?.subject == .agent(agent.name))
        try log.pair(2, "web-1")
        #expect(!log.state.isRevoked(try #require(log.state.agent(named: agent.name))))
    }

    @Test("does not keep a rotation from its end")
    func rotation() throws {
        var log = try Log()
        try log.pair(1, "web-1")
        log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: true, replacing: nil))
        let obligation = try #require(log.state.obligations.first)
        log.apply(
            .recordIdentity(
                obligation.id, obligation.serial, certificate: [1], key: SealedKey(name: "k", keyVersion: 1, bytes: [1]),
                notAfter: WallClock(secondsSince1970: 2_000_000_000)), by: .leader)
        let member = try #require(MemberID("a"))
        log.apply(.memberHolds(member, obligation.serial), by: .leader)
        log.apply(.activate(obligation.serial), by: .leader)
        let old = try #require(log.state.identities.first)
        log.milliseconds += 1_000
        #expect(log.outcome(.retire(old.serial), by: .leader) == .refused(.stepGone))
        let agent = try #require(log.state.agents.first)
        log.apply(.revoke(.agent(agent.name), reason: "broken into"))
        #expect(log.state.step(for: agent, at: log.state.time) == nil)
        #expect(log.state.retirementWait(of: old)?.agents.isEmpty != false)
        #expect(log.outcome(.retire(old.serial), by: .leader) == .stepped)
    }

    @Test("refuses members and the dispatcher itself, the unknown, and reasons that are none")
    func refusals() throws {
        var log = try Log()
        func refusal(_ target: RevocationTarget, _ reason: String = "why") -> Refusal? {
            if case .refused(let refusal) = log.outcome(.revoke(target, reason: reason)) { refusal } else { nil }
        }
        let known = try serial(200)
        for target in [RevocationTarget.serial(try serial(1)), .serial(try serial(4))] {
            guard case .invalid = refusal(target) else {
                Issue.record("\(target) was revoked")
                continue
            }
        }
        #expect(refusal(.agent(try agentName("web-1"))) == .unknownAgent(try agentName("web-1")))
        #expect(refusal(.operatorNamed(try operatorName("ann"))) == .unknownOperator(try operatorName("ann")))
        for reason in ["", "two\nlines", String(repeating: "x", count: 201)] {
            guard case .invalid = refusal(.serial(known), reason) else {
                Issue.record("'\(reason)' was taken for a reason")
                continue
            }
        }
        #expect(refusal(.serial(known)) == nil)
        #expect(log.state.revocation(of: known)?.subject == .unknown)
        #expect(log.outcome(.revoke(.serial(known), reason: "x"), by: Log.host) == .refused(.notAllowed))
    }

    @Test("is part of the state's hash")
    func hashed() throws {
        var (log, other) = (try Log(), try Log())
        log.apply(.revoke(.serial(try serial(200)), reason: "one"), .init(client: "r"))
        other.apply(.revoke(.serial(try serial(200)), reason: "two"), .init(client: "r"))
        #expect(log.state.fullStateHash() != other.state.fullStateHash())
    }
}
