// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who is let in, and what the others hear.

import Agent
import CtrlExec
import NIOCore
import NIOPosix
import PKI
import Testing
import Transport

@Suite(.timeLimit(.minutes(2))) struct GateTests {
    private let mismatch = #"{"error":"serial mismatch","status":"forbidden"}"#

    @Test("a certificate that is not in the map is refused, whoever signed it; so is nobody at all") func mapGate() async throws {
        let agent = try await TestAgent(scripts: [("hello", "echo ran > \"$0.ran\"")])
        for identity in [agent.fleet.stranger, nil] {
            for (method, path) in [("POST", "/run"), ("POST", "/ping"), ("POST", "/rotate-serial"), ("GET", "/result/0123456789abcdef")] {
                let reply = try await agent.call(method, path, method == "POST" ? Array(#"{"script":"hello"}"#.utf8) : nil, as: identity)
                #expect(reply.status == 403)
                #expect(String(decoding: reply.bytes, as: UTF8.self) == mismatch)
            }
            let capabilities = try await agent.call("GET", "/capabilities", nil, as: identity)
            #expect(capabilities.status == 403)
            #expect(String(decoding: capabilities.bytes, as: UTF8.self) == #"{"error":"forbidden"}"#)
        }
        #expect(throws: (any Error).self) { try agent.directory.read("scripts/hello.ran") }
        await agent.stop()
    }

    @Test("a revoked certificate is refused before anything else, also on paths that do not exist") func revoked() async throws {
        let agent = try await TestAgent()
        try agent.directory.write("revoked-serials", "5C:01:00:00:00:00:00:01 # lost\n")
        #expect(try await agent.post("/ping", "{}").status == 200)
        agent.server.reload()
        for path in ["/ping", "/renew", "/nope"] {
            let reply = try await agent.post(path, "{}")
            #expect(reply.status == 403)
            #expect(reply["error"] == "certificate revoked")
        }
        await agent.stop()
    }

    @Test("paths must match exactly", arguments: ["/nope", "/capabilities?x=1", "/result/", "/result/a/b", "/health"])
    func notFound(_ path: String) async throws {
        let agent = try await TestAgent()
        let reply = try await agent.get(path)
        #expect(reply.status == 404)
        #expect(reply["error"] == "not found")
        await agent.stop()
    }

    @Test("the thirty-third header and the byte after a mebibyte are refused, and the agent goes on") func limits() async throws {
        let agent = try await TestAgent()
        let headers: [HTTPHeader] = (1...33).map { ("X-\($0)", "y") }
        let many = try await agent.call("GET", "/capabilities", nil, as: agent.fleet.dispatcher, headers: headers)
        #expect(many.status == 431)
        #expect(many["error"] == "too many headers")
        let large = try await agent.call("POST", "/run", Array(repeating: 32, count: Limits.bodyBytes + 1), as: agent.fleet.dispatcher)
        #expect(large.status == 413)
        #expect(large["error"] == "request too large")
        #expect(try await agent.post("/ping", "{}").status == 200)
        await agent.stop()
    }

    @Test("connections that never become TLS do not stop the agent") func badHandshakes() async throws {
        let agent = try await TestAgent(extra: "rate_limit_probe = 0/600/3600")
        for bytes in ["", "GET / HTTP/1.0\r\n\r\n", "\u{16}\u{3}\u{1}"] {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(
                host: "127.0.0.1", port: agent.server.port
            )
            .get()
            if !bytes.isEmpty { try await channel.writeAndFlush(ByteBuffer(string: bytes)) }
            // The agent may have closed it already.
            try? await channel.close()
        }
        let foreign = try TestFleet.identity("ctrl-exec-dispatcher", "5c01000000000001", TestFleet.authority("another CA"))
        await #expect(throws: (any Error).self) { try await agent.call("POST", "/ping", [], as: foreign) }
        #expect(try await agent.post("/ping", "{}").status == 200)
        await agent.stop()
    }

    @Test("an address that came too often without a trusted certificate is shut out; a dispatcher from the same address is not")
    func rateLimit() async throws {
        let agent = try await TestAgent(extra: "rate_limit_volume = 2/600/600")
        for _ in 0..<2 { #expect(try await agent.call("POST", "/ping", [], as: agent.fleet.stranger).status == 403) }
        await #expect(throws: ExchangeFailure.self) { try await agent.call("POST", "/ping", [], as: agent.fleet.stranger) }
        for _ in 0..<20 { #expect(try await agent.post("/ping", "{}").status == 200) }
        agent.server.reload()
        #expect(try await agent.call("POST", "/ping", [], as: agent.fleet.stranger).status == 403)
        await agent.stop()
    }

    @Test("handshakes that fail block the address, but not a dispatcher at it") func probes() async throws {
        let agent = try await TestAgent(extra: "rate_limit_probe = 1/600/600")
        let foreign = try TestFleet.identity("ctrl-exec-dispatcher", "5c01000000000001", TestFleet.authority("another CA"))
        await #expect(throws: ExchangeFailure.self) { try await agent.call("POST", "/ping", [], as: foreign) }
        await #expect(throws: ExchangeFailure.self) {
            // The failure is counted when the agent notices it, which may be after the client did.
            while true { _ = try await agent.call("POST", "/ping", [], as: agent.fleet.stranger) }
        }
        #expect(try await agent.post("/ping", "{}").status == 200)
        await agent.stop()
    }

    @Test("an address outside allowed_ips is closed without an answer") func allowedAddresses() async throws {
        let agent = try await TestAgent(extra: "allowed_ips = 192.0.2.0/24")
        await #expect(throws: ExchangeFailure.self) { try await agent.post("/ping", "{}") }
        await agent.stop()
    }
}
