// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// 7444 as an agent sees it: the two answers on one connection, and every way in which it ends otherwise (protocol page, 7).

import AgentLink
import Coordinator
import CtrlExec
import DispatcherState
import NIOCore
import NIOPosix
import PKI
import Testing
import Transport

@Suite("Pairing on 7444")
struct PortsPairingTests {
    /// An agent's connection: its request sent, its answers to come.
    private struct Agent {
        let key: PrivateKey
        var replies: AsyncThrowingStream<HTTPReply, any Error>.AsyncIterator

        init(_ open: OpenPorts, name: String = "web-1", changing members: [JSONValue.Member] = []) throws {
            let key = try PrivateKey.generateP256()
            let pem = String(decoding: try CertificateRequest.make(key: key, commonName: "web-1").pem, as: UTF8.self)
            let body = JSONValue.object(
                members: [
                    .init("hostname", .text(name)), .init("csr", .text(pem)), .init("nonce", .text("e647a43d80eaade1a7ea989e4404086f")),
                    .init("port", .text("17443")), .init("lookup_by", .text("ip")), .init("ip", .text("192.0.2.9")),
                ] + members)
            try self.init(open, key: key, body: body.bytes)
        }

        init(_ open: OpenPorts, key: PrivateKey? = nil, body: [UInt8]) throws {
            self.key = try key ?? PrivateKey.generateP256()
            let client = OneRequestClient(
                group: MultiThreadedEventLoopGroup.singleton, tls: TLSClient(identity: nil, policy: .anyone))
            replies = client.responses(
                to: OutgoingRequest(method: "POST", path: "/pair", body: body),
                from: .tcp(host: "127.0.0.1", port: try #require(open.ports.pairing.port)), count: 2
            ).makeAsyncIterator()
        }

        mutating func next() async throws -> JSONValue {
            let reply = try #require(try await replies.next())
            #expect(reply.status == 200)
            return reply.json
        }
    }

    private func queued(_ open: OpenPorts) async throws -> QueuedPairing {
        try #require(await open.front.appliedState().pairings.first)
    }

    @Test("pending at once, approved on the same connection: certificate, CA, nonce, serial and id as ctrl-exec has them")
    func approved() async throws {
        try await OpenPorts.with { open in
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            var agent = try Agent(open)
            let pending = try await agent.next()
            let pairing = try await queued(open)
            #expect(pending == .record(["status": .text("pending"), "reqid": .text(pairing.submission.reqid.description)]))
            #expect(pairing.submission.suggested == Reachability(lookup: .ip, address: "192.0.2.9", port: 17443))
            #expect(pairing.submission.sourceAddress == "127.0.0.1")
            let listed = try await open.askPlainly("GET", "/v1/pairing/requests", on: open.socket).json
            #expect(listed["open"] == .boolean(true) && listed["requests"]?.count == 1)

            let answer = try await open.askPlainly(
                "POST", "/v1/pairing/requests/\(pairing.submission.reqid)/approve", on: open.socket, .record(["port": .integer(18443)]))
            #expect(answer.status == 200 && answer.json["agent"] == .text("web-1"))
            let approved = try await agent.next()
            guard case .object(let members) = approved else { throw Surprise("not an object") }
            #expect(members.map(\.key) == ["ca", "cert", "dispatcher_id", "dispatcher_serial", "nonce", "status"])
            #expect(approved["status"] == .text("approved") && approved["nonce"] == .text("e647a43d80eaade1a7ea989e4404086f"))
            #expect(approved["dispatcher_id"] == .text("disp-one"))
            #expect(approved["dispatcher_serial"] == .text(open.front.dispatcher.certificate.serial.hexadecimal))
            let certificate = try Certificate(pem: Array((approved["cert"]?.scalarText ?? "").utf8))
            #expect(agent.key.matches(certificate) && certificate.commonName == "web-1" && certificate.role == nil)
            let roots = try Certificate.all(inPEM: Array((approved["ca"]?.scalarText ?? "").utf8))
            try verify(chain: [certificate], roots: roots, at: 1_800_000_000)
            #expect(try await agent.replies.next() == nil)

            // What the operator said wins over what the agent suggested.
            let agents = try await open.askPlainly("GET", "/v1/agents", on: open.socket).json
            guard case .array(let records) = agents["agents"], let record = records.first else { throw Surprise("no record") }
            #expect(record["port"] == .integer(18443) && record["ip"] == .text("192.0.2.9") && record["lookup_by"] == .text("ip"))
            #expect(record["serial_status"] == .text("current"))
        }
    }

    @Test("denied through another member: the one that holds the connection answers")
    func denied() async throws {
        try await OpenPorts.with { open in
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            var agent = try Agent(open)
            _ = try await agent.next()
            await open.front.apply(.denyPairing(try await queued(open).submission.reqid), .client("deny"))
            #expect(try await agent.next() == .record(["status": .text("denied"), "reason": .text("rejected by operator")]))
        }
    }

    @Test("nobody decides for ten minutes: approval timeout")
    func expired() async throws {
        try await OpenPorts.with { open in
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            var agent = try Agent(open)
            _ = try await agent.next()
            await open.front.pass(milliseconds: 700_000)
            #expect(try await agent.next() == .record(["status": .text("denied"), "reason": .text("approval timeout")]))
        }
    }

    @Test("an agent that goes away leaves nobody waiting")
    func gone() async throws {
        try await OpenPorts.with { open in
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            do {
                var agent = try Agent(open)
                _ = try await agent.next()
                try await eventually("the port waits for the decision") { await open.front.waitingForDecisions == 1 }
            }
            // The stream ended with its iterator, and the connection with it.
            try await eventually("the port has given up") { await open.front.waitingForDecisions == 0 }
        }
    }

    @Test("without a session: pairing not open")
    func closed() async throws {
        try await OpenPorts.with { open in
            var agent = try Agent(open)
            #expect(try await agent.next() == .record(["status": .text("error"), "reason": .text("pairing not open")]))
        }
    }

    @Test("the eleventh request waits outside: pairing queue full")
    func full() async throws {
        try await OpenPorts.with { open in
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            let key = try PrivateKey.generateP256()
            let der = try CertificateRequest.make(key: key, commonName: "x").der
            for number in 0..<10 {
                let submission = PairingSubmission(
                    reqid: Reqid(UInt64(number)), hostname: try #require(AgentName("h\(number)")), signingRequest: SigningRequest(der: der),
                    nonce: "", code: "000000", sourceAddress: "192.0.2.1", suggested: Reachability())
                await open.front.apply(.submitPairing(submission), by: .pairingHost(address: "192.0.2.1"), .client("submit-\(number)"))
            }
            var agent = try Agent(open)
            #expect(try await agent.next() == .record(["status": .text("error"), "reason": .text("pairing queue full")]))
        }
    }

    @Test(
        "what is no request is refused in ctrl-exec's words",
        arguments: [
            ("{", "invalid request"), ("[]", "invalid request"), ("{}", "invalid request"), (#"{"hostname":"web"}"#, "invalid request"),
            (#"{"hostname":"0","csr":"x"}"#, "invalid request"), (#"{"hostname":"../etc","csr":"x"}"#, "invalid hostname"),
            (#"{"hostname":"web","csr":"x"}"#, "invalid request"), (#"{"hostname":"web","csr":["x"]}"#, "invalid request"),
            (#"{"hostname":"web","csr":""# + String(repeating: "x", count: 70_000) + #""}"#, "request too large"),
        ])
    func malformed(body: String, reason: String) async throws {
        try await OpenPorts.with { open in
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            var agent = try Agent(open, body: Array(body.utf8))
            #expect(try await agent.next() == .record(["status": .text("error"), "reason": .text(reason)]))
            #expect(await open.front.performed.isEmpty)
        }
    }

    @Test("the sixth submission in a second is closed without a byte")
    func rateLimit() async throws {
        let gate = SubmissionGate(perSecond: PairingPort.submissionsPerSecond)
        #expect((0..<20).map { _ in gate.admit() }.filter { $0 }.count == 5)
        try await OpenPorts.with { open in
            // Refusals count as well: the checks cost more than the counting.
            var outcomes: [Bool] = []
            while outcomes.allSatisfy({ $0 }), outcomes.count < 200 {
                var agent = try Agent(open, body: Array("{}".utf8))
                do {
                    outcomes.append(try await agent.replies.next() != nil)
                } catch ExchangeFailure.closedWithoutResponse {
                    outcomes.append(false)
                }
            }
            #expect(outcomes.prefix(5).allSatisfy { $0 })
            #expect(outcomes.contains(false))
        }
    }

    @Test("a plain TCP probe that closes at once does no harm")
    func probe() async throws {
        try await OpenPorts.with { open in
            for _ in 0..<20 {
                let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .connect(host: "127.0.0.1", port: try #require(open.ports.pairing.port)).get()
                try await channel.close()
            }
            var agent = try Agent(open)
            #expect(try await agent.next()["reason"] == .text("pairing not open"))
        }
    }
}
