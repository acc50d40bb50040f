// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who gets in: chain, role, revocation, at the handshake, after it and at the request; on both ends of a connection.

import CtrlExec
import NIOCore
import NIOPosix
import PKI
import Testing

@testable import Transport

@Suite("The peer check", .timeLimit(.minutes(1))) struct PeerCheckTests {
    let fleet: Fleet
    init() throws { fleet = try Fleet() }

    private func membersOnly(_ policy: TrustPolicy? = nil) async throws -> TestListener {
        let server = TLSServer(identity: try fleet.member("server"), clients: .required(policy ?? fleet.members()))
        return try await TestListener(tls: { server })
    }

    @Test("both ends know each other after the handshake")
    func knowsBoth() async throws {
        let port = try await membersOnly()
        let reply = try await client(fleet.member("b"), trusting: fleet.members(id: "server")).exchange(ping, with: local(port.port))
        #expect(reply.status == 200)
        #expect(reply.peer?.role == .member(cluster: "c1", id: "server"))
        #expect(reply.peer?.authority == .cluster)
        let request = try #require(port.requests.value.first)
        #expect(request.peer?.role == .member(cluster: "c1", id: "b"))
        #expect(request.remoteAddress.ip == "127.0.0.1")
        #expect(request.body == Array("{}".utf8))
        await port.stop()
    }

    @Test("a wrong role, a foreign authority, an expired certificate and none at all end in the handshake, with the reason in our report")
    func refuses() async throws {
        let foreign = try Fleet()
        let cases: [(identity: TLSIdentity?, reason: String)] = [
            (try fleet.operatorIdentity(), "operator alice (the cluster CA, serial"),
            (try fleet.agent(), "unable to get local issuer certificate"),
            (try foreign.member("b"), "unable to get local issuer certificate"),
            (try fleet.identity("x", role: .member(cluster: "c2", id: "b"), by: fleet.clusterCA), "is not a member of this cluster"),
            (try fleet.identity("x", role: nil, by: fleet.clusterCA), "is not a member of this cluster"),
            (try fleet.identity("x", role: .member(cluster: "c1", id: "b"), by: fleet.fleetCA), "unable to get local issuer certificate"),
            (try fleet.member("b", until: start + 10), "certificate has expired"),
            (nil, "peer did not return a certificate"),
        ]
        let port = try await membersOnly()
        for entry in cases {
            let failure = await client(entry.identity, trusting: fleet.members()).failure(with: local(port.port))
            // The server may be gone, with a reset, before the client has read the alert.
            switch failure {
            case .handshake?, .closedWithoutResponse(requestSent: true)?: break
            default: Issue.record("\(entry.reason): \(String(describing: failure))")
            }
            let incident = try #require(await port.nextIncident())
            #expect(incident.description.contains(entry.reason), "\(incident)")
        }
        #expect(port.requests.value.isEmpty)
        let reply = try await client(fleet.member("b"), trusting: fleet.members()).exchange(ping, with: local(port.port))
        #expect(reply.status == 200, "a failed handshake never stops the port")
        await port.stop()
    }

    @Test("validity is not checked where the policy says so")
    func toleratesClocks() async throws {
        let policy = TrustPolicy.members(of: "c1", roots: [fleet.clusterCA.certificate], validity: .unchecked, now: { start + 5000 * day })
        let server = TLSServer(identity: try fleet.member("server"), clients: .required(policy))
        let port = try await TestListener(tls: { server })
        let reply = try await client(fleet.member("b", until: start + 10), trusting: policy).exchange(ping, with: local(port.port))
        #expect(reply.status == 200)
        await port.stop()
    }

    @Test("a removed member is turned away by the same policy")
    func asksForMore() async throws {
        let removed = Box<[String]>([])
        let port = try await membersOnly(
            .members(of: "c1", roots: [fleet.clusterCA.certificate], now: testTime, alsoRequiring: { !removed.value.contains($0) }))
        let member = try fleet.member("b")
        #expect(try await client(member, trusting: fleet.members()).exchange(ping, with: local(port.port)).status == 200)
        removed.value = ["b"]
        #expect(
            await client(member, trusting: fleet.members()).failure(with: local(port.port)) != nil)
        #expect(port.requests.value.count == 1)
        await port.stop()
    }

    @Test("a certificate is asked for but not demanded where it is optional, and checked when presented")
    func optional() async throws {
        let server = TLSServer(identity: try fleet.member("server"), clients: .optional(fleet.operations()))
        let port = try await TestListener(tls: { server })
        #expect(try await client(nil, trusting: fleet.members()).exchange(ping, with: local(port.port)).status == 200)
        #expect(try await client(fleet.operatorIdentity(), trusting: fleet.members()).exchange(ping, with: local(port.port)).status == 200)
        #expect(port.requests.value.map { $0.peer?.role } == [nil, .operator(cluster: "c1", name: "alice")])
        #expect(
            try await client(fleet.agent(), trusting: fleet.members()).failure(with: local(port.port)) != nil)
        #expect(port.requests.value.count == 2)
        await port.stop()
    }

    @Test("a role counts only from the authority that may give it")
    func authorityFirst() throws {
        let policy = TrustPolicy.anyRole(cluster: [fleet.clusterCA.certificate], fleet: [fleet.fleetCA.certificate], now: testTime)
        func role(_ role: CertificateRole?, by authority: Authority) throws -> Peer {
            try policy.examine(
                fleet.identity("x", role: role, by: authority).chain, from: RemoteAddress(ip: "127.0.0.1", port: 1))
        }
        let member = CertificateRole.member(cluster: "c1", id: "a")
        let dispatcher = CertificateRole.dispatcher(cluster: "c1")
        #expect(try role(member, by: fleet.clusterCA).role == member)
        #expect(try role(member, by: fleet.fleetCA).role == nil)
        #expect(try role(.operator(cluster: "c1", name: "a"), by: fleet.fleetCA).role == nil)
        #expect(try role(dispatcher, by: fleet.fleetCA).role == dispatcher)
        #expect(try role(dispatcher, by: fleet.clusterCA).role == nil)
        #expect(try role(nil, by: fleet.fleetCA).authority == .fleet)
    }

    @Test("a client checks the server's role as strictly, and sends nothing to the wrong one")
    func checksServers() async throws {
        let cases: [(identity: TLSIdentity, policy: TrustPolicy)] = [
            (try fleet.agent(), fleet.members()), (try fleet.operatorIdentity(), fleet.members()),
            (try fleet.member("b"), fleet.members(id: "a")),
            (try fleet.member("a"), fleet.agents()), (try Fleet().agent(), fleet.agents()),
            (try fleet.identity("x", role: .member(cluster: "c1", id: "a"), by: fleet.fleetCA), fleet.agents()),
            (try fleet.identity("x", role: .dispatcher(cluster: "c1"), by: fleet.fleetCA), fleet.agents()),
        ]
        for entry in cases {
            let server = TLSServer(identity: entry.identity, clients: .none)
            let port = try await TestListener(tls: { server })
            let failure = await client(nil, trusting: entry.policy).failure(with: local(port.port))
            guard case .wrongPeer? = failure else {
                Issue.record("\(entry.identity): \(String(describing: failure))")
                continue
            }
            #expect(failure?.requestSent == false)
            #expect(port.requests.value.isEmpty)
            await port.stop()
        }
    }

    @Test("a client that trusts on first use reads whoever it is")
    func trustsAnyone() async throws {
        let server = TLSServer(identity: try Fleet().agent(), clients: .none)
        let port = try await TestListener(tls: { server })
        let reply = try await client(nil, trusting: .anyone).exchange(ping, with: local(port.port))
        #expect(reply.peer?.serial == server.identity.certificate.serial)
        #expect(reply.peer?.authority == .unverified)
        #expect(reply.peer?.role == nil)
        await port.stop()
    }

    @Test("an agent with an X.509 version 1 RSA leaf, as the original makes it, is accepted")
    func acceptsVersion1() async throws {
        let scratch = try Scratch()
        try await scratch.openssl([
            "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "3650", "-subj",
            "/CN=ctrl-exec CA",
        ])
        try await scratch.openssl(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "a.key", "-out", "a.csr", "-subj", "/CN=old"])
        try await scratch.openssl([
            "x509", "-req", "-in", "a.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", "2", "-days", "825", "-out", "a.crt",
        ])
        let root = try Certificate(pem: scratch.read("ca.crt"))
        let leaf = try Certificate(pem: scratch.read("a.crt"))
        let server = TLSServer(
            identity: try TLSIdentity(chain: [leaf], key: PrivateKey(pem: scratch.read("a.key"))),
            clients: .required(.fleet(roots: [root], now: { leaf.notBefore + 1 })))
        let port = try await TestListener(tls: { server })
        let reply = try await client(server.identity, trusting: .agents(roots: [root], now: { leaf.notBefore + 1 })).exchange(
            ping, with: local(port.port))
        #expect(reply.status == 200)
        #expect(reply.peer?.certificate.commonName == "old")
        await port.stop()
    }

    @Test("a certificate revoked between handshake and request is answered with 403, and the handler never sees it")
    func revokedBeforeRequest() async throws {
        let isRevoked = Box(false)
        let server = TLSServer(identity: try fleet.member("server"), clients: .required(fleet.members(isRevoked: { _ in isRevoked.value })))
        let port = try await TestListener(tls: { server }) { configuration in
            // Asked between the two.
            configuration.admitPeer = { _, peer in
                isRevoked.value = true
                return peer != nil
            }
        }
        let reply = try await client(fleet.member("b"), trusting: fleet.members()).exchange(ping, with: local(port.port))
        #expect(reply.status == 403)
        #expect(port.requests.value.isEmpty)
        #expect(await port.nextIncident()?.description.contains("is revoked") == true)
        await port.stop()
    }

    @Test("a certificate revoked while its request is worked on loses the connection, and nobody else does")
    func revokedWhileServed() async throws {
        let revocations = RevocationList()
        let server = TLSServer(
            identity: try fleet.member("server"), clients: .required(fleet.members(isRevoked: { revocations.contains($0) })))
        let (started, tellStarted) = AsyncStream.makeStream(of: Void.self)
        let (finishes, finish) = AsyncStream.makeStream(of: Void.self)
        let port = try await TestListener.answering(tls: { server }) { request, writer in
            tellStarted.yield(())
            if request.peer?.role == .member(cluster: fleet.cluster, id: "b") {
                await writer.closed
            } else {
                for await _ in finishes { break }
                await writer.send(HTTPResponse(status: 200, json: Array("done".utf8)))
            }
        }
        revocations.onChange { port.listener.recheckPeers() }
        let (revoked, honest) = (try fleet.member("b"), try fleet.member("c"))
        async let gone = client(revoked, trusting: fleet.members()).failure(with: local(port.port))
        async let answered = client(honest, trusting: fleet.members()).exchange(ping, with: local(port.port))
        var starts = started.makeAsyncIterator()
        for _ in 0..<2 { _ = await starts.next() }
        revocations.replace(with: [revoked.certificate.serial])
        #expect(await gone == .closedWithoutResponse(requestSent: true))
        finish.finish()
        #expect(try await answered.body == Array("done".utf8))
        #expect(await port.nextIncident()?.description.contains("is revoked") == true)
        // And does not come back.
        #expect(await client(revoked, trusting: fleet.members()).failure(with: local(port.port)) != nil)
        #expect(try await client(honest, trusting: fleet.members()).exchange(ping, with: local(port.port)).status == 200)
        await port.stop()
    }

    @Test("the identity may change while the port is open")
    func changesIdentity() async throws {
        let identities = Box([try fleet.member("first"), try fleet.member("second")])
        let port = try await TestListener(tls: { TLSServer(identity: identities.value[0], clients: .none) })
        #expect(try await client(nil, trusting: fleet.members(id: "first")).exchange(ping, with: local(port.port)).status == 200)
        identities.change { $0.removeFirst() }
        #expect(try await client(nil, trusting: fleet.members(id: "second")).exchange(ping, with: local(port.port)).status == 200)
        await port.stop()
    }
}

@Suite("Session tickets", .timeLimit(.minutes(1))) struct ResumptionTests {
    let fleet: Fleet
    let scratch: Scratch
    init() throws {
        fleet = try Fleet()
        scratch = try Scratch()
    }

    /// Connects, sends one request, writes or presents a session; what `s_client` says.
    private func connect(_ port: Int, _ version: String, _ session: [String], certificate: Bool) async throws -> String {
        try await scratch.openssl(
            ["s_client", "-connect", "127.0.0.1:\(port)", version, "-ign_eof"] + session
                + (certificate ? ["-cert", "c.crt", "-key", "c.key"] : []),
            input: "GET / HTTP/1.0\r\n\r\n")
    }

    @Test("a ticket does not resume on our ports, and a revoked peer stays out", arguments: ["-tls1_3", "-tls1_2"])
    func doesNotResume(version: String) async throws {
        let revoked = Box<SerialNumber?>(nil)
        let server = TLSServer(identity: try fleet.member("server"), clients: .required(fleet.members(isRevoked: { $0 == revoked.value })))
        let port = try await TestListener(tls: { server })
        let member = try fleet.member("b")
        try scratch.write(member)

        let first = try await connect(port.port, version, ["-sess_out", "session"], certificate: true)
        #expect(first.contains("{\"ok\":true}"), "\(first)")
        #expect(try !scratch.read("session").isEmpty, "there is a session to present")
        let second = try await connect(port.port, version, ["-sess_in", "session"], certificate: true)
        #expect(second.contains("\nNew, TLS") && !second.contains("\nReused"), "\(second)")
        #expect(second.contains("{\"ok\":true}"))

        revoked.value = member.certificate.serial
        for certificate in [true, false] {
            let third = try await connect(port.port, version, ["-sess_in", "session"], certificate: certificate)
            #expect(!third.contains("{\"ok\":true}") && !third.contains("\nReused"), "\(third)")
        }
        #expect(port.requests.value.count == 2)
        await port.stop()
    }

    @Test(
        "with a context that is shared the same ticket does resume, and the check after the handshake still refuses it",
        arguments: ["-tls1_3", "-tls1_2"])
    func secondLock(version: String) async throws {
        let revoked = Box<SerialNumber?>(nil)
        let server = TLSServer(identity: try fleet.member("server"), clients: .required(fleet.members(isRevoked: { $0 == revoked.value })))
        let shared = try TLSFactory.context(for: server)
        let (outcomes, continuation) = AsyncStream.makeStream(of: String.self)
        let channel = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandlers(
                        TLSFactory.handlers(for: server, context: shared, from: RemoteAddress(channel.remoteAddress), timeout: .seconds(10))
                    )
                    try pipeline.addHandler(OutcomeHandler { continuation.yield($0) })
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        let member = try fleet.member("b")
        try scratch.write(member)
        var iterator = outcomes.makeAsyncIterator()

        let first = try await connect(port, version, ["-sess_out", "session"], certificate: true)
        #expect(first.contains("\nNew, TLS"), "\(first)")
        #expect(await iterator.next() == "secured as member b")
        revoked.value = member.certificate.serial
        let second = try await connect(port, version, ["-sess_in", "session"], certificate: false)
        #expect(second.contains("\nReused, TLS"), "the trap is there: \(second)")
        #expect(await iterator.next() == "an earlier session was resumed, without a certificate on this connection")
        try await channel.close()
    }
}

/// Says how the handshake ended, answers the first bytes and closes.
private final class OutcomeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let tell: @Sendable (String) -> Void
    init(_ tell: @escaping @Sendable (String) -> Void) { self.tell = tell }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let secured = event as? Secured else { return }
        tell("secured as \(secured.peer?.role?.description ?? "nobody")")
    }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "HTTP/1.0 200 OK\r\n\r\n")), promise: nil)
        context.close(promise: nil)
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let failure = error as? HandshakeFailure { tell("\(failure)") }
    }
}
