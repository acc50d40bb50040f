// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Work on agents: run, ping, discovery, results. Any member does it by itself, from the state that it has applied. The order is ctrl-exec's:
// what cannot be meant, the hook, unknown hosts, then the work.

import AgentLink
import CtrlExec
import DispatcherState
import Hooks
import PKI
import Transport

extension PortFront {
    /// What a call to agents needs, once nothing stands in its way.
    private struct Call {
        let reqid: String
        let targets: [AgentTarget]
    }

    // MARK: Run

    /// Answers `{ok, reqid, results}`. `ok` says that it was dispatched; how each host fared is in its result (protocol page, 18).
    func run(_ request: PortRequest, on port: Port) async throws(BadRequest) -> PortResponse {
        let body = try request.callBody(on: port)
        let hosts = try hosts(body)
        guard let script = body["script"]?.scalarText, ScriptName(script) != nil else {
            throw BadRequest("script name required (alphanumeric and hyphens only)")
        }
        var wanted: RunRequest
        do throws(RunRequest.Flaw) { wanted = try RunRequest(body) } catch {
            throw BadRequest(AgentErrors.argsMustBeArray)
        }
        wanted.token = request.token(body)
        var question = question(.run, request, body)
        question.script = script
        question.hosts = hosts
        question.args = wanted.args
        if let denial = await denial(of: question, on: port) { return denial }
        let call: Call
        // Whoever the hook lets in does not choose the name of a record.
        switch await prepare(hosts, port == .api ? .null : body) {
        case .success(let prepared): call = prepared
        case .failure(let refusal): return refusal.response
        }
        let isAsync = wanted.detached == true
        wanted.reqid = call.reqid
        // Dispatchers leave the field out of a synchronous run.
        wanted.detached = isAsync ? true : nil
        let results = await agents.run(wanted, call.targets)
        let submitter =
            port == .api ? HookQuestion.Submitter(username: question.username, sourceAddress: question.sourceAddress) : nil
        if isAsync {
            let ports = explicitPorts(hosts)
            await runs.keep(
                .asynchronous(
                    call.reqid, script: script, results: results, ports: ports, submitter: submitter, created: wallClockSeconds()))
        } else if port == .api {
            await runs.keep(
                .synchronous(call.reqid, script: script, results: results, submitter: submitter, completed: wallClockSeconds()))
        }
        return PortResponse(
            isAsync ? 202 : 200,
            .record([
                "ok": .boolean(true), "reqid": .text(call.reqid), "async": isAsync ? .boolean(true) : nil, "results": .array(results),
            ]))
    }

    private func explicitPorts(_ hosts: [String]) -> [AgentName: UInt16] {
        var ports: [AgentName: UInt16] = [:]
        for host in hosts {
            let parts = host.split(separator: ":", omittingEmptySubsequences: false)
            if parts.count == 2, let name = AgentName(String(parts[0])), let port = UInt16(parts[1]) { ports[name] = port }
        }
        return ports
    }

    // MARK: Ping, capabilities, results

    func ping(_ request: PortRequest, on port: Port) async throws(BadRequest) -> PortResponse {
        try await asked(request, on: port) { await agents.ping(reqid: $0, $1) }
    }

    func capabilities(_ request: PortRequest, on port: Port) async throws(BadRequest) -> PortResponse {
        try await asked(request, on: port) { await agents.capabilities(reqid: $0, $1) }
    }

    private func asked(
        _ request: PortRequest, on port: Port, _ work: (String, [AgentTarget]) async -> [JSONValue]
    ) async throws(BadRequest) -> PortResponse {
        let body = try request.callBody(on: port)
        let hosts = try hosts(body)
        var question = question(.ping, request, body)
        question.hosts = hosts
        if let denial = await denial(of: question, on: port) { return denial }
        switch await prepare(hosts, port == .api ? .null : body) {
        case .failure(let refusal): return refusal.response
        case .success(let call):
            let results = await work(call.reqid, call.targets)
            return .ok(["reqid": port == .api ? nil : .text(call.reqid), "results": .array(results)])
        }
    }

    /// Of an asynchronous run, asked of the agents themselves; no hook is asked (protocol page, 17).
    func result(of reference: RunReference, _ body: JSONValue) async throws(BadRequest) -> PortResponse {
        switch await prepare(try hosts(body), body) {
        case .failure(let refusal): return refusal.response
        case .success(let call):
            return .ok(["reqid": .text(reference.text), "results": .array(await agents.result(of: reference.text, call.targets))])
        }
    }

    // MARK: Discovery

    /// Scripts and tags of the named agents, or of all, by name. Whoever answers has its tags kept in the registry.
    func discovery(_ request: PortRequest, on port: Port) async throws(BadRequest) -> PortResponse {
        // What cannot be parsed counts as empty, as in the original.
        let body = port == .api ? JSONValue(bytes: request.body) ?? .null : try request.object()
        let named: [String]? = (body["hosts"] ?? .null) == .null ? nil : try hosts(body)
        var question = question(.ping, request, body)
        question.hosts = named ?? []
        if let denial = await denial(of: question, on: port) { return denial }
        let hosts: [String]
        if let named { hosts = named } else { hosts = await member.appliedState().agents.map(\.name.text) }
        guard hosts.count <= Limits.hosts else { throw BadRequest("too many hosts (max \(Limits.hosts)): name some") }
        switch await prepare(hosts, .null) {
        case .failure(let refusal): return refusal.response
        case .success(let call):
            let results = await agents.capabilities(reqid: call.reqid, call.targets)
            return .ok(["hosts": .object(members: zip(call.targets, results).map { JSONValue.Member($0.name.text, $1) })])
        }
    }

    // MARK: What all have in common

    private func hosts(_ body: JSONValue) throws(BadRequest) -> [String] {
        guard case .array(let elements) = body["hosts"], !elements.isEmpty else { throw BadRequest("hosts must be a non-empty array") }
        let hosts = elements.compactMap(\.scalarText)
        guard hosts.count == elements.count else { throw BadRequest("hosts must be an array of names") }
        guard hosts.count <= Limits.hosts else { throw BadRequest("too many hosts (max \(Limits.hosts))") }
        return hosts
    }

    private struct Refused: Error { let response: PortResponse }

    private func prepare(_ hosts: [String], _ body: JSONValue) async -> Result<Call, Refused> {
        let targets: [AgentTarget]
        switch AgentTarget.resolve(hosts, in: await member.appliedState()) {
        case .success(let resolved): targets = resolved
        case .failure(let unknown):
            let names = unknown.names.joined(separator: ", ")
            return .failure(Refused(response: .failure(404, "unknown agent", detail: "not a registered agent: \(names)")))
        }
        // A caller who draws it himself can ask after the run even if he never heard our answer.
        if let text = body["reqid"]?.scalarText, Reqid(text) != nil { return .success(Call(reqid: text, targets: targets)) }
        // Without randomness nothing may be named; the operating system has never failed to give eight bytes.
        guard let number = try? SystemRandom.number() else {
            return .failure(Refused(response: .failure(500, "the system's random generator failed")))
        }
        return .success(Call(reqid: Reqid(number).description, targets: targets))
    }
}

extension PortRequest {
    /// The body of a call that must have one. On 7445 in the original's words (protocol page, 18).
    func callBody(on port: Port) throws(BadRequest) -> JSONValue {
        guard port == .api else { return try object() }
        guard !body.isEmpty else { throw BadRequest("request body required") }
        guard let value = JSONValue(bytes: body), value.isObject else { throw BadRequest("invalid JSON body") }
        return value
    }
}
