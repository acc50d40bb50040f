// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The requests of real dispatchers, replayed: our answers carry the same fields, and the same values where they are not ours to choose.

import Agent
import CtrlExec
import PKI
import Testing
import TraceFixtures

@Suite(.timeLimit(.minutes(2))) struct ReplayTests {
    /// Fields whose values are the answering agent's own.
    private let own: Set<String> = ["version", "expiry", "host", "csr", "started", "finished", "stdout", "scripts"]

    @Test(
        "an answer to a 0.12 dispatcher is shaped as the original's",
        arguments: [
            "12-bad-args.txt", "12-bad-json.txt", "12-capabilities-openssl.txt", "12-notfound.txt", "12-ping-json.txt", "12-ping.txt",
            "12-renew-direct.txt", "12-result-unknown.txt", "12-rotate-serial-direct.txt", "12-run-async.txt", "12-run-exit3.txt",
            "12-run-json.txt", "12-run-notallowed.txt", "12-run-user-token.txt", "12-run.txt",
        ])
    func replay(_ name: String) async throws {
        let agent = try await TestAgent(
            scripts: [
                ("hello", "echo hello args=\"$*\"; cat"), ("fail", "exit 1"), ("fail3", "echo out; echo err >&2; exit 3"),
                ("slow", "sleep 0"),
            ],
            extra: "[tags]\nrole = peer\nenv = test")
        try agent.directory.write(
            "scripts/hello.schema.json",
            #"{"name":"hello","version":"1.2","description":"say hello","arguments":[{"name":"who","type":"string"}]}"#)
        agent.server.reload()
        let parts = try Trace(name: name).parts
        let request = try unwrapped(parts.first)
        let expected = try unwrapped(parts.dropFirst().first)
        let words = request.firstLine.split(separator: " ").map(String.init)
        let reply = try await agent.call(words[0], words[1], request.body.isEmpty ? nil : request.body, as: agent.fleet.dispatcher)
        #expect(reply.status == expected.statusCode)
        let real = try AgentJSON.decode(JSONValue.self, expected.body)
        #expect(members(reply.json).map(\.key) == members(real).map(\.key))
        for member in members(real) where !own.contains(member.key) {
            #expect(reply.json[member.key] == member.value, "\(name) \(member.key)")
        }
        if case .array(let scripts)? = real["scripts"], case .array(let ours)? = reply.json["scripts"] {
            #expect(ours.count == scripts.count)
            for (script, our) in zip(scripts, ours) {
                #expect(members(script).map(\.key) == members(our).map(\.key))
                for member in members(script) where member.key != "path" { #expect(our[member.key] == member.value) }
            }
        }
        if let expiry = reply["expiry"] { #expect(OpenSSLTime.unixSeconds(expiry) != nil) }
        await agent.stop()
    }

    private func members(_ json: JSONValue) -> [JSONValue.Member] { if case .object(let members) = json { members } else { [] } }

    @Test("the answer begins with the bytes that real agents send") func head() async throws {
        let agent = try await TestAgent()
        let answer = await agent.service.answer(
            AgentRequest(
                method: "GET", path: "/nope", body: [], serial: SerialNumber(hexadecimal: "5c01000000000001"), address: "127.0.0.1"))
        let real = try unwrapped(try Trace(name: "12-notfound.txt").parts.last)
        #expect(answer.body == real.body)
        await agent.stop()
    }

    @Test("a schema without a version gets the hash of its canonical form, one that is no object is left out") func schemas() async throws {
        let agent = try await TestAgent(scripts: [("a", "exit 0"), ("b", "exit 0")])
        try agent.directory.write("scripts/a.schema.json", #"{ "b" : 1, "a" : [ true, null ] }"#)
        try agent.directory.write("scripts/b.schema.json", "[1]")
        agent.server.reload()
        let reply = try await agent.get("/capabilities")
        let answer = try AgentJSON.decode(CapabilitiesAnswer.self, reply.bytes)
        #expect(answer.scripts[0].schemaVersion == "sha256:" + hexadecimal(sha256(Array(#"{"a":[true,null],"b":1}"#.utf8))).prefix(12))
        #expect(answer.scripts[1].schema == nil && answer.scripts[1].schemaVersion == nil)
        #expect(answer.version.hasPrefix("cea"))
        await agent.stop()
    }
}
