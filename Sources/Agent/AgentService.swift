// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What an agent answers (protocol page, 6), apart from how requests arrive. The order of the checks is the protocol's:
// revocation, route, map, body, allowlist, hook, work.

import CtrlExec
import Hooks
import PKI
import Platform
import Transport

package struct AgentRequest: Sendable {
    package let method: String
    package let path: String
    package let body: [UInt8]
    /// Of the certificate that was presented and verified; nil: none was.
    package let serial: SerialNumber?
    package let address: String

    package init(method: String, path: String, body: [UInt8], serial: SerialNumber?, address: String) {
        self.method = method
        self.path = path
        self.body = body
        self.serial = serial
        self.address = address
    }
}

package struct AgentAnswer: Sendable {
    package let status: Int
    package let body: [UInt8]

    init(_ status: Int = 200, _ value: some Encodable) {
        self.status = status
        body = AgentJSON.encode(value)
    }
    /// To a request whose body was not read.
    static func early(_ status: Int, _ error: String) -> AgentAnswer {
        error == AgentErrors.serialMismatch ? AgentAnswer(status, ErrorAnswer.serialMismatch) : AgentAnswer(status, ErrorAnswer(error))
    }
    static func refused(_ error: String, status: String? = nil) -> AgentAnswer { AgentAnswer(403, ErrorAnswer(error, status: status)) }
}

package final class AgentService: Sendable {
    let state: AgentState
    let launcher: DetachedLauncher
    /// Seconds since 1970.
    let now: @Sendable () -> Int64
    let dialect: AgentDialect
    var log: AgentLog { state.log }

    package init(
        state: AgentState, launcher: DetachedLauncher, dialect: AgentDialect = .endpoint,
        now: @escaping @Sendable () -> Int64 = wallClockSeconds
    ) {
        self.dialect = dialect
        self.state = state
        self.launcher = launcher
        self.now = now
    }

    /// Who calls, once the map has been asked.
    struct Caller {
        let address: String
        let serial: SerialNumber
        let dispatcher: DispatcherID
    }

    /// The name under which the agent was paired.
    var host: String { state.current.identity.certificate.commonName ?? AgentHost.name }
    var timestamp: String { ISO8601Time.text(unixSeconds: now()) }

    package func answer(_ request: AgentRequest) async -> AgentAnswer {
        let snapshot = state.current
        if let serial = request.serial, snapshot.revoked.contains(serial) {
            log.warning("revoked-cert", ("PEER", request.address), ("SERIAL", serial))
            return .refused(AgentErrors.certificateRevoked)
        }
        if dialect.lacks(request.path) { return AgentAnswer(404, ErrorAnswer(AgentErrors.notFound)) }
        switch (request.method, request.path) {
        case ("POST", "/renew"): return renew(request, snapshot)
        case ("POST", "/renew-complete"): return completeRenewal(request)
        case ("GET", "/capabilities"):
            guard let caller = caller(request, snapshot) else {
                log.warning(
                    "capabilities-deny", ("PEER", request.address), ("PEER_SERIAL", request.serial), ("REASON", "serial not in the map"))
                return .refused(AgentErrors.forbidden)
            }
            return await capabilities(caller, snapshot)
        case ("POST", "/run"), ("POST", "/ping"), ("POST", "/rotate-serial"): break
        case ("GET", let path) where result(path) != nil: break
        default: return AgentAnswer(404, ErrorAnswer(AgentErrors.notFound))
        }
        guard let caller = caller(request, snapshot) else {
            log.warning(
                "serial-reject", ("PEER", request.address), ("PEER_SERIAL", request.serial?.description ?? "(none)"), ("REQID", "(none)"))
            return AgentAnswer(403, ErrorAnswer.serialMismatch)
        }
        switch request.path {
        case "/run": return await run(request.body, caller, snapshot)
        case "/ping": return ping(request.body, caller, snapshot)
        case "/rotate-serial": return await rotate(request.body, caller)
        default: return result(request.path).map { self.result($0, caller) } ?? AgentAnswer(404, ErrorAnswer(AgentErrors.notFound))
        }
    }

    /// Who presents no certificate gets nothing by a body, except with the two routes that are not behind the map: it is not read.
    func refusalOfStranger(method: String, path: String, isKnown: Bool, address: RemoteAddress) -> HeadRefusal? {
        guard !isKnown, !["/renew", "/renew-complete"].contains(path) else { return nil }
        guard method == "POST", ["/run", "/ping", "/rotate-serial"].contains(path), !dialect.lacks(path) else {
            return HeadRefusal(404, AgentErrors.notFound)
        }
        log.warning("serial-reject", ("PEER", address.ip ?? "local"), ("PEER_SERIAL", "(none)"), ("REQID", "(none)"))
        return HeadRefusal(403, AgentErrors.serialMismatch)
    }

    private func caller(_ request: AgentRequest, _ snapshot: AgentState.Snapshot) -> Caller? {
        guard let serial = request.serial, let dispatcher = snapshot.trusted[serial] else { return nil }
        return Caller(address: request.address, serial: serial, dispatcher: dispatcher)
    }

    /// `^/result/([A-Za-z0-9_-]+)$`
    private func result(_ path: String) -> RunReference? {
        path.hasPrefix("/result/") ? RunReference(String(path.dropFirst("/result/".count))) : nil
    }

    private func ping(_ body: [UInt8], _ caller: Caller, _ snapshot: AgentState.Snapshot) -> AgentAnswer {
        let reqid = AgentJSON.decodeIfPossible(PingRequest.self, body)?.reqid ?? ""
        log.info("ping", ("PEER", caller.address), ("PEER_SERIAL", caller.serial), ("DISPATCHER", caller.dispatcher), ("REQID", reqid))
        return AgentAnswer(
            200,
            PingAnswer(
                host: host, version: dialect.version, expiry: OpenSSLTime.text(unixSeconds: snapshot.identity.certificate.notAfter),
                reqid: reqid, staged: StagedCertificate(state.configuration).isStaged))
    }

    private func capabilities(_ caller: Caller, _ snapshot: AgentState.Snapshot) async -> AgentAnswer {
        if let hook = hook {
            let verdict = await hook.ask(question(.discovery, caller))
            if verdict != .allowed {
                note(verdict)
                log.warning(
                    "capabilities-deny", ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("REASON", verdict.reason))
                return .refused(AgentErrors.notAuthorised)
            }
        }
        let scripts = snapshot.allowlist.scripts.map { script in
            let sidecar = snapshot.sidecars[script.name]
            return ScriptDescription(
                name: script.name.text, path: script.path, executable: isExecutableFile(script.path), profile: script.profile,
                schema: sidecar?.schema, schemaVersion: sidecar?.version)
        }
        log.info("capabilities", ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("SCRIPTS", scripts.count))
        let tags = JSONValue.object(members: state.configuration.tags.map { .init($0.key, .text($0.value)) })
        return AgentAnswer(200, CapabilitiesAnswer(host: host, version: dialect.version, scripts: scripts, tags: tags))
    }

    private func result(_ reference: RunReference, _ caller: Caller) -> AgentAnswer {
        let (found, otherOwner) = RunStore(directory: state.configuration.runsDirectory).record(reference, of: caller.dispatcher)
        guard let found else {
            if otherOwner {
                log.warning(
                    "result-deny", ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("REQID", reference),
                    ("REASON", "not-owner"))
            } else {
                log.info("result-miss", ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("REQID", reference))
            }
            return AgentAnswer(404, ResultAnswer.unknown(reqid: reference.text))
        }
        log.info(
            "result", ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("REQID", reference), ("STATUS", found.status))
        return AgentAnswer(200, found)
    }

    var hook: AuthHook? {
        state.configuration.authHook.map { AuthHook(path: $0, timeoutSeconds: state.configuration.authHookTimeoutSeconds) }
    }

    func question(_ action: HookQuestion.Action, _ caller: Caller) -> HookQuestion {
        var question = HookQuestion(action, sourceAddress: caller.address, timestamp: timestamp)
        question.dispatcher = caller.dispatcher.text
        question.dispatcherSerial = caller.serial.hexadecimal
        return question
    }

    func note(_ verdict: HookVerdict) {
        if verdict == .timedOut { log.error("auth-hook-timeout", ("TIMEOUT", state.configuration.authHookTimeoutSeconds)) }
    }
}
