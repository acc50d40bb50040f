// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Requests to answers, whatever carried them: finds the route, lets `Authorisation` decide, and hands on to the operation. Knows no
// sockets; `OperationsPort.swift` and `ApiPort.swift` bring the bytes.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Logging
import PKI
import Platform
import Transport

/// A request whose caller the transport has verified.
package struct PortRequest: Sendable {
    package var method: String
    package var path: String
    package var headers: [PortResponse.Header]
    package var body: [UInt8]
    package var caller: PortCaller
    /// The address it came from; on the control socket, this host.
    package var source: String

    package init(
        method: String, path: String, headers: [PortResponse.Header] = [], body: [UInt8] = [], caller: PortCaller,
        source: String = "127.0.0.1"
    ) {
        self.source = source
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.caller = caller
    }

    /// The last one wins (protocol page, 5.1).
    package func header(_ name: String) -> String? { headers.last { $0.name.lowercased() == name.lowercased() }?.value }

    /// The body as a JSON object; an empty body is an empty object.
    func object() throws(BadRequest) -> JSONValue {
        if body.isEmpty { return .object([]) }
        guard let value = JSONValue(bytes: body) else { throw BadRequest("invalid JSON body") }
        guard value.isObject else { throw BadRequest("the JSON body is not an object") }
        return value
    }

    /// `X-Ced-Timeout-Ms`: 5 s unless asked otherwise, at most 60 s.
    func timeout() throws(BadRequest) -> TimeSpan {
        guard let text = header("x-ced-timeout-ms") else { return .milliseconds(5_000) }
        guard let milliseconds = UInt64(text), (1...60_000).contains(milliseconds) else {
            throw BadRequest("X-Ced-Timeout-Ms is a number of milliseconds from 1 to 60000, not '\(text)'")
        }
        return .milliseconds(milliseconds)
    }

    /// `X-Ced-Consistency`: linearizable unless asked otherwise.
    func consistency() throws(BadRequest) -> ReadConsistency {
        guard let text = header("x-ced-consistency") else { return .linearizable }
        guard let consistency = ReadConsistency(rawValue: text) else {
            throw BadRequest("X-Ced-Consistency is linearizable, lease or stale, not '\(text)'")
        }
        return consistency
    }
}

/// What the caller must change before asking again; answered 400.
struct BadRequest: Error {
    let detail: String
    init(_ detail: String) { self.detail = detail }
}

package struct PortFront: Sendable {
    let member: any MemberFront
    let agents: AgentCaller
    let cluster: ClusterID
    /// The uid as which the member runs.
    let owner: UInt32
    /// The group of the control socket, as it is now.
    let group: @Sendable () -> UInt32?
    let version: String
    let served: ServedOnce
    let isolationLimit: IsolationLimit
    let hooks: HooksInForce
    let runs: RunBook
    /// Requests on 7445, health apart, that are being answered.
    let apiSlots: Slots
    let logger: Logger

    package init(
        member: any MemberFront, agents: AgentCaller, cluster: ClusterID, owner: UInt32, group: @escaping @Sendable () -> UInt32? = { nil },
        version: String, hooks: HooksInForce, runs: RunBook, apiRequests: Int,
        isolationLimit: IsolationLimit, logger: Logger
    ) {
        self.isolationLimit = isolationLimit
        self.hooks = hooks
        self.runs = runs
        apiSlots = Slots(limit: apiRequests)
        self.group = group
        self.member = member
        self.agents = agents
        self.cluster = cluster
        self.owner = owner
        self.version = version
        self.logger = logger
        served = ServedOnce()
    }

    package func respond(_ request: PortRequest, on port: Port) async -> PortResponse {
        if let (route, _) = Routes.find(method: request.method, path: request.path, on: port), route.kind == .health {
            // Answer and headers from one look, and nothing is awaited after it: a lease is good for the moment only.
            let glance = await member.glance()
            if glance.isReady { served.mark() }
            var response = health(route.endpoint, glance: glance)
            response.headers += Self.headers(glance) + (isolation(glance)?.headers(now: wallClockSeconds()) ?? [])
            return response
        }
        let glance = await member.glance()
        if glance.isReady { served.mark() }
        var response = await boundedAnswer(request, on: port, glance: glance)
        if !Routes.isHealth(request.path) {
            let line = LogLine(
                "api-request", ("METHOD", request.method), ("PATH", request.path), ("PORT", port.rawValue), ("PEER", request.source),
                ("USER", request.caller), ("STATUS", response.status), ("REQUEST", response.body["request_id"]?.scalarText))
            // Reads may be polled.
            logger.log(request.method == "GET" && response.status < 400 ? .debug : .info, line)
        }
        let after = await member.glance()
        // Work on agents was done from the registry as it was when it began; everything else is judged by how the member is now.
        let isAgentWork = request.method == "POST" && Routes.find(method: "POST", path: request.path, on: port)?.route.kind == .shared
        let isolation = isolation(after) ?? (isAgentWork && response.status < 400 ? isolation(glance) : nil)
        response.headers += Self.headers(after) + (isolation?.headers(now: wallClockSeconds()) ?? [])
        return response
    }

    private func isolation(_ glance: MemberGlance) -> Isolation? { Isolation(glance, hasServed: served.isMarked) }

    static func headers(_ glance: MemberGlance) -> [PortResponse.Header] {
        [
            PortResponse.Header("X-Ced-Member", glance.member.name), PortResponse.Header("X-Ced-Leader", glance.leader?.name ?? ""),
            PortResponse.Header("X-Ced-Term", glance.term.description),
        ]
    }

    /// `api_max_children`: whoever may reach 7445 may start hooks and scripts.
    private func boundedAnswer(_ request: PortRequest, on port: Port, glance: MemberGlance) async -> PortResponse {
        guard port == .api else { return await answer(request, on: port, glance: glance) }
        guard apiSlots.takeNow() else { return overload(request) }
        defer { apiSlots.give() }
        return await answer(request, on: port, glance: glance)
    }

    private func answer(_ request: PortRequest, on port: Port, glance: MemberGlance) async -> PortResponse {
        let found = Routes.find(method: request.method, path: request.path, on: port)
        let principal: Principal?
        switch Authorisation.decide(request.caller, route: found?.route, port: port, cluster: cluster, owner: owner, group: group()) {
        case .refused(let status, let reason):
            return refusal(status, reason, request, on: port)
        case .allowed(let known): principal = known
        case .ifHookAllows:
            if let denial = await denialOfApi(request) { return denial }
            principal = nil
        case .ifOperatorStands(let name, let serial):
            switch await standing(of: name, serial) {
            case .some(true): principal = .operatorCertificate(name, serial)
            case .some(false):
                return refusal(403, "not allowed: operator \(name)'s certificate \(serial) no longer stands", request, on: port)
            case .none: return .failure(503, "no leader", detail: "cannot confirm that operator \(name)'s certificate stands")
            }
        }
        guard let (route, parameter) = found else {
            return .failure(404, "not found", detail: "no route for \(request.method) \(request.path)")
        }
        do throws(BadRequest) {
            switch route.kind {
            case .health: return health(route.endpoint, glance: glance)
            case .shared:
                // A member that restarted serves nothing before it has applied up to a leader's commit. One that was ready once and is
                // cut off goes on, for a while. How the cluster is, it says all the same.
                guard served.isMarked || route.endpoint == .status else {
                    return .failure(503, "not ready", detail: "member \(glance.member) has not yet heard from a leader since it started")
                }
                if route.endpoint != .status, let isolation = isolation(glance), isolationLimit.isPassed(by: isolation) {
                    return .failure(
                        503, "isolated",
                        detail: "member \(glance.member) has had no leader for longer than its isolation_limit of "
                            + "\(Quantity.span(seconds: Int64(clamping: isolationLimit.seconds))): ask another member, and see why this one "
                            + "reaches no other (ced cluster status)")
                }
                return try await shared(route.endpoint, parameter: parameter, request, on: port)
            case .exclusive:
                if route.endpoint == .join { return try await join(request) }
                guard let principal else { return .failure(403, "not allowed") }
                return try await exclusive(route.endpoint, parameter: parameter, request, principal: principal)
            }
        } catch {
            return .badRequest(error.detail)
        }
    }

    /// The body of a request to join.
    private static let joinBytes = 16 * 1024

    /// What `respond` would refuse whatever the body says, by what is known without the state; nil: it depends.
    func refusalBeforeBody(_ request: PortRequest, on port: Port) -> PortResponse? {
        let route = Routes.find(method: request.method, path: request.path, on: port)?.route
        switch Authorisation.decide(request.caller, route: route, port: port, cluster: cluster, owner: owner, group: group()) {
        case .refused(let status, let reason): return refusal(status, reason, request, on: port)
        case .ifHookAllows: return refusalByHookBeforeBody(request)
        case .allowed where route?.endpoint == .join:
            // From a stranger: a token and a certificate request fit into little.
            let length = request.header("content-length").flatMap(Int.init) ?? 0
            return length > Self.joinBytes ? .failure(413, "a request to join has at most \(Self.joinBytes) bytes") : nil
        case .allowed, .ifOperatorStands: return nil
        }
    }

    /// The hook is told the token and the user's name, which stand in the body: it cannot be asked before. But where there is none to ask,
    /// or nobody is free to ask it, the body changes nothing.
    private func refusalByHookBeforeBody(_ request: PortRequest) -> PortResponse? {
        if let denial = denialWithoutHook(request) { return denial }
        return apiSlots.hasFree ? nil : overload(request)
    }

    private func overload(_ request: PortRequest) -> PortResponse {
        logger.log(.warning, LogLine("api-overload", ("PEER", request.source)))
        return .failure(503, "service unavailable", detail: "too many concurrent requests")
    }

    private func logDenial(_ reason: String, _ request: PortRequest, on port: Port) {
        logger.log(
            .warning, LogLine("api-deny", ("METHOD", request.method), ("PATH", request.path), ("PORT", port.rawValue), ("REASON", reason)))
    }

    private func refusal(_ status: Int, _ reason: String, _ request: PortRequest, on port: Port) -> PortResponse {
        logDenial(reason, request, on: port)
        return .failure(status, reason)
    }

    /// Whether this certificate is the one on record for the operator; nil if this member cannot know. An operator of whom this member
    /// has not heard may have been made a moment ago through another one.
    private func standing(of name: OperatorName, _ serial: SerialNumber) async -> Bool? {
        if await member.appliedState().operatorRecord(named: name, serial: serial) != nil { return true }
        guard let state = await member.read(.linearizable, timeout: .milliseconds(2_000)) else { return nil }
        return state.operatorRecord(named: name, serial: serial) != nil
    }
}
