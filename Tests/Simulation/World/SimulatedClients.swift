// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// People, programs and hosts that ask: each asks one thing at a time, tries again through other members under the same request id when it hears
// nothing, gives some things up and comes back to them later, repeats what was answered, and now and then uses an id twice. What they asked and
// what they were told is kept; what moves them is `World+Clients.swift`.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

struct SimulatedClients {
    enum Answer {
        /// `sees`: the index of the state from which the member answered.
        case reply(Reply, sees: LogIndex, Seen?)
        case connectionRefused
        case connectionLost
    }

    struct Operation {
        enum Kind {
            case exclusive(ExclusiveOperation, RequestID?)
            case read(ReadConsistency, Sight)
            case reports
        }
        enum Status: Hashable {
            case open
            /// Nobody waits for it now; somebody may come back to it.
            case givenUp
            case settled(Outcome)
            /// Over, and nothing is to be learned about it any more.
            case over
        }
        let client: Int
        let principal: Principal
        let kind: Kind
        /// The id was used for another request before.
        let isReuse: Bool
        /// For reads: what was known when it was asked.
        var mustSee: LogIndex
        let asked: TrueTime
        var status = Status.open
        var attempts = 0
        var isRepeat = false
        var lastMember: Int?
        /// When the first member took it.
        var firstAsked: TrueTime?
        /// What was told first, and when.
        var told: Outcome?
        var answered: TrueTime?

        /// It may be asked again without doing it twice.
        var isRepeatable: Bool {
            if case .exclusive(.command, .some) = kind { true } else { false }
        }
        var request: RequestID? {
            if case .exclusive(.command, let request) = kind { request } else { nil }
        }
    }

    struct Call {
        let operation: Int
        let member: Int
        var ticket: Ticket?
        var life = 0
        var isOpen = true
        let timeout: TimeSpan
        /// When a member took it, when the client had the answer, and what that said.
        var asked: TrueTime?
        var answered: TrueTime?
        var told: Outcome?
        var seen: Seen?
    }

    struct Client {
        /// As whom it asks: a local user until it uses a certificate that it was issued, and again when that is revoked.
        var principal: Principal
        let localPrincipal: Principal
        let isHost: Bool
        var current: Int?
        var nextRequest = 1
        var favourite: Int?
    }

    static let operatorNames: UInt64 = 24

    private(set) var generator: SeededGenerator
    var operations: [Operation] = []
    var calls: [Call] = []
    var clients: [Client] = []
    var nextName: UInt64 = 1
    /// No new operations.
    var isClosing = false

    init(count: Int, generator: SeededGenerator) {
        self.generator = generator
        for number in 0..<count {
            // The last two are hosts that want to be paired.
            let isHost = number >= count - 2
            let principal =
                isHost ? Principal.pairingHost(address: "10.0.0.\(number + 1)") : .localUser(uid: UInt32(1000 + number))
            clients.append(Client(principal: principal, localPrincipal: principal, isHost: isHost))
        }
    }

    /// One who lets members come and go, and for each guest its host and somebody who has its token, too.
    mutating func addAdministrator(guests: Int) {
        let root = Principal.localUser(uid: 0)
        clients.append(Client(principal: root, localPrincipal: root, isHost: false))
        for number in 0..<(2 * guests) {
            let host = Principal.joiningHost(address: "10.1.0.\(number + 1)")
            clients.append(Client(principal: host, localPrincipal: host, isHost: false))
        }
    }

    func operation(ofCall call: Int) -> Operation { operations[calls[call].operation] }
    var isIdle: Bool { isClosing && clients.allSatisfy { $0.current == nil } && openOperations.isEmpty }

    var openOperations: [String] {
        operations.indices.compactMap { place in
            switch operations[place].status {
            case .open, .givenUp: operations[place].request.map { "\($0)" } ?? "operation \(place)"
            case .settled, .over: nil
            }
        }
    }

    mutating func below(_ bound: UInt64) -> UInt64 { generator.below(bound) }
    mutating func chance(_ perMille: UInt64) -> Bool { generator.below(1000) < perMille }
    mutating func pause(_ span: TimeSpan) -> TimeSpan { TimeSpan(nanoseconds: span.nanoseconds / 4) + generator.span(upTo: span) }

    /// Something new for this client to ask; `state` is what it may have seen.
    mutating func invent(for client: Int, state: DispatcherState, members: [MemberID], mustSee: LogIndex, at now: TrueTime) -> Operation {
        let principal = clients[client].principal
        func operation(_ kind: Operation.Kind, isReuse: Bool = false) -> Operation {
            Operation(client: client, principal: principal, kind: kind, isReuse: isReuse, mustSee: mustSee, asked: now)
        }
        nextName += 1
        if clients[client].isHost {
            guard let hostname = AgentName("agent-\(generator.below(12))") else { preconditionFailure("a name of letters and digits") }
            let submission = PairingSubmission(
                reqid: Reqid(generator.next()), hostname: hostname,
                signingRequest: SimulatedSigningRequest.make(nextName, length: 40 + Int(generator.below(200)), isImpossible: chance(60)),
                nonce: "nonce-\(nextName)", code: "123456", sourceAddress: "10.0.0.\(client + 1)", suggested: Reachability())
            return operation(.exclusive(.command(.submitPairing(submission)), nil))
        }
        switch generator.below(100) {
        case 0..<10: return operation(.read(.linearizable, inventSight()))
        case 10..<13: return operation(.read(.lease, inventSight()))
        case 13: return operation(.read(.stale, inventSight()))
        case 14..<16: return operation(.reports)
        case 16..<19:
            let target = generator.below(2) == 0 ? nil : members[Int(generator.below(UInt64(members.count)))]
            return operation(.exclusive(.transfer(to: target), RequestID(client: "transfer-\(client)-\(nextName)")))
        default: break
        }
        let command = inventCommand(state)
        // Now and then an id that was used for something else, by the same principal, and is settled.
        if chance(15), let reused = reusable(by: client, not: command) {
            return operation(.exclusive(.command(command), reused), isReuse: true)
        }
        if chance(40) { return operation(.exclusive(.command(command), nil)) }
        defer { clients[client].nextRequest += 1 }
        return operation(.exclusive(.command(command), RequestID(client: "c\(client)-\(clients[client].nextRequest)")))
    }

    private mutating func inventSight() -> Sight {
        switch generator.below(5) {
        case 0: .session
        case 1: OperatorName("operator-\(generator.below(SimulatedClients.operatorNames))").map { .operatorNamed($0) } ?? .session
        default: AgentName("agent-\(generator.below(12))").map { .agent($0) } ?? .session
        }
    }

    private mutating func inventCommand(_ state: DispatcherState) -> Command {
        func reqid(_ generator: inout SeededGenerator) -> Reqid {
            let waiting = state.pairings
            guard !waiting.isEmpty, generator.below(10) != 0 else { return Reqid(generator.below(1000)) }
            return waiting[Int(generator.below(UInt64(waiting.count)))].submission.reqid
        }
        func agent(_ generator: inout SeededGenerator) -> AgentName {
            let known = state.agents
            if !known.isEmpty, generator.below(10) != 0 { return known[Int(generator.below(UInt64(known.count)))].name }
            guard let name = AgentName("agent-\(generator.below(12))") else { preconditionFailure("a name of letters and digits") }
            return name
        }
        switch generator.below(100) {
        case 0..<34:
            // Most are small, some are as large as they may be.
            let length = chance(30) ? 4_000 + Int(generator.below(4_000)) : 40 + Int(generator.below(300))
            guard let name = OperatorName("operator-\(generator.below(SimulatedClients.operatorNames))") else {
                preconditionFailure("a name of letters and digits")
            }
            return .issueOperator(
                name,
                signingRequest: SimulatedSigningRequest.make(nextName, length: length, isImpossible: chance(30)))
        case 34..<48: return .openPairing(milliseconds: 1_000 + generator.below(20_000))
        case 48..<51: return .closePairing
        case 51..<75: return .approvePairing(reqid(&generator), Reachability())
        case 75..<82: return .denyPairing(reqid(&generator))
        case 82..<88: return .unpair(agent(&generator))
        case 88..<93:
            return .beginRotation(overlapMilliseconds: generator.below(6_000), isCompromised: chance(200), replacing: nil)
        case 93..<95: return .abortRotation
        case 95:
            let known = state.operators
            if !known.isEmpty, chance(700) {
                let record = known[Int(generator.below(UInt64(known.count)))]
                return .revoke(chance(500) ? .serial(record.serial) : .operatorNamed(record.name), reason: "it was lost")
            }
            return .revoke(.agent(agent(&generator)), reason: "it was broken into")
        default:
            let rename = chance(300) ? AgentName("agent-\(generator.below(12))") : nil
            return .editAgent(
                agent(&generator), AgentEdit(rename: rename, reachability: Reachability(port: UInt16(1 + generator.below(60_000)))))
        }
    }

    private mutating func reusable(by client: Int, not command: Command) -> RequestID? {
        guard !operations.isEmpty else { return nil }
        let start = Int(generator.below(UInt64(operations.count)))
        // An id means something under one principal only.
        let principal = clients[client].principal
        for place in operations[start...].indices
        where operations[place].client == client && operations[place].principal == principal && !operations[place].isReuse {
            guard case .settled = operations[place].status,
                case .exclusive(.command(let used), .some(let request)) = operations[place].kind,
                used != command
            else { continue }
            return request
        }
        return nil
    }
}
