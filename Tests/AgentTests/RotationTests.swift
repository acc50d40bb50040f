// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which dispatcher certificates are obeyed, and the agent's own renewal.

import Agent
import CtrlExec
import PKI
import Testing
import Transport

@Suite(.timeLimit(.minutes(2))) struct RotationTests {
    @Test("a serial that is added is obeyed at once, a serial that is removed no longer") func addAndRemove() async throws {
        let agent = try await TestAgent()
        let next = try TestFleet.identity("ctrl-exec-dispatcher", "5c01000000000010", agent.fleet.authority)
        #expect(try await agent.post("/ping", "{}", as: next).status == 403)
        let added = try await agent.post("/rotate-serial", #"{"serial":"5C:01:00:00:00:00:00:10","action":"add"}"#)
        #expect(
            String(decoding: added.bytes, as: UTF8.self)
                == #"{"action":"add","dispatcher":"disp-one","serial":"5C:01:00:00:00:00:00:10","status":"ok"}"#)
        #expect(try await agent.post("/ping", "{}", as: next).status == 200)
        #expect(try await agent.post("/rotate-serial", #"{"serial":"5c01000000000001","action":"remove"}"#, as: next)["status"] == "ok")
        #expect(try await agent.post("/ping", "{}").status == 403)
        #expect(
            TrustedDispatchers(text: try agent.directory.read("ctrl-exec-dispatchers")).entries.map(\.serial.hexadecimal) == [
                "5c01000000000010"
            ])
        await agent.stop()
    }

    @Test(
        "what cannot be done is said in the original's words",
        arguments: [
            (#"{"serial":"abc","action":"zap"}"#, "invalid action 'zap'"), (#"{"action":"add"}"#, "serial required"),
            (#"{"serial":"","action":"add"}"#, "serial required"), ("notjson", "serial required"),
            (#"{"serial":"5c02000000000002","action":"remove"}"#, "serial not owned by 'disp-two'"),
            (#"{"serial":"5c02000000000002"}"#, "serial not owned by 'disp-two'"),
            (#"{"serial":"nothex!"}"#, "'nothex!' is not a serial number"),
        ])
    func refusals(_ body: String, _ error: String) async throws {
        let agent = try await TestAgent(trustsOther: true)
        let before = try agent.directory.read("ctrl-exec-dispatchers")
        let reply = try await agent.post("/rotate-serial", body)
        #expect(reply.status == 200)
        #expect(reply["status"] == "error" && reply["error"] == error)
        #expect(TrustedDispatchers(text: try agent.directory.read("ctrl-exec-dispatchers")) == TrustedDispatchers(text: before))
        await agent.stop()
    }

    @Test(
        "the rotation script of 0.9 needs nobody to install it",
        arguments: [
            (["5c01000000000010", "disp-one"], 0), (["5c01000000000010"], 0), (["--remove", "5c01000000000001"], 0),
            (["--remove", "77777777"], 0), ([], 1), (["1234567"], 1), (["5c0100000000001x"], 1), (["5c01000000000010", "disp-two"], 1),
            (["--remove", "5c02000000000002"], 1), (["--remove"], 1),
        ] as [([String], Int)])
    func updateScript(_ arguments: [String], _ exit: Int) async throws {
        let agent = try await TestAgent(trustsOther: true)
        let reply = try await agent.run("update-ctrl-exec-serial", arguments)
        #expect(reply["exit"] == String(exit))
        let next = try TestFleet.identity("ctrl-exec-dispatcher", "5c01000000000010", agent.fleet.authority)
        #expect(try await agent.post("/ping", "{}", as: next).status == (exit == 0 && arguments[0] == "5c01000000000010" ? 200 : 403))
        #expect(try await agent.post("/ping", "{}").status == (exit == 0 && arguments[1...].first == "5c01000000000001" ? 403 : 200))
        await agent.stop()
    }

    @Test(
        "for tests of dispatchers it is told as 0.8 or 0.9 were",
        arguments: [
            (AgentDialect.single, ["5c01000000000010"], 0, "0.8.4"), (.single, ["5c01000000000010", "disp-one"], 1, "0.8.4"),
            (.script, ["5c01000000000010", "disp-one"], 0, "0.9.4"), (.script, ["5c01000000000010"], 1, "0.9.4"),
        ] as [(AgentDialect, [String], Int, String)])
    func olderDialects(_ dialect: AgentDialect, _ arguments: [String], _ exit: Int, _ version: String) async throws {
        let agent = try await TestAgent(dialect: dialect)
        #expect(try await agent.post("/ping", "{}")["version"] == version)
        #expect(try await agent.post("/rotate-serial", #"{"serial":"5c01000000000010"}"#).status == 404)
        #expect(try await agent.run("update-ctrl-exec-serial", arguments)["exit"] == String(exit))
        let next = try TestFleet.identity("ctrl-exec-dispatcher", "5c01000000000010", agent.fleet.authority)
        #expect(try await agent.post("/ping", "{}", as: next).status == (exit == 0 ? 200 : 403))
        // 0.8 keeps the last serial that it was told, and no other.
        #expect(try await agent.post("/ping", "{}").status == (exit == 0 && dialect == .single ? 403 : 200))
        await agent.stop()
    }

    @Test("a script of that name in the allowlist is run instead") func ownScript() async throws {
        let agent = try await TestAgent(scripts: [("update-ctrl-exec-serial", "echo mine")])
        #expect(try await agent.run("update-ctrl-exec-serial", ["5c01000000000010"])["stdout"] == "mine\n")
        await agent.stop()
    }

    @Test("a renewed certificate is staged if it is for our key and from our CA, and adopted at the next start") func renewal() async throws
    {
        let agent = try await TestAgent()
        let asked = try await agent.post("/renew", #"{"reqid":"r0r0"}"#)
        #expect(asked["status"] == "ok" && asked["reqid"] == "r0r0")
        let request = try CertificateRequest(pem: Array(unwrapped(asked["csr"]).utf8))
        #expect(request.commonName == "agent.example")
        func complete(_ certificate: Certificate) async throws -> TestAgent.Reply {
            let body = RenewCompleteRequest(cert: String(decoding: try certificate.pem, as: UTF8.self), ca: "ignored", reqid: "r1")
            return try await agent.call("POST", "/renew-complete", AgentJSON.encode(body), as: agent.fleet.dispatcher)
        }
        let other = try CertificateRequest.make(key: .generateP256(), commonName: "agent.example")
        let wrongKey = try await complete(TestFleet.certificate(other, "5ca0000000000002", agent.fleet.authority))
        #expect(wrongKey["error"] == "renewed cert public key does not match the agent key")
        let foreign = try await complete(TestFleet.certificate(request, "5ca0000000000002", TestFleet.authority("ctrl-exec CA")))
        #expect(foreign["error"] == "renewed cert does not verify against the agent CA")
        let earlier = try await complete(TestFleet.certificate(request, "5ca0000000000002", agent.fleet.authority, lifetime: 30_000))
        #expect(earlier["error"] == "renewed cert does not expire later than the live cert")
        #expect(try await agent.post("/renew-complete", "{}")["error"] == "cert required")
        #expect(try await agent.post("/ping", "{}")["staged"] == "0")

        let staged = try await complete(TestFleet.certificate(request, "5ca0000000000002", agent.fleet.authority, lifetime: 50_000))
        #expect(String(decoding: staged.bytes, as: UTF8.self) == #"{"reqid":"r1","staged":true,"status":"ok"}"#)
        #expect(try await agent.post("/ping", "{}")["staged"] == "1")
        #expect(agent.state.current.identity.certificate.serial.hexadecimal == "5ca0000000000001")
        await agent.stop()

        let again = try await TestAgent(in: agent.directory, of: agent.fleet)
        #expect(again.state.current.identity.certificate.serial.hexadecimal == "5ca0000000000002")
        #expect(try await again.post("/ping", "{}")["staged"] == "0")
        await again.stop()
    }

    @Test("a staged certificate that ends before the live one is not adopted") func olderStaged() async throws {
        let agent = try await TestAgent()
        await agent.stop()
        let request = try CertificateRequest.make(key: agent.state.current.identity.key, commonName: "agent.example")
        let older = try TestFleet.certificate(request, "5ca0000000000002", agent.fleet.authority, lifetime: 30_000)
        try AgentFiles.replace(agent.state.configuration.stagedCertificate, with: older.pem, mode: 0o640)
        let again = try await TestAgent(in: agent.directory, of: agent.fleet)
        #expect(again.state.current.identity.certificate.serial.hexadecimal == "5ca0000000000001")
        #expect(try await again.post("/ping", "{}")["staged"] == "0")
        await again.stop()
    }
}
