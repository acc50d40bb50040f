// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When the dispatcher's auth hook is asked, and what its verdict means where (protocol page, 12). On 7445, where nobody is authenticated
// otherwise, it is asked for every request but health, and without a hook all is refused unless the configuration says otherwise. On 7443 and
// the control socket the caller is known already: the hook is asked for work on agents, and without one that is allowed.

import AgentLink
import CtrlExec
import Hooks
import Logging
import Platform
import Synchronization
import Transport

/// The policy that is in force: a request that has begun is judged by what held when the hook was asked.
package final class HooksInForce: Sendable {
    private let policy: Mutex<HookPolicy>
    package init(_ policy: HookPolicy) { self.policy = Mutex(policy) }
    package var current: HookPolicy { policy.withLock { $0 } }
    package func change(_ policy: HookPolicy) { self.policy.withLock { $0 = policy } }
}

package struct HookPolicy: Sendable {
    /// Nil: none is configured.
    package var hook: AuthHook?
    /// `api_auth_default = allow`: what 7445 does without a hook.
    package var allowsApiWithoutHook = false
    /// `auth_deny_generic`: 7445 does not say why.
    package var deniesGenerically = false
    package init(hook: AuthHook? = nil, allowsApiWithoutHook: Bool = false, deniesGenerically: Bool = false) {
        self.hook = hook
        self.allowsApiWithoutHook = allowsApiWithoutHook
        self.deniesGenerically = deniesGenerically
    }
}

extension PortFront {
    /// As much of a question as follows from the request.
    func question(_ action: HookQuestion.Action, _ request: PortRequest, _ body: JSONValue) -> HookQuestion {
        var question = HookQuestion(
            action, sourceAddress: request.source, timestamp: ISO8601Time.text(unixSeconds: wallClockSeconds()))
        question.username = body["username"]?.scalarText ?? ""
        question.token = request.token(body)
        return question
    }

    /// Before routing, for every request on 7445. Nil: allowed.
    func denialOfApi(_ request: PortRequest) async -> PortResponse? {
        // The token is taken from the body before anybody has looked whether that makes sense.
        let body = request.body.first == UInt8(ascii: "{") ? JSONValue(bytes: request.body) ?? .null : .null
        return await denial(of: question(.api, request, body), on: .api)
    }

    /// Nil: allowed.
    func denial(of question: HookQuestion, on port: Port) async -> PortResponse? {
        let hooks = hooks.current
        guard let hook = hooks.hook else {
            if port != .api {
                log(question, "pass", reason: "no-hook-cli", hook: nil)
                return nil
            }
            if hooks.allowsApiWithoutHook {
                log(question, "pass", reason: "api_auth_default", hook: nil)
                return nil
            }
            return denialWithoutHook(question)
        }
        let verdict = await hook.ask(question)
        switch verdict {
        case .allowed:
            log(question, "pass", reason: nil, hook: hook)
            return nil
        case .denied(let code, let reason): log(question, "deny", reason: reason, code: code, hook: hook)
        case .timedOut:
            logger.log(.error, LogLine("auth-hook-timeout", ("TIMEOUT", "\(hook.timeoutSeconds)"), ("HOOK", hook.path)))
            log(question, "error", reason: verdict.reason, hook: hook)
        }
        return forbidden(verdict.reason, code: verdict.code, on: port)
    }

    static let noHook = "no auth hook configured"

    /// What 7445 answers to everybody while there is no hook, whatever the body says; nil: there is one to ask, or all are allowed.
    func denialWithoutHook(_ request: PortRequest) -> PortResponse? {
        let hooks = hooks.current
        return hooks.hook == nil && !hooks.allowsApiWithoutHook ? denialWithoutHook(question(.api, request, .null)) : nil
    }

    private func denialWithoutHook(_ question: HookQuestion) -> PortResponse {
        log(question, "deny", reason: Self.noHook, hook: nil)
        return forbidden(Self.noHook, code: 1, on: .api)
    }

    func forbidden(_ reason: String, code: Int32, on port: Port) -> PortResponse {
        if port == .api, hooks.current.deniesGenerically { return .failure(403, AgentErrors.forbidden) }
        let response = PortResponse.failure(403, reason)
        return PortResponse(403, response.body.with(["code": .integer(Int64(code))]))
    }

    private func log(_ question: HookQuestion, _ result: String, reason: String?, code: Int32? = nil, hook: AuthHook?) {
        let line = LogLine(
            "auth", ("RESULT", result), ("REASON", reason), ("CODE", code.map { "\($0)" }), ("AUTHACTION", question.action.rawValue),
            ("USER", question.username), ("IP", question.sourceAddress), ("HOOK", hook?.path))
        logger.log(result == "pass" ? .info : .warning, line)
    }
}

extension PortRequest {
    /// From the body, else from `Authorization: Bearer`.
    func token(_ body: JSONValue) -> String {
        if let token = body["token"]?.scalarText, !token.isEmpty { return token }
        guard let header = header("authorization"), header.utf8.count > 7, header.prefix(7).lowercased() == "bearer " else { return "" }
        return String(header.dropFirst(7)).trimmedOfWhiteSpace
    }
}
