// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced revoke` over real connections: who is turned away, and what the answer says.

import AgentLink
import Consensus
import Coordinator
import CtrlExec
import DispatcherState
import NIOCore
import PKI
import Testing
import Transport

@Suite("Revocation at the ports")
struct PortsRevocationTests {
    private func revoke(_ open: OpenPorts, _ members: KeyValuePairs<String, JSONValue?>, as identity: TLSIdentity) async throws -> HTTPReply
    {
        try await open.ask("POST", "/v1/revocations", .record(members), as: identity)
    }

    @Test("an operator that is revoked is not let into the handshake any more; the answer names who has not applied it")
    func operators() async throws {
        try await OpenPorts.with { open in
            let (alice, bob) = (try await open.makeOperator("alice"), try await open.makeOperator("bob"))
            #expect(try await open.ask("GET", "/v1/agents", as: bob).status == 200)
            let reply = try await revoke(open, ["target": .text("bob"), "reason": .text("laptop stolen")], as: alice)
            #expect(reply.status == 200)
            #expect(reply.json.list("revoked").map { $0.text("serial") } == [bob.certificate.serial.hexadecimal])
            #expect(reply.json.list("revoked").map { $0.text("name") } == ["bob"])
            // The third member of this cluster never reports.
            #expect(reply.json.list("not_applied") == [.text("c")])
            await #expect(throws: ExchangeFailure.self) { _ = try await open.ask("GET", "/health", as: bob) }
            #expect(try await open.ask("GET", "/v1/agents", as: alice).status == 200)
            let listed = try await open.ask("GET", "/v1/revocations", as: alice).json.list("revocations")
            #expect(listed.map { $0.text("reason") } == ["laptop stolen"])
        }
    }

    @Test("a serial, with colons and in capitals; said once more it is the same entry")
    func serials() async throws {
        try await OpenPorts.with { open in
            let (alice, bob) = (try await open.makeOperator("alice"), try await open.makeOperator("bob"))
            let serial = bob.certificate.serial.hexadecimal.uppercased()
            let pairs = stride(from: 0, to: serial.count, by: 2).map { String(Array(serial)[$0...$0 + 1]) }.joined(separator: ":")
            let first = try await revoke(open, ["target": .text(pairs), "reason": .text("lost")], as: alice)
            let second = try await revoke(open, ["target": .text("serial=" + serial), "reason": .text("found out twice")], as: alice)
            #expect(first.status == 200 && second.status == 200)
            #expect(first.json["index"] == second.json["index"])
            #expect(second.json.list("revoked").map { $0.text("reason") } == ["lost"])
        }
    }

    @Test("an agent that is revoked is not dialled, and says so in its result and in the list")
    func agents() async throws {
        try await OpenPorts.with { open in
            let alice = try await open.makeOperator("alice")
            try await open.pair("web-1")
            #expect(try await revoke(open, ["target": .text("web-1"), "reason": .text("broken into")], as: alice).status == 200)
            let ping = try await open.ask("POST", "/v1/ping", .record(["hosts": .array([.text("web-1")])]), as: alice)
            #expect(ping.json.list("results").first?.text("error").contains("is revoked") == true, "\(ping.json)")
            #expect(try await open.ask("GET", "/v1/agents", as: alice).json.list("agents").first?["revoked"] == .boolean(true))
        }
    }

    @Test("words that mean nothing, or two things, are answered with what to say instead")
    func unclear() async throws {
        try await OpenPorts.with { open in
            let alice = try await open.makeOperator("web-1")
            try await open.pair("web-1")
            let why = JSONValue.text("why")
            #expect(try await revoke(open, ["target": .text("web-1"), "reason": why], as: alice).status == 409)
            #expect(try await revoke(open, ["target": .text("nobody"), "reason": why], as: alice).status == 404)
            #expect(try await revoke(open, ["target": .text("beef"), "reason": why], as: alice).status == 404)
            #expect(try await revoke(open, ["target": .text("beef"), "kind": .text("serial"), "reason": why], as: alice).status == 200)
            #expect(try await revoke(open, ["target": .text("xyz"), "kind": .text("serial"), "reason": why], as: alice).status == 400)
            #expect(try await revoke(open, ["target": .text("web-1")], as: alice).status == 400)
            #expect(try await revoke(open, ["reason": why], as: alice).status == 400)
            #expect(
                try await revoke(open, ["target": .text("web-1"), "reason": .text("two\nlines"), "kind": .text("agent")], as: alice).status
                    == 400)
            // The members' own certificates are another matter.
            #expect(try await revoke(open, ["target": .text("5c01"), "kind": .text("serial"), "reason": why], as: alice).status == 400)
            #expect(try await revoke(open, ["target": .text("web-1"), "kind": .text("agent"), "reason": why], as: alice).status == 200)
        }
    }
}

extension JSONValue {
    fileprivate func text(_ key: String) -> String { self[key]?.scalarText ?? "" }
    fileprivate func list(_ key: String) -> [JSONValue] { if case .array(let elements) = self[key] { elements } else { [] } }
}
