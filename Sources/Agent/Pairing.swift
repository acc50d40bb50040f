// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How an agent gets its certificate (protocol page, 7): one request, an answer at once, and another when an operator has decided.
// The dispatcher is trusted on first use; the six digits that agent and operator compare bind the request to the approval.

import CtrlExec
import Glibc
import NIOCore
import NIOPosix
import PKI
import Platform
import Transport

package struct Pairing: Sendable {
    package enum KeyType: String, CaseIterable, Sendable {
        case p256
        case rsa3072
        case rsa4096

        func generate() throws -> PrivateKey {
            switch self {
            case .p256: try .generateP256()
            case .rsa3072: try .generateRSA(bits: 3_072)
            case .rsa4096: try .generateRSA(bits: 4_096)
            }
        }
    }

    /// How a pairing ended without success.
    package enum Failure: Error, Sendable, CustomStringConvertible {
        /// The dispatcher, or our own check of its answer, said no.
        case denied(String)
        case timedOut(seconds: Int)
        case other(AgentFailure)

        package var description: String {
            switch self {
            case .denied(let reason): "pairing was refused: \(reason)"
            case .timedOut(let seconds): "nobody decided within \(seconds) seconds; ask the operator and run cea request-pairing again"
            case .other(let failure): failure.description
            }
        }
    }

    /// What became of it.
    package struct Paired: Sendable {
        package let reqid: String
        package let dispatcher: String
        package let certificate: Certificate
    }

    package var layout: AgentLayout
    package var dispatcherHost: String
    package var dispatcherPort = 7444
    /// The agent's own serving port; nil: that of agent.conf, else 7443.
    package var port: UInt16?
    package var lookupBy: LookupBy?
    /// Nil: what the host is called.
    package var hostname: String?
    package var keyType = KeyType.rsa3072
    package var timeoutSeconds = Limits.pairingClientSeconds

    package init(layout: AgentLayout, dispatcherHost: String) {
        self.layout = layout
        self.dispatcherHost = dispatcherHost
    }

    /// - Parameters:
    ///   - code: told the confirmation code before anything is sent.
    ///   - pending: told the reqid when the request waits for the operator.
    package func run(
        on group: any EventLoopGroup, log: AgentLog, code: @Sendable (String) -> Void, pending: @Sendable (String) -> Void
    ) async throws(Failure) -> Paired {
        do {
            return try await pair(group, log, code, pending)
        } catch let failure as Failure {
            switch failure {
            case .denied(let reason): log.warning("pair-denied", ("DISPATCHER_HOST", dispatcherHost), ("REASON", reason))
            case .timedOut: log.warning("pair-timeout", ("DISPATCHER_HOST", dispatcherHost))
            case .other: break
            }
            throw failure
        } catch let failure as AgentFailure {
            throw .other(failure)
        } catch {
            throw .other(AgentFailure(.failed, "\(error)"))
        }
    }

    private func pair(_ group: any EventLoopGroup, _ log: AgentLog, _ code: (String) -> Void, _ pending: (String) -> Void) async throws
        -> Paired
    {
        guard let name = AgentName(hostname ?? AgentHost.name) else {
            throw AgentFailure(
                .usage, "'\(hostname ?? AgentHost.name)' is no agent name (letters, digits, '.', '_', '-'); give one with --hostname")
        }
        let existing = try layout.configurationIfPresent()
        let configuration = existing ?? layout.defaultConfiguration(port: port ?? 7443)
        try prepare(configuration)
        let endpoint = Endpoint.tcp(host: dispatcherHost, port: dispatcherPort)
        let ownAddress = try await probe(group, endpoint)

        let key = try keyType.generate()
        let csr = try CertificateRequest.make(key: key, commonName: name.text).pem
        let nonce = hexadecimal(try SystemRandom.bytes(16))
        // Port 0 is chosen when the agent serves; the dispatcher can only be told a real one.
        let servedPort = port ?? (configuration.port == 0 ? 7443 : configuration.port)
        let request = PairRequest(
            hostname: name.text, csr: String(decoding: csr, as: UTF8.self), nonce: nonce, lookupBy: lookupBy, port: Int64(servedPort),
            ip: ownAddress)
        code(confirmationCode(csrPEM: csr))

        let (reqid, approval, peer) = try await exchange(request, group, endpoint, pending)
        guard approval.nonce == nonce else { throw Failure.denied(PairingReasons.nonceMismatch) }
        let certificate: Certificate
        let roots: [Certificate]
        do {
            certificate = try Certificate(pem: Array(approval.cert.utf8))
            roots = try Certificate.all(inPEM: Array(approval.ca.utf8))
            guard key.matches(certificate) else { throw PKIFailure("it is not for our key") }
            try verify(chain: [certificate], roots: roots, at: nil)
        } catch {
            throw Failure.denied("the certificate that came is unusable: \(error)")
        }
        try store(approval, key: key, configuration: configuration, isNew: existing == nil, peer: peer)
        log.info(
            "pair-complete", ("STATUS", "paired"), ("DISPATCHER", approval.dispatcherID ?? approval.dispatcherSerial),
            ("DISPATCHER_HOST", dispatcherHost), ("REQID", reqid))
        return Paired(reqid: reqid, dispatcher: approval.dispatcherID ?? approval.dispatcherSerial, certificate: certificate)
    }

    /// Before any network use: the places that will be written to.
    private func prepare(_ configuration: AgentConfiguration) throws {
        do throws(FileProblem) {
            if let directory = layout.directory { try AgentFiles.makeDirectory(directory, mode: 0o700) }
        } catch { throw AgentFailure(.permission, error.description) }
        for path in Set([configuration.cert, configuration.key, configuration.ca].map(AgentFiles.directory(of:))).sorted()
        where access(path, W_OK) != 0 {
            let advice = errno == ENOENT ? "make it" : "run as root"
            throw AgentFailure(
                .permission, "cannot write to \(path): \(String(cString: strerror(errno))) (\(advice), or use --directory DIR)")
        }
    }

    /// A plain connection that is closed at once tells early that nobody listens, and from which address we dial.
    private func probe(_ group: any EventLoopGroup, _ endpoint: Endpoint) async throws -> String? {
        do {
            let channel = try await ClientBootstrap(group: group)
                .connectTimeout(.seconds(5))
                .channelInitializer { channel in channel.eventLoop.makeCompletedFuture { try channel.closeOnExec() } }
                .connect(host: dispatcherHost, port: dispatcherPort)
                .get()
            let address = RemoteAddress(channel.localAddress).ip
            try await channel.close()
            return address
        } catch {
            let advice = "is a pairing session open there ('ced pairing-mode start')?"
            throw AgentFailure(.noMemberReachable, "cannot reach \(endpoint): \(words(error)); \(advice)")
        }
    }

    private func exchange(_ request: PairRequest, _ group: any EventLoopGroup, _ endpoint: Endpoint, _ pending: (String) -> Void)
        async throws
        -> (reqid: String, approval: PairApproval, peer: Peer?)
    {
        var settings = OneRequestClient.Settings()
        settings.readTimeout = .seconds(Int64(timeoutSeconds))
        let client = OneRequestClient(group: group, tls: TLSClient(identity: nil, policy: .anyone), settings: settings)
        let outgoing = OutgoingRequest(method: "POST", path: "/pair", body: AgentJSON.encode(request))
        var reqid: String?
        do {
            for try await reply in client.responses(to: outgoing, from: endpoint, count: 2) {
                guard let answer = AgentJSON.decodeIfPossible(PairAnswer.self, reply.body) else {
                    throw Failure.denied("the dispatcher's answer is no pairing answer (status code \(reply.status))")
                }
                switch answer {
                case .pending(let id) where reqid == nil && !id.isEmpty:
                    reqid = id
                    pending(id)
                case .approved(let approval):
                    guard let reqid else { throw Failure.denied("approved before it was pending") }
                    return (reqid, approval, reply.peer)
                case .denied(let reason), .error(let reason): throw Failure.denied(reason)
                case .pending: throw Failure.denied("the dispatcher did not say under which id the request waits")
                }
            }
            throw Failure.denied("the dispatcher closed the connection without a decision")
        } catch ExchangeFailure.timeout(.response) where reqid != nil {
            throw Failure.timedOut(seconds: timeoutSeconds)
        } catch let failure as ExchangeFailure {
            if reqid == nil { throw AgentFailure(.noMemberReachable, "cannot pair with \(endpoint): \(failure)") }
            throw Failure.denied("the connection ended before a decision: \(failure)")
        }
    }

    /// In the original's order: certificate, key, CA, then the map; at last what an agent needs to be served, if it is not there.
    private func store(_ approval: PairApproval, key: PrivateKey, configuration: AgentConfiguration, isNew: Bool, peer: Peer?) throws {
        let owner = layout.owner
        let privateMode: UInt32 = layout.directory == nil ? 0o640 : 0o600
        do {
            try AgentFiles.replace(configuration.cert, with: Array(approval.cert.utf8), mode: 0o640, owner: owner?.files)
            try AgentFiles.replace(configuration.key, with: key.pem, mode: privateMode, owner: owner?.files)
            try AgentFiles.replace(configuration.ca, with: Array(approval.ca.utf8), mode: 0o644, owner: owner?.files)
            try AgentFiles.makeDirectory(AgentFiles.directory(of: configuration.trustedDispatchers), mode: 0o750, owner: owner?.state)
            let serials = Pairing.serials(approval, presented: peer?.serial)
            let dispatcher = DispatcherID(sanitising: approval.dispatcherID.flatMap { $0.isEmpty ? nil : $0 } ?? approval.dispatcherSerial)
            _ = try AgentState.editMap(configuration.trustedDispatchers, owner: owner?.state) { trusted in
                for serial in serials { trusted.add(serial, dispatcher) }
            }
            try AgentFiles.makeDirectory(configuration.runsDirectory, mode: 0o750, owner: owner?.state)
            if isNew {
                let text = layout.configurationText(configuration)
                try AgentFiles.replace(layout.configuration, with: Array(text.utf8), mode: 0o644)
            }
            if !DurableFile.exists(layout.allowlist) {
                let text = "# What dispatchers may run here, one 'name = /absolute/path' a line. Reload with SIGHUP.\n"
                try AgentFiles.replace(layout.allowlist, with: Array(text.utf8), mode: 0o644)
            }
        } catch let failure as FileProblem {
            throw AgentFailure(.permission, "paired, but \(failure)")
        }
    }

    /// The serial of the certificate that was presented is the dispatcher's true one. The text in the answer may name a newer identity of it;
    /// it counts if it is long enough to be no sequential number, whose text is ambiguous (4.5).
    static func serials(_ approval: PairApproval, presented: SerialNumber?) -> [SerialNumber] {
        let told = SerialNumber(notation: approval.dispatcherSerial)
        guard let presented else { return told.map { [$0] } ?? [] }
        guard let told, told != presented, told.bytes.count >= 8 else { return [presented] }
        return [presented, told]
    }
}

/// What the system said of a connection that did not come about.
private func words(_ error: any Error) -> String {
    if let error = error as? NIOConnectionError {
        return error.connectionErrors.first.map { words($0.error) } ?? "no address is known for \(error.host)"
    }
    if let error = error as? IOError { return String(cString: strerror(error.errnoCode)) }
    if case ChannelError.connectTimeout? = error as? ChannelError { return "no connection in time" }
    return "\(error)"
}
