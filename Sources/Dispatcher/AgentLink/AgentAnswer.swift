// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What came of one exchange with an agent, and how ctrl-exec says it: the shapes of the protocol page's 15.3, the texts of its 15.4.

import CtrlExec

/// The one answer, or why there is none.
package enum Exchange: Hashable, Sendable {
    case answered(status: Int, body: [UInt8])
    case failed(AgentFailure)
}

package enum AgentFailure: Hashable, Sendable {
    /// Nothing was sent that could have run.
    case notReached(String)
    /// The request was sent and the connection ended without an answer: it may have run, or be running.
    case outcomeUnknown(String)
    /// The request was sent, and no answer came within this many seconds.
    case readTimeout(seconds: Int64)
    /// Another connection now could shut us out at an old agent.
    case budgetSpent(retryAfterSeconds: UInt64)

    package var text: String {
        switch self {
        case .notReached(let reason): reason
        case .outcomeUnknown(let reason): "outcome unknown: \(reason)"
        case .readTimeout(let seconds): "read timeout after \(seconds)s"
        case .budgetSpent(let seconds):
            "not dialled: \(Limits.connectionsPerAgent) connections in the last "
                + "\(Limits.connectionsPerAgentWindowMilliseconds / 1_000) s, and agents of this version shut out who makes more than 10; "
                + "try again in \(seconds) s"
        }
    }
}

/// What is asked of an agent.
enum Work: Hashable, Sendable {
    case run(RunRequest)
    case ping(reqid: String)
    case capabilities(reqid: String)
    case result(of: String)
    case rotateSerial(action: String, serial: String, reqid: String)

    /// Repeating it does no harm.
    var isIdempotent: Bool { if case .run = self { false } else { true } }
    var method: String {
        switch self {
        case .run, .ping, .rotateSerial: "POST"
        case .capabilities, .result: "GET"
        }
    }
    var path: String {
        switch self {
        case .run: "/run"
        case .ping: "/ping"
        case .capabilities: "/capabilities"
        case .result(let reqid): "/result/\(reqid)"
        case .rotateSerial: "/rotate-serial"
        }
    }
    /// What is read of one answer.
    var answerLimit: Int {
        switch self {
        case .run, .result: Limits.runAnswerBytes
        case .ping, .rotateSerial: Limits.pingAnswerBytes
        case .capabilities: Limits.capabilitiesAnswerBytes
        }
    }
    /// Nil: a request without a body and without Content-Length (protocol page, 5.3).
    var body: JSONValue? {
        switch self {
        case .run(let run):
            .record([
                "script": .text(run.script), "args": .array(run.args.map { .text($0) }), "reqid": .text(run.reqid),
                "username": .text(run.username), "token": .text(run.token), "async": run.detached.map { .boolean($0) },
            ])
        case .ping(let reqid): .record(["reqid": .text(reqid)])
        case .rotateSerial(let action, let serial, _): .record(["action": .text(action), "serial": .text(serial)])
        case .capabilities, .result: nil
        }
    }
    /// The action's name in the log.
    var action: String {
        switch self {
        case .run(let run): run.detached == true ? "run-async" : "run"
        case .ping: "ping"
        case .capabilities: "capabilities"
        case .result: "result"
        case .rotateSerial: "rotate-serial"
        }
    }
    var reqid: String {
        switch self {
        case .run(let run): run.reqid
        case .ping(let reqid), .capabilities(let reqid), .result(let reqid), .rotateSerial(_, _, let reqid): reqid
        }
    }

    /// The result object for one host.
    func result(host: AgentName, _ exchange: Exchange, rttMilliseconds: UInt64) -> JSONValue {
        let common = JSONValue.record(["host": .text(host.text), "rtt": .text("\(rttMilliseconds)ms")])
        let answer: JSONValue
        switch exchange {
        case .failed(let failure): return failed(failure.text, common)
        case .answered(let status, let body):
            switch parse(status: status, body: body) {
            case .success(let object): answer = object
            case .failure(let reason): return failed(reason.text, common)
            }
        }
        switch self {
        case .run(let run) where run.detached == true: return answer.with(common)
        case .run: return answer.with(common).with(["reqid": .text(reqid)])
        case .ping, .capabilities:
            let reported = answer["host"]?.scalarText
            return answer.with(common).with(["reported_hostname": reported == host.text ? nil : reported.map { .text($0) }])
        case .result, .rotateSerial: return answer.with(common)
        }
    }

    private struct Reason: Error { let text: String }

    /// The agent's object as it is; 409 of an asynchronous run and 404 of a result are answers too.
    private func parse(status: Int, body: [UInt8]) -> Result<JSONValue, Reason> {
        let json = JSONValue(bytes: body)
        switch (status, self) {
        case (200...299, _): break
        case (403, _):
            return .failure(Reason(text: "forbidden: \(json?["error"]?.scalarText ?? "403 \(StatusPhrases.phrase(403))")"))
        case (409, .run(let run)) where run.detached == true:
            let error = json?["error"]?.scalarText ?? AgentErrors.scriptAlreadyRunning
            return .success(
                .record([
                    "script": .text(run.script), "status": .text("busy"), "error": .text(error), "reqid": .text(run.reqid),
                ]))
        case (404, .result(let reqid)): return .success(.record(["status": .text("unknown"), "reqid": .text(reqid)]))
        case (413, _): return .failure(Reason(text: AgentErrors.requestTooLarge))
        default: return .failure(Reason(text: "\(status) \(StatusPhrases.phrase(status))"))
        }
        guard let json, json.isObject else {
            if case .run = self { return .failure(Reason(text: "invalid JSON response")) }
            return .failure(Reason(text: "invalid JSON"))
        }
        return .success(json)
    }

    private func failed(_ error: String, _ common: JSONValue) -> JSONValue {
        switch self {
        case .run(let run) where run.detached == true:
            common.with([
                "script": .text(run.script), "status": .text("error"), "error": .text(error), "reqid": .text(run.reqid),
            ])
        case .run(let run):
            common.with(["script": .text(run.script), "exit": .integer(-1), "error": .text(error), "reqid": .text(run.reqid)])
        case .ping, .capabilities, .rotateSerial: common.with(["status": .text("error"), "error": .text(error)])
        case .result(let reqid): common.with(["status": .text("error"), "error": .text(error), "reqid": .text(reqid)])
        }
    }
}

extension JSONValue {
    /// `self` with the members of `other` set.
    func with(_ other: JSONValue) -> JSONValue {
        guard case .object(let members) = self, case .object(let more) = other else { return self }
        return .object(members: members + more)
    }
}
