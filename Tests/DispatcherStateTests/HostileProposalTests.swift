// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Random proposals, most of them nonsense: apply never traps, repeats itself, and does a thing once.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

/// Draws proposals around a state, so that many of them hit something.
struct ProposalGenerator {
    var random: SeededGenerator
    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int(random.below(UInt64(values.count)))] }
    mutating func chance(_ percent: UInt64) -> Bool { random.below(100) < percent }
    mutating func number() -> UInt64 { pick([0, 1, random.below(20), random.below(1_000_000), random.next(), .max - 1, .max]) }
    mutating func bytes(_ limit: UInt64) -> [UInt8] { (0..<random.below(limit)).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
    mutating func text() -> String {
        pick([
            "", "0123", "10.0.0.1", "::1", "a b", "\u{0}", "é\u{301}", String(repeating: "x", count: 300),
            String(decoding: bytes(40), as: UTF8.self),
        ])
    }
    mutating func name() -> String { pick(["a", "b", "c", "web", "db"]) + "\(random.below(4))" }
    mutating func serial(_ state: DispatcherState) throws -> SerialNumber {
        if let obligation = state.obligations.last, chance(70) { return obligation.serial }
        return try #require(SerialNumber(bytes: [1] + bytes(10)))
    }
    mutating func obligation(_ state: DispatcherState) -> ObligationID {
        if let obligation = state.obligations.last, chance(80) { return obligation.id }
        return ObligationID(LogIndex(number()))
    }
    mutating func reachability() -> Reachability {
        Reachability(
            lookup: pick([nil, .hostname, .ip]), address: pick([nil, text()]),
            port: pick([nil, 0, UInt16(truncatingIfNeeded: random.next())]))
    }
    mutating func reqid(_ state: DispatcherState) -> Reqid {
        if let pairing = state.pairings.last, chance(70) { return pairing.submission.reqid }
        return Reqid(random.below(50))
    }

    mutating func command(_ state: DispatcherState) throws -> Command {
        switch random.below(16) {
        case 0, 1: return .issueOperator(try operatorName(name()), signingRequest: SigningRequest(der: bytes(20)))
        case 2: return .openPairing(milliseconds: pick([number(), 1_000, 600_000, .max]))
        case 3: return chance(30) ? .closePairing : .openPairing(milliseconds: .max)
        case 4, 5, 6:
            return .submitPairing(
                PairingSubmission(
                    reqid: Reqid(random.below(200)), hostname: try agentName(name()), signingRequest: SigningRequest(der: [1] + bytes(20)),
                    nonce: chance(80) ? "0123" : text(), code: chance(90) ? "123456" : text(),
                    sourceAddress: chance(90) ? "10.0.0.1" : text(),
                    suggested: chance(70) ? Reachability() : reachability()))
        case 7, 8: return .approvePairing(reqid(state), chance(70) ? Reachability() : reachability())
        case 9: return .denyPairing(reqid(state))
        case 10: return .unpair(try agentName(name()))
        case 11:
            return .editAgent(
                try agentName(name()), AgentEdit(rename: chance(50) ? try agentName(name()) : nil, reachability: reachability()))
        case 12: return .reserveAnew(obligation(state))
        case 13, 14:
            return .recordCertificate(
                obligation(state), try serial(state), certificate: bytes(30),
                notAfter: WallClock(secondsSince1970: Int64(truncatingIfNeeded: number())))
        default: return chance(50) ? .expire : .signingFailed(obligation(state), try serial(state), reason: text())
        }
    }

    mutating func principal(for command: Command, _ state: DispatcherState) throws -> Principal {
        if chance(85) {
            switch command {
            case .submitPairing: return Log.host
            case .reserveAnew, .recordCertificate, .signingFailed, .expire: return .leader
            default:
                if let record = state.operators.last, chance(50) { return .operatorCertificate(record.name, record.serial) }
                return Log.root
            }
        }
        return pick([
            .leader, .pairingHost(address: text()), .localUser(uid: UInt32(truncatingIfNeeded: random.next())),
            .operatorCertificate(try operatorName(name()), try serial(state)),
        ])
    }

    mutating func proposal(_ state: DispatcherState, extremes: Bool) throws -> Proposal {
        let command = try command(state)
        let principal = try principal(for: command, state)
        let request: RequestID? =
            switch random.below(10) {
            case 0: nil
            case 1: .client(text())
            case 2...5: .client("r\(random.below(2_000))")
            default:
                .minted(session: random.below(4), sequence: extremes ? number() : random.below(500), answeredThrough: random.below(300))
            }
        let usual = state.time.milliseconds &+ random.below(50_000)
        return Proposal(
            command: command, principal: principal, request: principal == .leader ? nil : request,
            time: ClusterTime(milliseconds: extremes ? pick([usual, usual, usual, usual, number()]) : usual),
            calendar: WallClock(secondsSince1970: Int64(truncatingIfNeeded: number())))
    }
}

@Suite struct HostileProposalTests {
    /// Applies `count` drawn proposals and returns them with the state that they made.
    private func run(seed: UInt64, count: Int, extremes: Bool) throws -> (DispatcherState, [(Proposal, LogIndex, Term)]) {
        var generator = ProposalGenerator(seed: seed)
        var state = DispatcherState(genesis: try makeGenesis())
        var applied: [(Proposal, LogIndex, Term)] = []
        var index: UInt64 = 0
        var term: UInt64 = 1
        for _ in 0..<count {
            index += generator.chance(98) ? 1 : 1 + generator.random.below(5)
            if generator.chance(3) { term += 1 }
            let proposal = try generator.proposal(state, extremes: extremes)
            _ = state.apply(proposal, at: LogIndex(index), term: Term(term))
            applied.append((proposal, LogIndex(index), Term(term)))
        }
        return (state, applied)
    }

    @Test("no proposal traps, and the same entries make the same state", arguments: 1...8 as ClosedRange<UInt64>, [false, true])
    func total(_ seed: UInt64, _ extremes: Bool) throws {
        let (state, applied) = try run(seed: seed, count: 2_000, extremes: extremes)
        var replayed = DispatcherState(genesis: try makeGenesis())
        for (proposal, index, term) in applied { _ = replayed.apply(proposal, at: index, term: term) }
        #expect(replayed.stateHash == state.stateHash)
        #expect(replayed.fullStateHash() == state.fullStateHash())
        #expect(replayed == state)
    }

    @Test("the search reaches what it is meant to reach: every outcome comes up")
    func reach() throws {
        let (_, applied) = try run(seed: 1, count: 6_000, extremes: false)
        var state = DispatcherState(genesis: try makeGenesis())
        var seen: [String: Int] = [:]
        for (proposal, index, term) in applied {
            let result = state.apply(proposal, at: index, term: term)
            for outcome in [result.outcome] + result.settled.map(\.outcome) {
                let label: String
                if case .refused(let refusal) = outcome { label = "\(refusal)" } else { label = "\(outcome)" }
                seen[String(label.prefix { $0 != "(" }), default: 0] += 1
            }
            for decision in result.decided { seen["\(decision.verdict)", default: 0] += 1 }
        }
        let expected = [
            "underway", "operatorIssued", "pairingOpened", "pairingClosed", "pairingQueued", "pairingApproved", "pairingDenied",
            "agentRemoved",
            "agentEdited", "stepped", "expired", "denied", "notAllowed", "requestIDReused", "requestForgotten", "unknownPairing",
            "unknownAgent", "agentNameTaken", "pairingQueueFull", "pairingReqidTaken", "pairingAlreadyApproved", "invalid",
            "reservationGone", "signingFailed",
        ]
        for label in expected { #expect(seen[label, default: 0] > 0, "\(label) never came up") }
    }

    @Test("what validation refuses, apply refuses, and the other way round", arguments: 1...4 as ClosedRange<UInt64>)
    func validation(_ seed: UInt64) throws {
        var generator = ProposalGenerator(seed: seed)
        var state = DispatcherState(genesis: try makeGenesis())
        for number in 1...2_000 as ClosedRange<UInt64> {
            let proposal = try generator.proposal(state, extremes: false)
            // What is due at this time takes effect first, as it does in apply.
            let expire = Proposal(command: .expire, principal: .leader, request: nil, time: proposal.time, calendar: proposal.calendar)
            _ = state.apply(expire, at: LogIndex(2 * number), term: Term(1))
            let refusal = state.validate(proposal)
            let outcome = state.apply(proposal, at: LogIndex(2 * number + 1), term: Term(1)).outcome
            switch (refusal, outcome) {
            case (let refusal?, .refused(let again)): #expect(refusal == again)
            case (nil, .refused(.reservationGone)):
                // Validation does not know the term in which the entry will stand.
                if case .reserveAnew = proposal.command { continue }
                Issue.record("\(proposal) was refused")
            case (nil, .refused(let again)): Issue.record("\(proposal) was refused: \(again)")
            case (let refusal?, _): Issue.record("\(proposal) was carried out in spite of \(refusal)")
            case (nil, _): break
            }
        }
    }

    @Test("no serial is recorded twice, whoever signs what", arguments: 1...8 as ClosedRange<UInt64>)
    func serialsAreUnique(_ seed: UInt64) throws {
        let (state, _) = try run(seed: seed, count: 3_000, extremes: false)
        let serials = (state.operators.map(\.serial) + state.agents.map(\.certificateSerial) + state.obligations.map(\.serial)).sorted()
        #expect(zip(serials, serials.dropFirst()).allSatisfy { $0 != $1 })
    }

    @Test("entries that come a second time under their ids change nothing but position and time", arguments: 1...8 as ClosedRange<UInt64>)
    func duplicates(_ seed: UInt64) throws {
        var generator = ProposalGenerator(seed: seed)
        var state = DispatcherState(genesis: try makeGenesis())
        var index: UInt64 = 0
        var kept: [(Proposal, RequestID)] = []
        for number in 1...600 as ClosedRange<UInt64> {
            var proposal = try generator.proposal(state, extremes: false)
            // No session ends here and nothing expires: duplicates alone are looked at.
            proposal.time = ClusterTime(milliseconds: number)
            if proposal.principal != .leader {
                let request: RequestID =
                    number % 2 == 0 ? .client("n\(number)") : .minted(session: 1, sequence: number, answeredThrough: 0)
                proposal.request = request
                kept.append((proposal, request))
            }
            index += 1
            _ = state.apply(proposal, at: LogIndex(index), term: Term(1))
        }
        let before = state
        for (proposal, request) in kept {
            let known = before.outcome(of: request, by: proposal.principal, command: proposal.command)
            // What is no part of the table is a proposal that was malformed, or whose reqid was taken; it did nothing and may be tried again.
            guard let known else { continue }
            index += 1
            let again = state.apply(proposal, at: LogIndex(index), term: Term(2))
            #expect(again == Applied(outcome: known))
        }
        #expect(kept.count > 200)
        #expect(state.agents == before.agents && state.operators == before.operators && state.pairings == before.pairings)
        #expect(state.obligations == before.obligations && state.nextSerialCounter == before.nextSerialCounter)
        #expect(state.pairingOpenUntil == before.pairingOpenUntil && state.requests.count == before.requests.count)
    }

    @Test("the bookkeeping of requests adds up", arguments: 1...4 as ClosedRange<UInt64>, [false, true])
    func bookkeeping(_ seed: UInt64, _ extremes: Bool) throws {
        let (state, _) = try run(seed: seed, count: 3_000, extremes: extremes)
        let inSessions = state.requests.sessions.values.reduce(0) { $0 + $1.records.count }
        #expect(state.requests.count == state.requests.clients.count + inSessions)
        for waiting in state.pairings {
            if let obligation = waiting.obligation { #expect(state.obligation(obligation) != nil) }
        }
        for (id, keys) in zip(state.openObligations.waiters.keys, state.openObligations.waiters.values) {
            #expect(state.obligation(id) != nil && !keys.isEmpty)
        }
    }
}
