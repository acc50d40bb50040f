// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Pairing: the session, the queue, decisions, and what becomes of an approved host.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

@Suite struct PairingTests {
    private let reqid = Reqid(1)

    private func opened() throws -> Log {
        var log = try Log()
        log.apply(.openPairing(milliseconds: 600_000))
        return log
    }

    @Test(
        "a session lasts from one to 600 seconds, or until it is closed",
        arguments: [0, 999, 1_000, 600_000, 600_001, UInt64.max - 1, .max])
    func sessionLength(_ milliseconds: UInt64) throws {
        var log = try Log()
        let isValid = milliseconds == .max || (1_000...600_000).contains(milliseconds)
        let outcome = log.outcome(.openPairing(milliseconds: milliseconds))
        if isValid {
            let until = ClusterTime(milliseconds: milliseconds == .max ? .max : log.milliseconds + milliseconds)
            #expect(outcome == .pairingOpened(until: until))
            #expect(log.state.pairingOpenUntil == until)
        } else {
            #expect(outcome == .refused(.invalid("a pairing session lasts from 1 to 600 seconds")))
            #expect(log.state.pairingOpenUntil == nil)
        }
    }

    @Test("submissions are accepted only while a session is open")
    func onlyWhileOpen() throws {
        var log = try Log()
        #expect(try log.submit(1, "web") == .refused(.pairingClosed))
        log.apply(.openPairing(milliseconds: 1_000))
        #expect(try log.submit(2, "web") == .pairingQueued(Reqid(2)))
        log.milliseconds += 1_000
        #expect(try log.submit(3, "web") == .refused(.pairingClosed))
        #expect(log.state.pairingOpenUntil == nil)
        log.apply(.openPairing(milliseconds: 1_000))
        #expect(log.outcome(.closePairing) == .pairingClosed)
        #expect(try log.submit(4, "web") == .refused(.pairingClosed))
    }

    @Test("a session until closed does not end by itself")
    func untilClosed() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: .max), by: .leader)
        #expect(log.state.nextExpiry == nil)
        log.milliseconds = .max
        #expect(try log.submit(1, "web") == .pairingQueued(reqid))
    }

    @Test("requests that wait go on waiting after the session ends")
    func waitingOutlivesSession() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        log.apply(.closePairing)
        #expect(log.state.pairings.count == 1)
        log.apply(.approvePairing(reqid, Reachability()))
        try log.sign()
        #expect(log.state.agents.count == 1)
    }

    @Test("at most ten requests wait")
    func queueLimit() throws {
        var log = try opened()
        for number in 1...10 { #expect(try log.submit(UInt64(number), "h\(number)") == .pairingQueued(Reqid(UInt64(number)))) }
        #expect(try log.submit(11, "h11") == .refused(.pairingQueueFull))
        #expect(log.state.pairings.map(\.submission.reqid.number) == Array(1...10))
    }

    enum Spoiled: CaseIterable {
        case longNonce, nonceWithLineBreak, shortCode, codeWithLetter, noRequest, longRequest, sourceIsName, addressIsName, portZero

        func apply(to submission: inout PairingSubmission) {
            switch self {
            case .longNonce: submission.nonce = String(repeating: "a", count: 129)
            case .nonceWithLineBreak: submission.nonce = "line\nbreak"
            case .shortCode: submission.code = "12345"
            case .codeWithLetter: submission.code = "12345x"
            case .noRequest: submission.signingRequest = SigningRequest(der: [])
            case .longRequest: submission.signingRequest = SigningRequest(der: [UInt8](repeating: 0, count: SigningRequest.limit + 1))
            case .sourceIsName: submission.sourceAddress = "example.org"
            case .addressIsName: submission.suggested.address = "a-b"
            case .portZero: submission.suggested.port = 0
            }
        }
    }

    @Test("what a host sends is checked", arguments: Spoiled.allCases)
    func checked(_ spoiled: Spoiled) throws {
        var log = try opened()
        var submission = try DispatcherStateTests.submission(1, "web")
        spoiled.apply(to: &submission)
        guard case .refused(.invalid) = log.outcome(.submitPairing(submission), by: Log.host) else {
            Issue.record("it was accepted")
            return
        }
        #expect(log.state.pairings.isEmpty)
    }

    @Test("an approval reserves a serial; the record makes the agent, answers the host and empties the queue")
    func approval() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        let approved = log.apply(.approvePairing(reqid, Reachability()), .client("x"))
        let obligation = try #require(log.state.obligations.first)
        let name = try agentName("web")
        #expect(approved == Applied(outcome: .underway(obligation.id)))
        #expect(obligation.purpose == .agentCertificate(reqid, name))
        #expect(log.state.pairings.first?.obligation == obligation.id)
        #expect(log.state.agents.isEmpty)

        let recorded = try log.sign(certificate: [0x30, 9])
        let decision = PairingDecision(reqid: reqid, nonce: "0123", verdict: .approved(certificate: [0x30, 9]))
        let outcome = Outcome.pairingApproved(reqid, name, obligation.serial)
        #expect(
            recorded == Applied(outcome: .stepped, settled: [Settled(obligation: obligation.id, outcome: outcome)], decided: [decision]))
        #expect(log.state.pairings.isEmpty)
        #expect(log.state.decision(of: reqid) == decision)
        let agent = try #require(log.state.agent(named: name))
        #expect(agent.certificateSerial == obligation.serial && agent.reqid == reqid && agent.paired == log.calendar)
        #expect(agent.confirmedIdentities == [log.state.genesis.identity.serial])
        #expect(log.state.identity(for: agent) == log.state.genesis.identity)
        #expect(log.outcome(.approvePairing(reqid, Reachability()), .client("x")) == outcome)
    }

    @Test("two approvals under different ids share one obligation and one outcome")
    func twoApprovals() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        let first = log.outcome(.approvePairing(reqid, Reachability(port: 1)), .client("x"))
        let counter = log.state.nextSerialCounter
        #expect(log.outcome(.approvePairing(reqid, Reachability(port: 2)), by: .localUser(uid: 9), .client("y")) == first)
        #expect(log.state.nextSerialCounter == counter)
        let done = try #require(try log.sign().settled.first).outcome
        #expect(log.outcome(.approvePairing(reqid, Reachability(port: 1)), .client("x")) == done)
        #expect(log.outcome(.approvePairing(reqid, Reachability(port: 2)), by: .localUser(uid: 9), .client("y")) == done)
        #expect(log.outcome(.approvePairing(reqid, Reachability()), .client("z")) == done)
        #expect(log.state.agents.map(\.port) == [1])
    }

    @Test("a denial answers the host, can be repeated, and rules out approval")
    func denial() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        let denied = log.apply(.denyPairing(reqid))
        #expect(denied.outcome == .pairingDenied(reqid))
        #expect(denied.decided == [PairingDecision(reqid: reqid, nonce: "0123", verdict: .denied)])
        #expect(log.apply(.denyPairing(reqid)) == Applied(outcome: .pairingDenied(reqid)))
        #expect(log.outcome(.approvePairing(reqid, Reachability())) == .refused(.unknownPairing(reqid)))
        #expect(log.outcome(.denyPairing(Reqid(2))) == .refused(.unknownPairing(Reqid(2))))
    }

    @Test("an approved request can no longer be denied, before its certificate and after")
    func approvedIsNotDenied() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        log.apply(.approvePairing(reqid, Reachability()))
        #expect(log.outcome(.denyPairing(reqid)) == .refused(.pairingAlreadyApproved(reqid)))
        try log.sign()
        #expect(log.outcome(.denyPairing(reqid)) == .refused(.pairingAlreadyApproved(reqid)))
    }

    @Test("when signing fails the request waits for a decision again")
    func signingFails() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        log.apply(.approvePairing(reqid, Reachability(port: 1)))
        let obligation = try #require(log.state.obligations.first)
        let failed = log.apply(.signingFailed(obligation.id, obligation.serial, reason: "bad request"), by: .leader)
        #expect(failed.settled.map(\.outcome) == [.refused(.signingFailed("bad request"))])
        #expect(failed.decided.isEmpty)
        #expect(log.state.pairings.map(\.obligation) == [nil])
        log.apply(.approvePairing(reqid, Reachability()))
        try log.sign()
        let agent = try #require(log.state.agents.first)
        #expect(agent.port == 7443 && agent.certificateSerial != obligation.serial)
    }

    @Test("a request that waited 600 seconds expires, with any entry, and not before")
    func expires() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        log.apply(.closePairing)
        let due = ClusterTime(milliseconds: log.milliseconds + 600_000)
        #expect(log.state.nextExpiry == due)
        log.milliseconds = due.milliseconds - 1
        #expect(log.apply(.expire, by: .leader).decided.isEmpty)
        log.milliseconds += 1
        let expired = log.apply(.closePairing)
        #expect(expired.decided == [PairingDecision(reqid: reqid, nonce: "0123", verdict: .expired)])
        #expect(log.state.pairings.isEmpty && log.state.nextExpiry == nil)
        #expect(log.outcome(.approvePairing(reqid, Reachability())) == .refused(.unknownPairing(reqid)))
    }

    @Test("an approved request does not expire while its certificate is being signed")
    func approvedDoesNotExpire() throws {
        var log = try opened()
        _ = try log.submit(1, "web")
        log.apply(.approvePairing(reqid, Reachability()))
        log.milliseconds += 10_000_000
        #expect(log.apply(.expire, by: .leader).decided.isEmpty)
        #expect(log.state.nextExpiry == nil)
        try log.sign()
        #expect(log.state.agents.count == 1)
    }

    @Test("a decision is kept for 600 seconds, its reqid is taken so long, and at most 1,000 are kept")
    func decisionsAreKept() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: .max))
        _ = try log.submit(1, "web")
        log.apply(.denyPairing(reqid))
        #expect(try log.submit(1, "web") == .refused(.pairingReqidTaken(reqid)))
        log.milliseconds += 599_999
        log.apply(.expire, by: .leader)
        #expect(log.state.decision(of: reqid) != nil)
        log.milliseconds += 1
        log.apply(.expire, by: .leader)
        #expect(log.state.decision(of: reqid) == nil)
        for number in 1...1_001 {
            _ = try log.submit(UInt64(number), "web")
            log.apply(.denyPairing(Reqid(UInt64(number))))
        }
        #expect(log.state.decision(of: Reqid(1)) == nil)
        #expect(log.state.decision(of: Reqid(2)) != nil)
        #expect(log.state.decision(of: Reqid(1_001)) != nil)
    }

    struct Reach: CustomTestStringConvertible {
        let granted: Reachability
        let suggested: Reachability
        let lookup: Reachability.Lookup
        let address: String
        let port: UInt16
        var testDescription: String { "operator \(granted), host \(suggested)" }
    }

    @Test(
        "how an agent is reached: the operator's word, then the host's, then the default",
        arguments: [
            Reach(granted: Reachability(), suggested: Reachability(), lookup: .hostname, address: "", port: 7443),
            Reach(
                granted: Reachability(), suggested: Reachability(lookup: .ip, address: "10.0.0.1", port: 17443), lookup: .ip,
                address: "10.0.0.1",
                port: 17443),
            Reach(
                granted: Reachability(lookup: .hostname, address: "fd00::1", port: 1),
                suggested: Reachability(lookup: .ip, address: "10.0.0.1", port: 17443), lookup: .hostname, address: "fd00::1", port: 1),
            Reach(granted: Reachability(lookup: .ip), suggested: Reachability(), lookup: .ip, address: "192.0.2.7", port: 7443),
            Reach(
                granted: Reachability(), suggested: Reachability(lookup: .ip, address: ""), lookup: .ip, address: "192.0.2.7", port: 7443),
            Reach(
                granted: Reachability(port: 2), suggested: Reachability(address: "10.0.0.1"), lookup: .hostname, address: "10.0.0.1",
                port: 2),
        ])
    func reachability(_ reach: Reach) throws {
        var log = try Log()
        try log.pair(1, "web", granted: reach.granted, suggested: reach.suggested)
        let agent = try #require(log.state.agents.first)
        #expect(agent.lookup == reach.lookup && agent.address == reach.address && agent.port == reach.port)
    }

    @Test("pairing again under a name overwrites the agent's record")
    func overwrites() throws {
        var log = try Log()
        try log.pair(1, "web", granted: Reachability(port: 1))
        let first = try #require(log.state.agents.first)
        try log.pair(2, "web")
        let second = try #require(log.state.agents.first)
        #expect(log.state.agents.count == 1)
        #expect(second.port == 7443 && second.reqid == Reqid(2) && second.certificateSerial != first.certificateSerial)
    }
}
