// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What any member does by itself: reads, and the work on agents. Reads are linearizable unless asked otherwise; work on agents is done from
// the state that this member has applied and needs no agreement.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import PKI
import Transport
import Wire

extension PortFront {
    func shared(_ endpoint: RouteName, parameter: String, _ request: PortRequest) async throws(BadRequest) -> PortResponse {
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
        case .run: return try await run(try request.object())
        case .ping:
            return try await onAgents(try request.object()) { reqid, targets in await agents.ping(reqid: reqid, targets) }
        case .capabilities:
            return try await onAgents(try request.object()) { reqid, targets in await agents.capabilities(reqid: reqid, targets) }
        case .result:
            guard let wanted = RunReference(parameter) else { throw BadRequest("'\(parameter)' is not a reqid") }
            return try await onAgents(try request.object(), reqid: wanted.text) { reqid, targets in
                await agents.result(of: reqid, targets)
            }
        case .rotation: return try await reading(request) { .ok(rotationShape($0, now: wallClockSeconds())) }
        case .revocations:
            return try await reading(request) { .ok(["revocations": .array($0.revocations.map(revocationShape))]) }
        case .health, .ready, .leader, .revoke, .beginRotation, .abortRotation, .issueOperator, .pairingMode, .approvePairing, .denyPairing,
            .editAgent, .unpair, .transfer:
            return .failure(404, "not found")
        }
    }

    private func reading(_ request: PortRequest, _ answer: (DispatcherState) -> PortResponse) async throws(BadRequest) -> PortResponse {
        let consistency = try request.consistency()
        guard let state = await member.read(consistency, timeout: try request.timeout()) else {
            return .failure(
                503, "no leader",
                detail: "a \(consistency.rawValue) read could not be confirmed in time; X-Ced-Consistency: stale reads what this member has"
            )
        }
        return answer(state)
    }

    // MARK: Status

    /// How long members are waited for; one that is down must not make the table slow.
    private static let reportWait: TimeSpan = .milliseconds(500)

    /// Needs no leader: it is asked most when there is none.
    private func status(timeout: TimeSpan) async -> PortResponse {
        let reports = await member.reports(timeout: min(timeout, Self.reportWait))
        let state = await member.appliedState()
        let members = state.genesis.members
        let quorum = members.count / 2 + 1
        let reachable = members.filter { member in reports.contains { $0.member == member.id } }.count
        let leader = reports.filter { $0.role == .leader }.max { $0.term < $1.term }
        return .ok([
            "cluster": .text(state.genesis.cluster.description), "dispatcher_id": .text(state.genesis.dispatcherID.text),
            "members": .array(members.map { member in memberShape(member, report: reports.first { $0.member == member.id }) }),
            "leader": leader.map { .text($0.member.name) } ?? .null, "voters": .count(members.count), "quorum": .count(quorum),
            "failures_survived": .count(max(0, reachable - quorum)), "agents": .count(state.agents.count),
        ])
    }

    // MARK: Work on agents

    private func run(_ body: JSONValue) async throws(BadRequest) -> PortResponse {
        guard let script = body["script"]?.scalarText, ScriptName(script) != nil else {
            throw BadRequest("script name required (alphanumeric and hyphens only)")
        }
        let wanted: RunRequest
        do throws(RunRequest.Flaw) { wanted = try RunRequest(body) } catch {
            throw BadRequest(AgentErrors.argsMustBeArray)
        }
        return try await onAgents(body, async: wanted.detached == true) { reqid, targets in
            var run = wanted
            run.reqid = reqid
            // Dispatchers leave the field out of a synchronous run.
            run.detached = wanted.detached == true ? true : nil
            return await agents.run(run, targets)
        }
    }

    /// Resolves the hosts, does the work, and answers `{ok, reqid, results}`. `ok` says that it was dispatched; how each host fared is in
    /// its result, as in ctrl-exec's API (protocol page, 18).
    private func onAgents(
        _ body: JSONValue, reqid given: String? = nil, async: Bool = false, _ work: (String, [AgentTarget]) async -> [JSONValue]
    ) async throws(BadRequest) -> PortResponse {
        guard case .array(let elements) = body["hosts"], !elements.isEmpty else { throw BadRequest("hosts must be a non-empty array") }
        let hosts = elements.compactMap(\.scalarText)
        guard hosts.count == elements.count else { throw BadRequest("hosts must be an array of names") }
        guard hosts.count <= Limits.hosts else { throw BadRequest("too many hosts (max \(Limits.hosts))") }
        let targets: [AgentTarget]
        switch AgentTarget.resolve(hosts, in: await member.appliedState()) {
        case .success(let resolved): targets = resolved
        case .failure(let unknown):
            return .failure(404, "unknown agent", detail: "not a registered agent: \(unknown.names.joined(separator: ", "))")
        }
        let reqid: String
        if let given {
            reqid = given
        } else if let text = body["reqid"]?.scalarText, Reqid(text) != nil {
            // A caller who draws it himself can ask after the run even if he never heard our answer.
            reqid = text
        } else {
            // Without randomness nothing may be named; the operating system has never failed to give eight bytes.
            guard let number = try? SystemRandom.number() else { return .failure(500, "the system's random generator failed") }
            reqid = Reqid(number).description
        }
        let results = await work(reqid, targets)
        return PortResponse(
            async ? 202 : 200,
            .record(["ok": .boolean(true), "reqid": .text(reqid), "async": async ? .boolean(true) : nil, "results": .array(results)]))
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
