// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What must be done once: turned into a command for the leader, and its outcome into an answer. A caller that gave no request id gets one
// here and is told it, so that it too can repeat what was left without an answer.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import PKI
import Transport
import Wire

extension PortFront {
    func exclusive(
        _ endpoint: RouteName, parameter: String, _ request: PortRequest, principal: Principal
    ) async throws(BadRequest) -> PortResponse {
        let timeout = try request.timeout()
        if endpoint == .revoke { return try await revoke(request, principal: principal, timeout: timeout) }
        let operation = try operation(endpoint, parameter: parameter, try request.object())
        if case .command(.invite(_, let address, _)) = operation, let problem = await loopbackProblem(address) { return problem }
        if case .transfer(let target?) = operation {
            let members = await member.appliedState().members.map(\.id)
            guard members.contains(target) else {
                let known = members.map(\.name).joined(separator: ", ")
                return .failure(404, "no member is called \(target); there are \(known)")
            }
        }
        let response = try await carryOut(operation, request, principal: principal, timeout: timeout)
        guard endpoint == .invite, response.status == 200 else { return response }
        var completed = response
        let known = await tokenMembers()
        completed.body = response.body.with(["ca_fingerprint": .text(known.fingerprint), "endpoints": .array(known.endpoints)])
        return completed
    }

    func carryOut(
        _ operation: ExclusiveOperation, _ request: PortRequest, principal: Principal, timeout: TimeSpan
    ) async throws(BadRequest) -> PortResponse {
        let id = try requestID(request)
        guard let requestID = RequestID(client: id) else {
            throw BadRequest("Idempotency-Key is 1 to 64 printable characters without space")
        }
        let performed = await member.perform(operation, request: requestID, principal: principal, timeout: timeout)
        switch performed.reply {
        case .settled(.refused(.rulesTooOld(let needed))):
            // The log knows the version only; who stands in its way, the members say.
            let refusal = Refusal.rulesTooOld(needed)
            return .failure(
                statusCode(of: refusal), refusal.text, detail: await view(timeout: timeout).whatHoldsBack(needed), requestID: id)
        case .settled(let outcome): return answer(outcome, performed.state, id)
        case .transferred(let leader): return .ok(["leader": .text(leader.name), "request_id": .text(id)])
        case .transferFailed:
            return .failure(
                500, "the transfer failed", detail: "the old leader goes on, or another was elected; see: ced cluster status", requestID: id
            )
        case .noLeader:
            return .failure(
                503, "no leader",
                detail: "whether it happened is not known; repeating it with this request id makes it happen at most once", requestID: id)
        case .overloaded: return .failure(429, "overloaded", detail: "too many callers wait at this member", requestID: id)
        case .readable, .notReadable, .reports: return .failure(500, "the member answered something else", requestID: id)
        }
    }

    private func requestID(_ request: PortRequest) throws(BadRequest) -> String {
        if let key = request.header("idempotency-key") { return key }
        guard let number = try? SystemRandom.number() else { throw BadRequest("give an Idempotency-Key: this member has no randomness") }
        return "port-\(Reqid(number))"
    }

    // MARK: Request to operation

    private func operation(
        _ endpoint: RouteName, parameter: String, _ body: JSONValue
    ) throws(BadRequest) -> ExclusiveOperation {
        switch endpoint {
        case .issueOperator: return .command(try issueOperator(body))
        case .pairingMode: return .command(try pairingMode(body))
        case .approvePairing: return .command(.approvePairing(try reqid(parameter), try reachability(body)))
        case .denyPairing: return .command(.denyPairing(try reqid(parameter)))
        case .unpair: return .command(.unpair(try agentName(parameter)))
        case .editAgent:
            let rename: AgentName?
            if let text = try text(body, "rename") { rename = try agentName(text) } else { rename = nil }
            let edit = AgentEdit(rename: rename, reachability: try reachability(body))
            guard rename != nil || edit.reachability != Reachability() else {
                throw BadRequest("nothing to change: give rename, lookup_by, ip or port")
            }
            return .command(.editAgent(try agentName(parameter), edit))
        case .beginRotation: return .command(try beginRotation(body))
        case .abortRotation: return .command(.abortRotation)
        case .transfer:
            guard let text = try text(body, "to") else { return .transfer(to: nil) }
            guard let member = MemberID(text) else { throw BadRequest("'\(text)' is not a member's name") }
            return .transfer(to: member)
        case .invite:
            guard let hash = bytes(hexadecimal: try text(body, "secret_hash") ?? "") else {
                throw BadRequest("secret_hash is the SHA-256 of the token's secret in hexadecimal digits")
            }
            return .command(.invite(try memberID(try text(body, "member") ?? ""), address: try memberAddress(body), secretHash: hash))
        case .moveMember: return .command(.setMemberAddress(try memberID(parameter), try memberAddress(body)))
        case .removeMember: return .command(.removeMember(try memberID(parameter)))
        case .members, .joinGreeting, .join, .health, .ready, .leader, .revocations, .revoke, .rotation, .status, .agents, .pairingRequests,
            .operators, .run, .ping,
            .capabilities, .result, .discovery, .runStatus, .apiIndex, .openAPI, .liveOpenAPI:
            throw BadRequest("not an exclusive operation")
        }
    }

    private func beginRotation(_ body: JSONValue) throws(BadRequest) -> Command {
        var overlap = Rotation.defaultOverlapMilliseconds
        if let text = try text(body, "overlap_seconds") {
            guard let seconds = UInt64(text), seconds <= Rotation.overlapLimitMilliseconds / 1_000 else {
                throw BadRequest("overlap_seconds must be a number of seconds up to 3650 days, not '\(text)'")
            }
            overlap = seconds * 1_000
        }
        return .beginRotation(overlapMilliseconds: overlap, isCompromised: body["compromised"]?.isTrue ?? false, replacing: nil)
    }

    private func issueOperator(_ body: JSONValue) throws(BadRequest) -> Command {
        guard let text = try text(body, "name"), let name = OperatorName(text) else {
            throw BadRequest("name must be letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64")
        }
        guard let pem = try self.text(body, "csr") else { throw BadRequest("csr (PEM) is missing") }
        do {
            let request = try CertificateRequest(pem: Array(pem.utf8))
            guard request.der.count <= SigningRequest.limit else {
                throw BadRequest("the certificate request is larger than \(SigningRequest.limit) bytes")
            }
            return .issueOperator(name, signingRequest: SigningRequest(der: request.der))
        } catch let bad as BadRequest {
            throw bad
        } catch {
            throw BadRequest("csr: \(error)")
        }
    }

    private func pairingMode(_ body: JSONValue) throws(BadRequest) -> Command {
        switch try text(body, "action") {
        case "start":
            guard let given = body["seconds"] else { return .openPairing(milliseconds: UInt64(Limits.pairingWaitSeconds) * 1_000) }
            guard let seconds = given.scalarText.flatMap(UInt64.init), (1...UInt64(Limits.pairingWaitSeconds)).contains(seconds) else {
                throw BadRequest("seconds must be from 1 to \(Limits.pairingWaitSeconds)")
            }
            return .openPairing(milliseconds: seconds * 1_000)
        case "stop": return .closePairing
        default: throw BadRequest("action must be start or stop")
        }
    }

    private func reachability(_ body: JSONValue) throws(BadRequest) -> Reachability {
        var reachability = Reachability()
        if let text = try text(body, "lookup_by") {
            guard let lookup = Reachability.Lookup(rawValue: text) else {
                throw BadRequest("lookup_by must be hostname or ip, not '\(text)'")
            }
            reachability.lookup = lookup
        }
        if let text = try text(body, "ip") {
            guard isAddressLiteral(text) else { throw BadRequest("ip must be an IPv4 or IPv6 address, not '\(text)'") }
            reachability.address = text
        }
        if let text = try text(body, "port") {
            guard let port = UInt16(text), port > 0 else { throw BadRequest("port must be from 1 to 65535, not '\(text)'") }
            reachability.port = port
        }
        return reachability
    }

    /// Nil if absent or null.
    func text(_ body: JSONValue, _ key: String) throws(BadRequest) -> String? {
        guard let value = body[key], value != .null else { return nil }
        guard let text = value.scalarText else { throw BadRequest("\(key) must be text") }
        return text
    }

    private func reqid(_ text: String) throws(BadRequest) -> Reqid {
        guard let reqid = Reqid(text) else { throw BadRequest("'\(text)' is not a reqid: 16 lower-case hexadecimal digits") }
        return reqid
    }

    private func agentName(_ text: String) throws(BadRequest) -> AgentName {
        guard let name = AgentName(text) else {
            throw BadRequest("'\(text)' is not an agent's name: letters, digits, '.', '_' and '-', beginning with a letter or digit")
        }
        return name
    }

    // MARK: Outcome to answer

    private func answer(_ outcome: Outcome, _ state: DispatcherState, _ id: String) -> PortResponse {
        switch outcome {
        case .operatorIssued(let name, let serial):
            guard let record = state.operatorRecord(named: name, serial: serial) else {
                return .failure(409, "operator \(name)'s certificate \(serial) is on record no more", requestID: id)
            }
            return .ok([
                "request_id": .text(id), "name": .text(name.text), "serial": .text(serial.hexadecimal),
                "certificate": .text(pemText(record.certificate)), "ca": .text(pemText(state.genesis.clusterCA.certificate)),
            ])
        case .pairingOpened, .pairingClosed:
            // What is so now: an answer that is repeated from the table of request ids tells how the session stands, not how it stood.
            return .ok(pairingMembers(state).with(["request_id": .text(id)]))
        case .pairingApproved(let reqid, let agent, let serial):
            return .ok([
                "request_id": .text(id), "reqid": .text(reqid.description), "agent": .text(agent.text), "serial": .text(serial.hexadecimal),
                "record": state.agent(named: agent).map { agentShape($0, in: state, now: wallClockSeconds()) },
            ])
        case .pairingDenied(let reqid): return .ok(["request_id": .text(id), "reqid": .text(reqid.description)])
        case .agentRemoved(let agent): return .ok(["request_id": .text(id), "agent": .text(agent.text)])
        case .agentEdited(let agent):
            return .ok([
                "request_id": .text(id), "agent": .text(agent.text),
                "record": state.agent(named: agent).map { agentShape($0, in: state, now: wallClockSeconds()) },
            ])
        case .rotationBegun(let serial):
            return .ok(["request_id": .text(id), "serial": .text(serial.hexadecimal)])
        case .rotationAborted: return .ok(["request_id": .text(id), "aborted": .boolean(true)])
        case .revoked(let index):
            let revoked = state.revocations.filter { $0.index == index }
            return .ok([
                "request_id": .text(id), "index": .count(index.position), "revoked": .array(revoked.map(revocationShape)),
            ])
        case .invited(let invited, let until):
            return .ok([
                "request_id": .text(id), "member": .text(invited.name), "address": state.invitation(of: invited).map { .text($0.address) },
                "seconds_left": .count((until.milliseconds - min(until.milliseconds, state.time.milliseconds)) / 1_000),
            ])
        case .memberAdmitted(let member, let serial):
            return .ok(["request_id": .text(id), "member": .text(member.name), "serial": .text(serial.hexadecimal)])
        case .memberRemoved(let member): return .ok(["request_id": .text(id), "member": .text(member.name)])
        case .memberMoved(let member):
            return .ok([
                "request_id": .text(id), "member": .text(member.name), "address": state.member(member).map { .text($0.address) },
            ])
        case .underway:
            return .failure(503, "not finished yet", detail: "repeat it with this request id to hear the outcome", requestID: id)
        case .pairingQueued, .stepped: return .failure(500, "the member answered something else", requestID: id)
        case .refused(let refusal): return .failure(statusCode(of: refusal), refusal.text, requestID: id)
        }
    }
}

func statusCode(of refusal: Refusal) -> Int {
    switch refusal {
    case .notAllowed, .invitationUnknown, .invitationUsed: 403
    case .unknownPairing, .unknownAgent, .unknownOperator, .unknownMember: 404
    case .requestIDReused, .requestForgotten, .agentNameTaken, .operatorNameTaken, .pairingClosed, .pairingReqidTaken,
        .pairingAlreadyApproved, .reservationGone, .rotationUnderway, .noRotation, .rotationAborted, .operatorRevoked, .stepGone,
        .memberNameTaken, .membershipRefused,
        .rulesTooOld:
        409
    case .pairingQueueFull, .tooMany, .tooManyIdentities: 429
    case .requestTableFull: 503
    case .invalid: 400
    case .signingFailed: 500
    }
}
