// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Exactly once per request id.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

@Suite struct RequestTests {
    private func issue(_ name: String, _ request: UInt8 = 1) throws -> Command {
        .issueOperator(try operatorName(name), signingRequest: SigningRequest(der: [request]))
    }

    @Test("a second entry for a request that is under way does nothing and yields the first one's obligation")
    func duplicateUnderway() throws {
        var log = try Log()
        let first = log.outcome(try issue("ada"), .client("x"))
        let counter = log.state.nextSerialCounter
        #expect(first == .underway(ObligationID(LogIndex(1))))
        #expect(log.outcome(try issue("ada"), .client("x")) == first)
        #expect(log.state.nextSerialCounter == counter)
        #expect(log.state.obligations.count == 1)
    }

    @Test("a second entry for a request that is done yields the final outcome")
    func duplicateDone() throws {
        var log = try Log()
        log.apply(try issue("ada"), .client("x"))
        let serial = try #require(log.state.obligations.first).serial
        try log.sign()
        let done = Outcome.operatorIssued(try operatorName("ada"), serial)
        #expect(log.outcome(try issue("ada"), .client("x")) == done)
        #expect(log.state.outcome(of: .client("x"), by: Log.root, command: try issue("ada")) == done)
        #expect(log.state.operators.count == 1)
    }

    @Test("another request under the same id is refused and leaves the first one's outcome alone")
    func reusedID() throws {
        var log = try Log()
        let first = log.outcome(try issue("ada"), .client("x"))
        #expect(log.outcome(try issue("bob"), .client("x")) == .refused(.requestIDReused))
        #expect(log.outcome(try issue("ada", 2), .client("x")) == .refused(.requestIDReused))
        #expect(log.state.outcome(of: .client("x"), by: Log.root, command: .closePairing) == .refused(.requestIDReused))
        #expect(log.state.validate(log.proposal(.closePairing, .client("x"))) == .requestIDReused)
        #expect(log.outcome(try issue("ada"), .client("x")) == first)
    }

    @Test("the same id of another principal is another request")
    func otherPrincipal() throws {
        var log = try Log()
        log.apply(try issue("ada"), .client("x"))
        #expect(log.outcome(try issue("bob"), by: .localUser(uid: 1), .client("x")) == .underway(ObligationID(LogIndex(2))))
    }

    @Test("a refusal is kept: the same request is refused again even where it would be possible by then")
    func refusalsAreKept() throws {
        var log = try Log()
        let unpair = Command.unpair(try agentName("web"))
        let refused = Outcome.refused(.unknownAgent(try agentName("web")))
        #expect(log.outcome(unpair, .client("x")) == refused)
        try log.pair(1, "web")
        #expect(log.outcome(unpair, .client("x")) == refused)
        #expect(log.state.validate(log.proposal(unpair, .client("x"))) == .unknownAgent(try agentName("web")))
        #expect(log.state.agents.count == 1)
    }

    @Test("a request whose outcome is known passes validation although it could not be done again")
    func knownPassesValidation() throws {
        var log = try Log()
        try log.pair(1, "web")
        let unpair = Command.unpair(try agentName("web"))
        #expect(log.outcome(unpair, .client("x")) == .agentRemoved(try agentName("web")))
        #expect(log.state.validate(log.proposal(unpair, .client("x"))) == nil)
        #expect(log.state.validate(log.proposal(unpair, .client("y"))) == .unknownAgent(try agentName("web")))
    }

    @Test("the reqid of a pairing submission differs between attempts and is no part of the request")
    func submissionRetried() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: 60_000))
        let first = log.outcome(.submitPairing(try submission(1, "web")), by: Log.host, .client("x"))
        #expect(first == .pairingQueued(Reqid(1)))
        #expect(log.outcome(.submitPairing(try submission(2, "web")), by: Log.host, .client("x")) == first)
        #expect(log.outcome(.submitPairing(try submission(1, "other")), by: Log.host, .client("x")) == .refused(.requestIDReused))
        #expect(log.state.pairings.count == 1)
    }

    @Test("a submission whose reqid is taken may be repeated under its id with another")
    func takenReqid() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: 60_000))
        _ = try log.submit(1, "web")
        let taken = log.outcome(.submitPairing(try submission(1, "db")), by: Log.host, .client("x"))
        #expect(taken == .refused(.pairingReqidTaken(Reqid(1))))
        #expect(log.outcome(.submitPairing(try submission(2, "db")), by: Log.host, .client("x")) == .pairingQueued(Reqid(2)))
    }

    @Test("an outcome is kept for 24 hours of cluster time and then forgotten")
    func keptForADay() throws {
        var log = try Log()
        log.apply(.closePairing, .client("x"))
        log.milliseconds += RequestTable.keptMilliseconds - 1
        log.apply(.expire, by: .leader)
        #expect(log.state.outcome(of: .client("x"), by: Log.root, command: .closePairing) == .pairingClosed)
        log.milliseconds += 1
        log.apply(.expire, by: .leader)
        #expect(log.state.outcome(of: .client("x"), by: Log.root, command: .closePairing) == nil)
        #expect(log.state.requests.count == 0)
    }

    @Test("a request that is still under way is not forgotten after a day")
    func underwayIsKept() throws {
        var log = try Log()
        let first = log.outcome(try issue("ada"), .client("x"))
        log.milliseconds += 2 * RequestTable.keptMilliseconds
        log.apply(.expire, by: .leader)
        #expect(log.state.outcome(of: .client("x"), by: Log.root, command: try issue("ada")) == first)
    }

    @Test("when the table is full new requests are turned away, known ones are answered and none is forgotten early")
    func fullTable() throws {
        var log = try Log()
        for number in 0..<RequestTable.limit { log.apply(.closePairing, .client("r\(number)")) }
        #expect(log.outcome(.closePairing, .client("more")) == .refused(.requestTableFull))
        #expect(log.state.validate(log.proposal(.closePairing, .client("more"))) == .requestTableFull)
        #expect(log.state.outcome(of: .client("more"), by: Log.root, command: .closePairing) == nil)
        #expect(log.outcome(.closePairing, .client("r0")) == .pairingClosed)
        #expect(log.outcome(.closePairing, .minted(session: 1, sequence: 1, answeredThrough: 0)) == .refused(.requestTableFull))
        // Turned away is not an outcome: once there is room, the same id may try again.
        log.milliseconds += RequestTable.keptMilliseconds
        #expect(log.outcome(.closePairing, .client("more")) == .pairingClosed)
        #expect(log.state.requests.count == 1)
    }

    @Test("ids that a member minted are forgotten once answered, whoever asked, and late copies do nothing")
    func mintedForgotten() throws {
        var log = try Log()
        log.apply(.closePairing, .minted(session: 7, sequence: 1, answeredThrough: 0))
        log.apply(try issue("ada"), by: .localUser(uid: 5), .minted(session: 7, sequence: 2, answeredThrough: 0))
        log.apply(.closePairing, .minted(session: 8, sequence: 1, answeredThrough: 0))
        #expect(log.state.requests.count == 3)
        log.apply(.closePairing, .minted(session: 7, sequence: 3, answeredThrough: 2))
        #expect(log.state.requests.count == 2)
        let counter = log.state.nextSerialCounter
        let late = log.outcome(try issue("ada"), by: .localUser(uid: 5), .minted(session: 7, sequence: 2, answeredThrough: 0))
        #expect(late == .refused(.requestForgotten))
        #expect(log.state.nextSerialCounter == counter)
        #expect(log.outcome(.closePairing, .minted(session: 8, sequence: 1, answeredThrough: 0)) == .pairingClosed)
    }

    @Test("what a minted id says about its session does not tell attempts apart")
    func mintedRetried() throws {
        var log = try Log()
        log.apply(.closePairing, .minted(session: 7, sequence: 1, answeredThrough: 0))
        let first = log.outcome(try issue("ada"), .minted(session: 7, sequence: 2, answeredThrough: 0))
        #expect(log.outcome(try issue("ada"), .minted(session: 7, sequence: 2, answeredThrough: 1)) == first)
        #expect(log.state.requests.count == 1)
    }

    @Test("a minted id cannot say of itself that it was answered")
    func answeredBeforeAsked() throws {
        var log = try Log()
        let id = RequestID.minted(session: 7, sequence: 2, answeredThrough: .max)
        let first = log.outcome(try issue("ada"), id)
        #expect(first == .underway(ObligationID(LogIndex(1))))
        #expect(log.outcome(try issue("ada"), id) == first)
    }

    @Test("a session that was not used for a day is forgotten with all that it asked for")
    func sessionExpires() throws {
        var log = try Log()
        log.apply(.closePairing, .minted(session: 7, sequence: 1, answeredThrough: 0))
        log.milliseconds += RequestTable.keptMilliseconds / 2
        log.apply(.closePairing, .minted(session: 7, sequence: 2, answeredThrough: 0))
        log.milliseconds += RequestTable.keptMilliseconds / 2
        log.apply(.expire, by: .leader)
        #expect(log.state.requests.count == 2)
        log.milliseconds += RequestTable.keptMilliseconds / 2
        log.apply(.expire, by: .leader)
        #expect(log.state.requests.count == 0)
        #expect(log.state.requests.sessions.isEmpty)
    }

    @Test(
        "a person's request without an id, or with an impossible one, is refused and not kept",
        arguments: [
            nil, RequestID.client(""), .client("a b"), .client(String(repeating: "x", count: 65)),
            .minted(session: 1, sequence: 0, answeredThrough: 0),
        ])
    func impossibleID(_ request: RequestID?) throws {
        var log = try Log()
        let proposal = log.proposal(.closePairing, request)
        guard case .refused(.invalid) = log.state.apply(proposal, at: LogIndex(1), term: Term(1)).outcome else {
            Issue.record("the request was accepted")
            return
        }
        #expect(log.state.validate(proposal) != nil)
        #expect(log.state.requests.count == 0)
    }
}
