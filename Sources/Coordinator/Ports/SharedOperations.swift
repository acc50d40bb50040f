// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What any member does by itself: reads, and the work on agents, which is in `AgentWork.swift`. Reads are linearizable unless asked
// otherwise; work on agents is done from the state that this member has applied and needs no agreement.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import PKI
import Transport
import Wire

extension PortFront {
    func shared(
        _ endpoint: RouteName, parameter: String, _ request: PortRequest, on port: Port
    ) async throws(BadRequest) -> PortResponse {
        switch endpoint {
        case .status: return await status(timeout: try request.timeout())
        case .agents:
            return try await reading(request) { state in
                let now = wallClockSeconds()
                return .ok(["agents": .array(state.agents.map { agentShape($0, in: state, now: now) })])
            }
        case .pairingRequests:
            return try await reading(request) { state in
                .ok(
                    pairingMembers(state).with(["requests": .array(state.pairings.map(pairingShape))]))
            }
        case .operators:
            return try await reading(request) { .ok(["operators": .array($0.operators.map(operatorShape))]) }
        case .run: return try await run(request, on: port)
        case .ping: return try await ping(request, on: port)
        case .capabilities: return try await capabilities(request, on: port)
        case .discovery: return try await discovery(request, on: port)
        case .result:
            guard let wanted = RunReference(parameter) else { throw BadRequest("'\(parameter)' is not a reqid") }
            return try await result(of: wanted, try request.object())
        case .runStatus: return try await runStatus(parameter, request, on: port)
        case .apiIndex: return apiIndex()
        case .openAPI: return openAPI()
        case .liveOpenAPI: return await liveOpenAPI()
        case .rotation: return try await reading(request) { .ok(rotationShape($0, now: wallClockSeconds())) }
        case .revocations:
            return try await reading(request) { .ok(["revocations": .array($0.revocations.map(revocationShape))]) }
        case .members: return try await reading(request) { .ok(membersShape($0)) }
        case .joinGreeting: return await joinGreeting()
        case .invite, .moveMember, .removeMember, .join, .health, .ready, .leader, .revoke, .beginRotation, .abortRotation, .issueOperator,
            .pairingMode, .approvePairing, .denyPairing,
            .editAgent, .unpair, .transfer:
            return .failure(404, "not found")
        }
    }

    private func reading(_ request: PortRequest, _ answer: (DispatcherState) -> PortResponse) async throws(BadRequest) -> PortResponse {
        let consistency = try request.consistency()
        // Before the state is taken, so that the age is never told too low.
        let glance = await member.glance()
        guard let state = await member.read(consistency, timeout: try request.timeout()) else {
            return .failure(503, "no leader", detail: Self.whyNotReadable(consistency, glance))
        }
        var response = answer(state)
        response.headers += [
            PortResponse.Header("X-Ced-Consistency", consistency.rawValue),
            PortResponse.Header("X-Ced-Applied-Index", state.appliedIndex.description),
        ]
        if consistency == .stale, let age = glance.leaderContactMilliseconds {
            response.headers.append(PortResponse.Header("X-Ced-Age-Ms", String(age)))
        }
        return response
    }

    private static func whyNotReadable(_ consistency: ReadConsistency, _ glance: MemberGlance) -> String {
        let otherwise = "X-Ced-Consistency: stale reads what this member has"
        guard consistency == .lease, !glance.holdsLease else {
            return "a \(consistency.rawValue) read could not be confirmed in time; \(otherwise)"
        }
        let leader = glance.leader.map { $0 == glance.member ? "this one has no lease now" : "that is \($0)" } ?? "there is none now"
        return "only the leader under its lease answers a lease read, and \(leader); \(otherwise)"
    }
}

/// Whether a pairing session is open, and for how long yet.
func pairingMembers(_ state: DispatcherState) -> JSONValue {
    guard let until = state.pairingOpenUntil, until > state.time else { return .record(["open": .boolean(false)]) }
    let endless = until.milliseconds == .max
    return .record([
        "open": .boolean(true),
        "seconds_left": endless ? nil : .count((until.milliseconds - state.time.milliseconds + 999) / 1_000),
    ])
}
