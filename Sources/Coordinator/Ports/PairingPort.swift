// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// 7444: hosts ask to become agents (protocol page, 7). One request a connection and two answers: `pending` at once, the decision when it
// has been made, through whichever member. The connection is held meanwhile; every answer has status code 200, the outcome is in the JSON.
// Nobody here is authenticated: what arrives is checked, bounded, and may submit and nothing else.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Logging
import NIOCore
import PKI
import Platform
import Synchronization
import Transport
import Wire

package struct PairingPort: Sendable {
    /// Submissions that become proposals.
    package static let submissionsPerSecond = 5
    /// How long a submission may take to be agreed on.
    static let submissionTimeout = TimeSpan.seconds(10)

    let member: any MemberFront
    let gate: SubmissionGate
    /// How long a connection is held for its decision: the cluster's own expiry comes first, unless it has no leader.
    let holdSeconds: Int64
    let logger: Logger

    package init(member: any MemberFront, holdSeconds: Int64 = Int64(Limits.pairingWaitSeconds) + 15, logger: Logger) {
        self.member = member
        self.holdSeconds = holdSeconds
        self.logger = logger
        gate = SubmissionGate(perSecond: Self.submissionsPerSecond)
    }

    static func configuration(
        _ address: ListenAddress, identity: @escaping @Sendable () throws -> TLSIdentity, logger: Logger
    ) -> HTTPListenerConfiguration {
        var configuration = HTTPListenerConfiguration(
            address: address, tls: { TLSServer(identity: try identity(), clients: .none) })
        // What is over the protocol's own limit is answered in its words; what is far over it is not read.
        configuration.limits.bodyBytes = 4 * Limits.pairingBodyBytes
        configuration.limits.connectionsPerAddress = 32
        configuration.report = { incident in
            // A probe that closes at once is part of the protocol (7.1) and not reported; the rest is worth a line.
            logger.log(.notice, LogLine("pair-connection", ("IP", incident.address.ip), ("REASON", incident)))
        }
        return configuration
    }

    /// Method and path are ignored, as by the original.
    package func handle(_ request: HTTPRequest, _ writer: ResponseWriter) async {
        let address = request.remoteAddress.ip ?? "127.0.0.1"
        guard gate.admit() else {
            logger.log(.notice, LogLine("pair-reject", ("IP", address), ("REASON", "rate-limit")))
            return writer.close()
        }
        let submission: PairingSubmission
        switch Self.submission(from: request.body, address: address) {
        case .success(let checked): submission = checked
        case .failure(let rejection): return await reject(rejection, address, writer)
        }
        // Asked before the submission, so that no decision falls between the two.
        let decision = Task { await member.decision(of: submission.reqid) }
        let performed = await member.perform(
            .command(.submitPairing(submission)), request: nil, principal: .pairingHost(address: address), timeout: Self.submissionTimeout)
        guard case .settled(.pairingQueued(let reqid)) = performed.reply, reqid == submission.reqid else {
            decision.cancel()
            return await reject(Self.rejection(performed.reply), address, writer)
        }
        logger.log(
            .info,
            LogLine(
                "pair-hold", ("AGENT", submission.hostname), ("IP", address), ("REPORTED_IP", submission.suggested.address),
                ("REQID", reqid)))
        guard await writer.send(HTTPResponse(PairAnswer.pending(reqid: reqid.description)), last: false) else { return decision.cancel() }
        await answer(await wait(for: decision, writer), submission, writer)
    }

    /// The decision, or nil when the agent has gone or the time is over.
    private func wait(for decision: Task<PairingDecision?, Never>, _ writer: ResponseWriter) async -> PairingDecision? {
        let patience = Task {
            // Ends early when it is cancelled, and then nobody waits for it.
            try? await Task.sleep(for: .seconds(holdSeconds))
            decision.cancel()
        }
        let departure = Task {
            await writer.closed
            decision.cancel()
        }
        let result = await decision.value
        patience.cancel()
        // Ends by itself with the connection.
        _ = departure
        return result
    }

    private func answer(_ decision: PairingDecision?, _ submission: PairingSubmission, _ writer: ResponseWriter) async {
        guard !writer.isClosed else {
            logger.log(.notice, LogLine("pair-answer", ("AGENT", submission.hostname), ("REQID", submission.reqid), ("STATUS", "gone")))
            return
        }
        switch decision?.verdict {
        case .approved(let certificate):
            let state = await member.appliedState()
            let record = state.agents.first { $0.reqid == submission.reqid }
            // What the agent is told to trust is what the registry says that it trusts.
            let serial = record?.confirmedIdentities.last ?? state.currentIdentity?.serial
            let approval = PairApproval(
                cert: pemText(certificate), ca: pemText(state.genesis.fleetCA.certificate), nonce: submission.nonce,
                dispatcherSerial: serial?.hexadecimal ?? "", dispatcherID: state.genesis.dispatcherID.text)
            await writer.send(HTTPResponse(PairAnswer.approved(approval)))
            logger.log(.info, LogLine("pair-answer", ("AGENT", submission.hostname), ("REQID", submission.reqid), ("STATUS", "approved")))
        case .denied:
            await writer.send(HTTPResponse(PairAnswer.denied(reason: PairingReasons.rejectedByOperator)))
            logger.log(.info, LogLine("pair-answer", ("AGENT", submission.hostname), ("REQID", submission.reqid), ("STATUS", "denied")))
        case .expired, nil:
            await writer.send(HTTPResponse(PairAnswer.denied(reason: PairingReasons.approvalTimeout)))
            logger.log(.notice, LogLine("pair-timeout", ("AGENT", submission.hostname), ("REQID", submission.reqid)))
        }
    }

    // MARK: Refusals

    struct Rejection: Error, Hashable {
        /// What the host is told.
        let reason: String
        /// What the log is told beside it.
        let detail: String
    }

    private func reject(_ rejection: Rejection, _ address: String, _ writer: ResponseWriter) async {
        logger.log(.notice, LogLine("pair-reject", ("IP", address), ("REASON", rejection.reason), ("DETAIL", rejection.detail)))
        await writer.send(HTTPResponse(PairAnswer.error(reason: rejection.reason)))
    }

    static func rejection(_ reply: Reply) -> Rejection {
        switch reply {
        case .settled(.refused(.pairingClosed)):
            Rejection(reason: "pairing not open", detail: "open a session with: ced pairing-mode start")
        case .settled(.refused(.pairingQueueFull)):
            Rejection(reason: PairingReasons.queueFull, detail: "decide some with: ced list-requests")
        case .settled(.refused(let refusal)): Rejection(reason: PairingReasons.invalidRequest, detail: refusal.text)
        case .noLeader: Rejection(reason: "no leader, try again", detail: "the cluster had no leader in time")
        case .overloaded: Rejection(reason: PairingReasons.queueFull, detail: "too many callers wait at this member")
        default: Rejection(reason: PairingReasons.invalidRequest, detail: "\(reply)")
        }
    }

    // MARK: The request

    /// Checks everything that can be checked without the state.
    static func submission(from body: [UInt8], address: String) -> Result<PairingSubmission, Rejection> {
        func invalid(_ detail: String) -> Result<PairingSubmission, Rejection> {
            .failure(Rejection(reason: PairingReasons.invalidRequest, detail: detail))
        }
        guard body.count <= Limits.pairingBodyBytes else {
            return .failure(Rejection(reason: PairingReasons.requestTooLarge, detail: "\(body.count) bytes"))
        }
        guard let json = JSONValue(bytes: body), json.isObject else { return invalid("the body is not a JSON object") }
        guard let request = PairRequest(json) else { return invalid("a field has a type that it cannot have") }
        guard request.isComplete else { return invalid("hostname or csr is missing") }
        // A certificate's name has at most 64 bytes.
        guard let hostname = AgentName(request.hostname), Authority.isValidSubject(hostname.text) else {
            return .failure(Rejection(reason: PairingReasons.invalidHostname, detail: String(request.hostname.prefix(100))))
        }
        let nonce = request.nonce ?? ""
        guard nonce.utf8.count <= 128, nonce.utf8.allSatisfy({ (33...126).contains($0) }) else { return invalid("nonce") }
        let certificateRequest: CertificateRequest
        do {
            certificateRequest = try CertificateRequest(pem: Array(request.csr.utf8))
        } catch {
            return invalid("csr: \(error)")
        }
        guard certificateRequest.der.count <= SigningRequest.limit else { return invalid("csr: larger than \(SigningRequest.limit) bytes") }
        // Without randomness nothing may be named; the operating system has never failed to give eight bytes.
        guard let number = try? SystemRandom.number() else { return invalid("this member has no randomness") }
        // A suggestion that is no address is none (7.2).
        let suggestedAddress = request.ip.flatMap { isAddressLiteral($0) ? $0 : nil }
        return .success(
            PairingSubmission(
                reqid: Reqid(number), hostname: hostname, signingRequest: SigningRequest(der: certificateRequest.der), nonce: nonce,
                code: confirmationCode(csrPEM: Array(request.csr.utf8)), sourceAddress: address,
                suggested: Reachability(
                    lookup: request.lookupBy.flatMap { Reachability.Lookup(rawValue: $0.rawValue) }, address: suggestedAddress,
                    port: request.port.flatMap { UInt16(exactly: $0) })))
    }
}

/// An IPv4 or IPv6 address in numbers.
func isAddressLiteral(_ text: String) -> Bool {
    guard (1...45).contains(text.utf8.count) else { return false }
    // Parsing is the check; what is wrong with it is of no interest.
    return (try? SocketAddress(ipAddress: text, port: 0)) != nil
}

/// Lets so many through in any one second.
package final class SubmissionGate: Sendable {
    private let perSecond: Int
    private let clock = ContinuousClock()
    private let recent = Mutex<[ContinuousClock.Instant]>([])

    package init(perSecond: Int) { self.perSecond = perSecond }

    package func admit() -> Bool {
        let now = clock.now
        return recent.withLock { recent in
            recent.removeAll { $0.advanced(by: .seconds(1)) <= now }
            guard recent.count < perSecond else { return false }
            recent.append(now)
            return true
        }
    }
}

extension PairRequest {
    /// Nil if a field has a type that it cannot have.
    fileprivate init?(_ json: JSONValue) {
        func text(_ key: String) -> String?? {
            switch json[key] {
            case nil, .some(.null): .some(nil)
            case .some(let value): value.scalarText.map { .some($0) }
            }
        }
        guard let hostname = text("hostname"), let csr = text("csr"), let nonce = text("nonce") else { return nil }
        self.init(
            hostname: hostname ?? "", csr: csr ?? "", nonce: nonce,
            lookupBy: json["lookup_by"]?.scalarText.flatMap(LookupBy.init(rawValue:)),
            port: json["port"]?.scalarText.flatMap(Int64.init).flatMap { (1...65_535).contains($0) ? $0 : nil },
            ip: json["ip"]?.scalarText)
    }
}

extension HTTPResponse {
    fileprivate init(_ answer: PairAnswer) {
        let body: JSONValue =
            switch answer {
            case .pending(let reqid): .record(["status": .text("pending"), "reqid": .text(reqid)])
            case .error(let reason): .record(["status": .text("error"), "reason": .text(reason)])
            case .denied(let reason): .record(["status": .text("denied"), "reason": .text(reason)])
            case .approved(let approval):
                .record([
                    "status": .text("approved"), "cert": .text(approval.cert), "ca": .text(approval.ca), "nonce": .text(approval.nonce),
                    "dispatcher_serial": .text(approval.dispatcherSerial), "dispatcher_id": approval.dispatcherID.map { .text($0) },
                ])
            }
        self.init(status: 200, json: body.bytes)
    }
}
