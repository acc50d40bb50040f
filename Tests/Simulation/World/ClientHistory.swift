// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the clients of a seed asked and were told, sorted by the objects that it concerns, and judged as `Linearizability` says. What concerns
// two objects (an approval decides a pairing and makes an agent, a renaming touches two names) stands at both.

import Consensus
import CtrlExec
import DispatcherState
import Wire

/// What a reader looks at.
enum Sight: Hashable, Sendable {
    case agent(AgentName)
    case operatorNamed(OperatorName)
    case session
}

/// What a reader saw.
enum Seen: Hashable, Sendable {
    case agent(AgentName, AgentObject.Record?)
    case operatorNamed(OperatorName, SerialNumber?)
    case session(isOpen: Bool)

    init(_ sight: Sight, in state: DispatcherState) {
        switch sight {
        case .agent(let name):
            self = .agent(name, state.agent(named: name).map { AgentObject.Record(serial: $0.certificateSerial, port: $0.port) })
        case .operatorNamed(let name): self = .operatorNamed(name, state.operatorRecord(named: name)?.serial)
        case .session: self = .session(isOpen: state.pairingOpenUntil != nil)
        }
    }
}

package struct ClientHistory: Sendable {
    /// The calls of each object, and its name for people.
    package struct Partition<Object: SequentialObject>: Sendable {
        package var calls: [(name: String, calls: [TimedCall<Object.Action>])] = []
        private var places: [String: Int] = [:]
        mutating func add(_ name: String, _ call: TimedCall<Object.Action>) {
            if let place = places[name] {
                calls[place].calls.append(call)
            } else {
                places[name] = calls.count
                calls.append((name, [call]))
            }
        }
        mutating func add(_ name: String, _ action: Object.Action, _ span: Span, isAnswered: Bool = true) {
            add(name, TimedCall(action, invoked: span.invoked, returned: isAnswered ? span.returned : nil))
        }
        /// So many histories were judged.
        func judge(from object: Object) throws(Broken) -> UInt64 {
            for (name, calls) in calls {
                switch Linearizability.judge(calls, from: object) {
                case .linearizable: break
                case .undecided:
                    throw Broken("Linearizability", [], "\(name): the search through \(calls.count) calls was given up")
                case .refused(let ordered, let stuck):
                    let words = stuck.map {
                        "\(calls[$0].action) (\(calls[$0].invoked) to \(calls[$0].returned.map { "\($0)" } ?? "no answer"))"
                    }
                    throw Broken(
                        "Linearizability", [],
                        "\(name): of \(calls.count) calls \(ordered) can be put in order at most, and then none of: \(words.joined(separator: "; "))"
                    )
                }
            }
            return UInt64(calls.count)
        }
    }
    struct Span: Sendable {
        let invoked: TrueTime
        let returned: TrueTime?
    }

    package var requests = Partition<RequestObject>()
    package var agents = Partition<AgentObject>()
    package var pairings = Partition<PairingObject>()
    package var session = Partition<SessionObject>()
    package var counter = Partition<CounterObject>()
    package var operators = Partition<OperatorObject>()
    /// Names of operators for which something was asked of which nobody knows what it would have done.
    private var unknowable: [OperatorName: Bool] = [:]

    init(_ clients: SimulatedClients) {
        addRequests(clients)
        var hosts: [Reqid: AgentName] = [:]
        var owners: [SerialNumber: OperatorName] = [:]
        for operation in clients.operations {
            if case .exclusive(.command(.submitPairing(let submission)), _) = operation.kind {
                hosts[submission.reqid] = submission.hostname
            }
            if case .operatorIssued(let name, let serial)? = operation.told { owners[serial] = name }
            if case .exclusive(.command(.issueOperator(let name, _)), _) = operation.kind, operation.told == nil,
                operation.firstAsked != nil
            {
                unknowable[name] = true
            }
        }
        for operation in clients.operations { add(operation, hosts, owners) }
        for call in clients.calls { add(call) }
        operators.calls.removeAll { entry in OperatorName(entry.name).flatMap { unknowable[$0] } ?? false }
    }

    /// So many objects were judged.
    package func judge() throws(Broken) -> UInt64 {
        try requests.judge(from: RequestObject()) + agents.judge(from: AgentObject()) + pairings.judge(from: .unknown)
            + session.judge(from: .isClosed) + counter.judge(from: CounterObject()) + operators.judge(from: OperatorObject())
    }

    /// Attempt by attempt: each asks for the same, and is told the same.
    private mutating func addRequests(_ clients: SimulatedClients) {
        var fingerprints: [String: [Command]] = [:]
        for call in clients.calls {
            let operation = clients.operations[call.operation]
            guard let asked = call.asked, case .exclusive(.command(let command), .some(let request)) = operation.kind else { continue }
            let name = "\(request.words) of \(operation.principal.words)"
            var known = fingerprints[name] ?? []
            if !known.contains(command) { known.append(command) }
            fingerprints[name] = known
            var told = call.told
            if told?.isUnrecorded == true { told = nil }
            if told?.isPassing == true { told = nil }
            let action = RequestObject.Action.asked(fingerprint: known.firstIndex(of: command) ?? 0, told)
            requests.add(name, action, Span(invoked: asked, returned: told == nil ? nil : call.answered))
        }
    }

    private mutating func add(_ call: SimulatedClients.Call) {
        guard let asked = call.asked, let seen = call.seen else { return }
        let span = Span(invoked: asked, returned: call.answered)
        // A reader that nobody answered saw nothing.
        guard call.answered != nil else { return }
        switch seen {
        case .agent(let name, let record): agents.add(name.text, .read(record), span)
        case .operatorNamed(let name, let serial): operators.add(name.text, .read(serial), span)
        case .session(let isOpen): session.add("the session", isOpen ? .foundOpen : .foundClosed, span)
        }
    }

    private mutating func add(_ operation: SimulatedClients.Operation, _ hosts: [Reqid: AgentName], _ owners: [SerialNumber: OperatorName])
    {
        guard !operation.isReuse, let asked = operation.firstAsked, case .exclusive(.command(let command), _) = operation.kind else {
            return
        }
        var told = operation.told
        if told?.isUnrecorded == true { told = nil }
        // Whether it was carried out nobody knows.
        if told == .refused(.requestForgotten) || told?.isPassing == true { told = nil }
        if told == .refused(.notAllowed) { return }
        let span = Span(invoked: asked, returned: told == nil ? nil : operation.answered)
        switch command {
        case .issueOperator(let name, _):
            if case .operatorIssued(_, let serial)? = told {
                counter.add("the counter of serials", serial, span)
                operators.add(name.text, .issued(serial), span)
            }
        case .openPairing:
            if case .refused? = told { return }
            session.add("the session", .opened, span)
        case .closePairing:
            if case .refused? = told { return }
            session.add("the session", .closed, span)
        case .submitPairing(let submission):
            switch told {
            case .pairingQueued(let reqid)?:
                session.add("the session", .foundOpen, span)
                pairings.add("\(reqid)", .queued, span)
            // A flood of hosts must not become entries: such a refusal is said without one (decision 0003), and promises nothing about a
            // second copy of the same request that is still on its way.
            case .refused(.pairingClosed)?, .refused(.pairingQueueFull)?, .refused(.pairingReqidTaken)?, nil:
                pairings.add("\(submission.reqid)", .perhapsQueued, Span(invoked: asked, returned: nil))
            default: break
            }
        case .approvePairing(let reqid, _): addApproval(reqid, hosts[reqid], told, span)
        case .denyPairing(let reqid):
            switch told {
            case .pairingDenied?: pairings.add("\(reqid)", .denied, span)
            case .refused(.unknownPairing)?: pairings.add("\(reqid)", .toldUnknown, span)
            case .refused(.pairingAlreadyApproved)?: pairings.add("\(reqid)", .toldApproved, span)
            case nil: pairings.add("\(reqid)", .perhapsDenied, span)
            default: break
            }
        case .unpair(let name):
            switch told {
            case .agentRemoved?: agents.add(name.text, .removed, span)
            case .refused(.unknownAgent)?: agents.add(name.text, .told(exists: false), span)
            case nil: agents.add(name.text, .perhapsRemoved, span)
            default: break
            }
        case .editAgent(let name, let edit): addEdit(name, edit, told, span)
        case .beginRotation:
            if case .rotationBegun(let serial)? = told { counter.add("the counter of serials", serial, span) }
        case .revoke(.agent(let name), _):
            switch told {
            case .revoked?: agents.add(name.text, .told(exists: true), span)
            case .refused(.unknownAgent)?: agents.add(name.text, .told(exists: false), span)
            default: break
            }
        case .revoke(.operatorNamed(let name), _):
            switch told {
            case .revoked?, nil: operators.add(name.text, .revokedAll, span)
            case .refused(.unknownOperator)?: operators.add(name.text, .toldUnknown, span)
            default: break
            }
        case .revoke(.serial(let serial), _):
            guard let owner = owners[serial] else { return }
            if case .refused? = told { return }
            operators.add(owner.text, .revoked(serial), span)
        default: break
        }
    }

    private mutating func addApproval(_ reqid: Reqid, _ host: AgentName?, _ told: Outcome?, _ span: Span) {
        switch told {
        case .pairingApproved(_, let name, let serial)?:
            pairings.add("\(reqid)", .approved(serial), span)
            agents.add(name.text, .paired(serial), span)
        case .refused(.unknownPairing)?: pairings.add("\(reqid)", .toldUnknown, span)
        case .refused(.signingFailed)?: pairings.add("\(reqid)", .notSigned, span)
        case nil:
            pairings.add("\(reqid)", .perhapsApproved, span)
            if let host { agents.add(host.text, .paired(nil), span) }
        default: break
        }
    }

    private mutating func addEdit(_ name: AgentName, _ edit: AgentEdit, _ told: Outcome?, _ span: Span) {
        let target = edit.rename.flatMap { $0 == name ? nil : $0 }
        switch told {
        case .agentEdited?:
            if let target {
                agents.add(name.text, .wentByName, span)
                agents.add(target.text, .cameByName, span)
            } else {
                agents.add(name.text, .edited(port: edit.reachability.port), span)
            }
        case .refused(.unknownAgent)?: agents.add(name.text, .told(exists: false), span)
        case .refused(.agentNameTaken(let taken))?:
            agents.add(name.text, .told(exists: true), span)
            agents.add(taken.text, .told(exists: true), span)
        case nil:
            if let target {
                agents.add(name.text, .perhapsRemoved, span)
                agents.add(target.text, .perhapsCame, span)
            } else {
                agents.add(name.text, .perhapsEdited(port: edit.reachability.port), span)
            }
        default: break
        }
    }
}

extension RequestID {
    /// Made for each call: what a mirror would print takes long.
    fileprivate var words: String {
        switch self {
        case .client(let text): text
        case .minted(let session, let sequence, _): "\(sequence) in \(session)"
        }
    }
}

extension Principal {
    fileprivate var words: String {
        switch self {
        case .operatorCertificate(let name, let serial): "\(name.text) with \(serial.hexadecimal)"
        case .localUser(let uid): "user \(uid)"
        case .pairingHost(let address), .joiningHost(let address): address
        case .leader: "the leader"
        }
    }
}
