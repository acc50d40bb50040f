// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Pairing against a dispatcher that says what the test wants: both answers on one connection, as real ones send them.

import Agent
import CtrlExec
import Glibc
import NIOCore
import NIOPosix
import PKI
import Platform
import Synchronization
import Testing
import Transport

@Suite(.timeLimit(.minutes(2))) struct PairingTests {
    /// The two answers to a request that is pending, or the only one.
    private typealias Script = @Sendable (PairRequest, TestFleet) throws -> [PairAnswer]

    static func approval(_ request: PairRequest, _ fleet: TestFleet, nonce: String? = nil, serial: String = "5c01000000000001")
        throws
        -> PairAnswer
    {
        let certificate = try TestFleet.certificate(CertificateRequest(pem: Array(request.csr.utf8)), "5ca0000000000009", fleet.authority)
        return .approved(
            PairApproval(
                cert: String(decoding: try certificate.pem, as: UTF8.self),
                ca: String(decoding: try fleet.authority.certificate.pem, as: UTF8.self), nonce: nonce ?? request.nonce ?? "",
                dispatcherSerial: serial, dispatcherID: "disp-one"))
    }

    private func dispatcher(_ fleet: TestFleet, seen: @escaping @Sendable (PairRequest) -> Void = { _ in }, _ script: @escaping Script)
        async throws
        -> HTTPListener
    {
        let configuration = HTTPListenerConfiguration(address: .tcp(host: "127.0.0.1", port: 0)) {
            TLSServer(identity: fleet.dispatcher, clients: .none)
        }
        return try await HTTPListener.start(configuration, on: MultiThreadedEventLoopGroup.singleton) { request, writer in
            guard let ask = AgentJSON.decodeIfPossible(PairRequest.self, request.body), let answers = try? script(ask, fleet) else {
                return writer.close()
            }
            seen(ask)
            for (index, answer) in answers.enumerated() {
                await writer.send(HTTPResponse(status: 200, json: AgentJSON.encode(answer)), last: index == answers.count - 1)
            }
        }
    }

    private func pairing(_ directory: TemporaryDirectory, _ listener: HTTPListener) throws -> Pairing {
        var pairing = Pairing(layout: AgentLayout(directory: directory.path), dispatcherHost: "127.0.0.1")
        pairing.dispatcherPort = try unwrapped(listener.port)
        pairing.hostname = "web-1.example"
        pairing.keyType = .p256
        pairing.lookupBy = .ip
        pairing.port = 17_443
        return pairing
    }

    private func pair(_ pairing: Pairing) async throws(Pairing.Failure) -> (Pairing.Paired, code: String, reqid: String) {
        let code = Mutex("")
        let reqid = Mutex("")
        let paired = try await pairing.run(on: MultiThreadedEventLoopGroup.singleton, log: TestAgent.quiet) { text in
            code.withLock { $0 = text }
        } pending: { text in
            reqid.withLock { $0 = text }
        }
        return (paired, code.withLock { $0 }, reqid.withLock { $0 })
    }

    @Test("an approved agent has everything that it needs to serve") func approved() async throws {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        let asked = Mutex<PairRequest?>(nil)
        let listener = try await dispatcher(fleet, seen: { request in asked.withLock { $0 = request } }) { request, fleet in
            [.pending(reqid: "1f621788b33700b3"), try PairingTests.approval(request, fleet)]
        }
        let (paired, code, reqid) = try await pair(pairing(directory, listener))
        await listener.stop(drain: .zero)
        let request = try unwrapped(asked.withLock { $0 })
        #expect(request.hostname == "web-1.example" && request.lookupBy == .ip && request.port == 17_443 && request.ip == "127.0.0.1")
        #expect(request.nonce?.utf8.count == 32)
        #expect(code == confirmationCode(csrPEM: Array(request.csr.utf8)))
        #expect(reqid == "1f621788b33700b3" && paired.reqid == reqid && paired.dispatcher == "disp-one")
        var status = stat()
        #expect(stat(directory.path + "/agent.key", &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(
            TrustedDispatchers(text: try directory.read("ctrl-exec-dispatchers")).entries.map(\.serial.hexadecimal) == ["5c01000000000001"])
        #expect(
            SelfCheck(layout: AgentLayout(directory: directory.path)).pairing(
                try unwrapped(AgentLayout(directory: directory.path).configurationIfPresent())
            ).isFine)

        try directory.write("agent.conf", try directory.read("agent.conf").replacing("port = 17443", with: "port = 0"))
        let state = try AgentState(layout: AgentLayout(directory: directory.path), log: TestAgent.quiet)
        let server = try await AgentServer.start(
            AgentService(state: state, launcher: .task), listen: "127.0.0.1", on: MultiThreadedEventLoopGroup.singleton)
        let client = OneRequestClient(
            group: MultiThreadedEventLoopGroup.singleton,
            tls: TLSClient(identity: fleet.dispatcher, policy: .agents(roots: [fleet.authority.certificate])))
        let reply = try await client.exchange(
            OutgoingRequest(method: "POST", path: "/ping", body: Array(#"{"reqid":"1"}"#.utf8)),
            with: .tcp(host: "127.0.0.1", port: server.port))
        #expect(try AgentJSON.decode(PingAnswer.self, reply.body).host == "web-1.example")
        #expect(try directory.read("port") == "\(server.port)\n")
        await server.stop(drainSeconds: 0)
    }

    @Test("pairing again with a second dispatcher keeps the first one in the map, and the configuration as it is") func secondDispatcher()
        async throws
    {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        try directory.write("ctrl-exec-dispatchers", "5c02000000000002 disp-two\n")
        let listener = try await dispatcher(fleet) { request, fleet in
            [.pending(reqid: "1f621788b33700b3"), try PairingTests.approval(request, fleet, serial: "5c01000000000077")]
        }
        _ = try await pair(pairing(directory, listener))
        let configuration = try directory.read("agent.conf")
        try directory.write("agent.conf", configuration + "# mine\n")
        _ = try await pair(pairing(directory, listener))
        #expect(try directory.read("agent.conf").hasSuffix("# mine\n"))
        // The certificate that was presented, and the newer identity that the answer names.
        #expect(
            TrustedDispatchers(text: try directory.read("ctrl-exec-dispatchers")).entries.map { "\($0.serial) \($0.dispatcher)" } == [
                "5c01000000000001 disp-one", "5c01000000000077 disp-one", "5c02000000000002 disp-two",
            ])
        await listener.stop(drain: .zero)
    }

    @Test("a refusal stores nothing", arguments: ["nonce", "denied", "full", "key", "closed", "unasked"]) func refused(_ kind: String)
        async throws
    {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        let listener = try await dispatcher(fleet) { request, fleet in
            let pending = PairAnswer.pending(reqid: "1f621788b33700b3")
            switch kind {
            case "nonce": return [pending, try PairingTests.approval(request, fleet, nonce: "00000000000000000000000000000000")]
            case "denied": return [pending, .denied(reason: PairingReasons.rejectedByOperator)]
            case "full": return [.error(reason: PairingReasons.queueFull)]
            case "closed": return []
            case "unasked": return [try PairingTests.approval(request, fleet)]
            default:
                var other = request
                other.csr = String(decoding: try CertificateRequest.make(key: .generateP256(), commonName: "x").pem, as: UTF8.self)
                return [pending, try PairingTests.approval(other, fleet)]
            }
        }
        let pairing = try pairing(directory, listener)
        let failure = await #expect(throws: Pairing.Failure.self) { try await pair(pairing) }
        let expected = [
            "nonce": "pairing was refused: nonce mismatch in pairing result", "denied": "pairing was refused: rejected by operator",
            "full": "pairing was refused: pairing queue full",
            "key": "pairing was refused: the certificate that came is unusable: it is not for our key",
            "unasked": "pairing was refused: approved before it was pending",
        ]
        if let text = expected[kind] { #expect(failure?.description == text) }
        for name in ["agent.key", "agent.crt", "ca.crt", "ctrl-exec-dispatchers"] {
            #expect(!DurableFile.exists("\(directory.path)/\(name)"))
        }
        await listener.stop(drain: .zero)
    }

    @Test("where nobody listens, the failure says so before a key is made") func nobody() async throws {
        let directory = try TemporaryDirectory()
        var pairing = Pairing(layout: AgentLayout(directory: directory.path), dispatcherHost: "127.0.0.1")
        pairing.dispatcherPort = 1
        pairing.hostname = "web"
        let failure = await #expect(throws: Pairing.Failure.self) { try await pair(pairing) }
        #expect(failure?.description.hasPrefix("cannot reach 127.0.0.1:1: ") == true)
        guard case .other(let reason)? = failure else {
            Issue.record("\(String(describing: failure))")
            return
        }
        #expect(reason.exitCode == .noMemberReachable)
        #expect(!DurableFile.exists(directory.path + "/agent.key"))
    }
}
