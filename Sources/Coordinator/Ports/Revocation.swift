// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced revoke`: what the caller means by a word is found out from the state, the revocation is an entry like any other, and the answer names
// the members that still let the certificate in because they have not applied it.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension PortFront {
    /// How long members that lag are waited for, once the revocation is committed.
    private static let applicationWait = TimeSpan.milliseconds(1_500)
    private static let lookInterval = Duration.milliseconds(50)

    func revoke(_ request: PortRequest, principal: Principal, timeout: TimeSpan) async throws(BadRequest) -> PortResponse {
        let body = try request.object()
        guard let word = try text(body, "target"), !word.isEmpty else {
            throw BadRequest("target is missing: an operator, an agent or a serial number")
        }
        guard let reason = try text(body, "reason"), !reason.isEmpty else { throw BadRequest("reason is missing: say why, in one line") }
        let target: RevocationTarget
        switch try await meaning(of: word, kind: try text(body, "kind"), timeout: timeout) {
        case .success(let found): target = found
        case .failure(let refusal): return refusal.response
        }
        let response = try await carryOut(.command(.revoke(target, reason: reason)), request, principal: principal, timeout: timeout)
        guard response.status == 200, let index = response.body["index"]?.scalarText.flatMap(UInt64.init) else { return response }
        let late = await membersWithout(LogIndex(index), atMost: min(timeout, Self.applicationWait))
        return PortResponse(200, response.body.with(["not_applied": .array(late.map { .text($0.name) })]), headers: response.headers)
    }

    private struct Unclear: Error { let response: PortResponse }

    /// - Parameter kind: `operator`, `agent` or `serial`; nil: whichever there is, if there is only one.
    private func meaning(
        of word: String, kind: String?, timeout: TimeSpan
    ) async throws(BadRequest) -> Result<RevocationTarget, Unclear> {
        switch kind {
        case "operator":
            guard let name = OperatorName(word) else { throw BadRequest("'\(word)' is not an operator's name") }
            return .success(.operatorNamed(name))
        case "agent":
            guard let name = AgentName(word) else { throw BadRequest("'\(word)' is not an agent's name") }
            return .success(.agent(name))
        case "serial":
            guard let serial = SerialNumber(notation: word) else { throw BadRequest("'\(word)' is not a serial number") }
            return .success(.serial(serial))
        case nil: break
        case .some(let other): throw BadRequest("kind is operator, agent or serial, not '\(other)'")
        }
        guard let state = await member.read(.linearizable, timeout: timeout) else {
            return .failure(Unclear(response: .failure(503, "no leader", detail: "nothing was revoked")))
        }
        var meanings: [RevocationTarget] = []
        if let name = OperatorName(word), state.isKnown(name) { meanings.append(.operatorNamed(name)) }
        if let name = AgentName(word), state.agent(named: name) != nil { meanings.append(.agent(name)) }
        if meanings.count > 1 {
            return .failure(
                Unclear(response: .failure(409, "'\(word)' is an operator and an agent", detail: "say which with kind: operator or agent")))
        }
        if let only = meanings.first { return .success(only) }
        // A word like `beef` is a serial only if somebody says so, or it is as long as ours are.
        if let serial = SerialNumber(notation: word), serial.bytes.count >= 8 || state.isKnown(serial) { return .success(.serial(serial)) }
        return .failure(
            Unclear(
                response: .failure(
                    404, "no operator and no agent is called '\(word)', and it is not a known serial number",
                    detail: "see: ced list-operators, ced list-agents; for a serial number that is not known here say kind: serial")))
    }

    /// Members that are not known to have applied this entry.
    private func membersWithout(_ index: LogIndex, atMost limit: TimeSpan) async -> [MemberID] {
        let clock = ContinuousClock()
        let deadline = clock.now + .nanoseconds(Int64(limit.nanoseconds))
        let everybody = await member.appliedState().members.map(\.id)
        while true {
            let reports = await member.reports(timeout: .milliseconds(500))
            let late = everybody.filter { id in !reports.contains { $0.member == id && $0.appliedIndex >= index } }
            if late.isEmpty || clock.now >= deadline { return late }
            do { try await Task.sleep(for: Self.lookInterval) } catch { return late }
        }
    }
}

extension DispatcherState {
    /// Also of one whose certificates are all revoked.
    fileprivate func isKnown(_ name: OperatorName) -> Bool {
        operatorRecord(named: name) != nil || revocations.contains { $0.subject == .operatorNamed(name) }
    }

    fileprivate func isKnown(_ serial: SerialNumber) -> Bool {
        operators.contains { $0.serial == serial } || agents.contains { $0.certificateSerial == serial } || revocation(of: serial) != nil
    }
}
