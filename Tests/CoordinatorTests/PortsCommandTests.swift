// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The client commands as people and scripts meet them: the built `ced` against real ports, its exit codes, its two streams, its files.

import AgentLink
import Coordinator
import CtrlExec
import DispatcherState
import Foundation
import NIOCore
import NIOPosix
import PKI
import Testing
import Transport

/// What a command left behind.
struct Finished: Sendable {
    let code: Int32
    let out: String
    let error: String
    var json: JSONValue { JSONValue(bytes: Array(out.utf8)) ?? .null }
}

/// Runs the `ced` that was built beside this test.
func ced(_ arguments: [String], environment: [String: String] = [:]) async throws -> Finished {
    let binary = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "ced")
    let process = Process()
    process.executableURL = binary
    process.arguments = arguments
    process.environment = ["PATH": "/usr/bin:/bin", "USER": "tester"].merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    let (out, error) = (Pipe(), Pipe())
    process.standardOutput = out
    process.standardError = error
    return try await withCheckedThrowingContinuation { continuation in
        do {
            try process.run()
        } catch {
            return continuation.resume(throwing: error)
        }
        // Waiting blocks a thread: it gets one of its own.
        Thread.detachNewThread {
            let errorText = Thread.reading(error)
            let text = String(decoding: out.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            continuation.resume(returning: Finished(code: process.terminationStatus, out: text, error: errorText()))
        }
    }
}

extension Thread {
    /// Reads a pipe to its end beside the caller, so that neither stream can fill up.
    fileprivate static func reading(_ pipe: Pipe) -> () -> String {
        let done = DispatchSemaphore(value: 0)
        let box = TextBox()
        Thread.detachNewThread {
            box.text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            done.signal()
        }
        return {
            done.wait()
            return box.text
        }
    }
}

/// Written before the semaphore is signalled, read after it was waited for.
private final class TextBox: @unchecked Sendable {
    var text = ""
}

@Suite("Client commands")
struct PortsCommandTests {
    @Test(
        "empty lists are sentences for people and empty arrays for programs", arguments: ["list-agents", "list-requests", "list-operators"])
    func emptyLists(command: String) async throws {
        try await OpenPorts.with { open in
            let text = try await ced([command, "--socket", open.socketPath])
            #expect(text.code == 0 && text.out.hasSuffix(".\n") && text.out.hasPrefix("No "))
            let json = try await ced([command, "--json"], environment: ["CED_SOCKET": open.socketPath])
            #expect(json.code == 0 && json.out == "[]\n")
        }
    }

    @Test(
        "what cannot be meant ends with 64 and leaves standard output alone",
        arguments: [
            ["run"], ["run", "host"], ["run", "host", "no/script"], ["ping"], ["approve", "xyz"], ["deny"], ["pairing-mode", "pause"],
            ["pairing-mode", "start", "--seconds", "601"], ["edit-agent", "web"], ["unpair", "-web"],
            ["issue-operator", "a b", "--out", "x"],
            ["issue-operator", "bob"], ["list-agents", "--endpoints", "a:7443"], ["list-agents", "--identity", "/nowhere"],
            ["list-agents", "--endpoints", "a:b:c", "--identity", "/nowhere"], ["list-agents", "--endpoints", "a:1", "--socket", "/x"],
            ["list-agents", "--endpoints", "a:1", "--identity", "/nowhere"], ["list-agents", "--timeout", "0"],
            ["unpair", "web", "--request-id", "a b"], ["cluster", "nonsense"],
        ])
    func usage(arguments: [String]) async throws {
        let finished = try await ced(arguments)
        #expect(finished.code == 64, "\(finished.error)")
        #expect(finished.out.isEmpty && !finished.error.isEmpty)
    }

    @Test("--version says the release, and the commit if the build was told it")
    func version() async throws {
        let finished = try await ced(["--version"])
        #expect(finished.code == 0 && finished.error.isEmpty)
        #expect(finished.out.wholeMatch(of: /ced [0-9]+\.[0-9]+\.[0-9]+( \([0-9A-Za-z+._-]+\))?\n/) != nil, "\(finished.out)")
        if let commit = ProcessInfo.processInfo.environment["CED_COMMIT"] {
            #expect(finished.out == "ced \(Release.described(commit: commit))\n")
        }
    }

    @Test("no socket: 69, and what to do about it")
    func noSocket() async throws {
        let finished = try await ced(["list-agents", "--socket", "/nonexistent/ced.sock"])
        #expect(finished.code == 69 && finished.out.isEmpty)
        #expect(
            finished.error
                == "ced: cannot reach a member: /nonexistent/ced.sock does not exist (is ced running here? or give --endpoints and --identity)\n"
        )
        let json = try await ced(["list-agents", "--json", "--socket", "/nonexistent/ced.sock"])
        #expect(json.code == 69 && json.json["ok"] == .boolean(false))
    }

    @Test("ced run prints what ctrl-exec prints, and its exit code says whether every host did well")
    func run() async throws {
        try await OpenPorts.with { open in
            let agent = try await PlayedAgent(open, name: "web-1") { request in
                let run = try? RunRequest(JSONValue(bytes: request.body) ?? .null)
                let good = run?.script == "hello"
                return .record([
                    "script": .text(run?.script ?? ""), "exit": .integer(good ? 0 : 3),
                    "stdout": .text(good ? "\(run?.username ?? "") \((run?.args ?? []).joined(separator: "|"))\n" : ""),
                    "stderr": .text(good ? "" : "no such luck\n"), "reqid": .text(run?.reqid ?? ""),
                ])
            }
            let connection = ["--socket", open.socketPath]
            let good = try await ced(["run", "web-1", "hello"] + connection + ["--", "a", "b c", "--json"])
            #expect(good.code == 0 && good.error.isEmpty)
            let line = /==> web-1  \[OK  exit:0  [0-9]+ms  req:[0-9a-f]{16}\]\ntester a\|b c\|--json\n/
            #expect(try line.wholeMatch(in: good.out) != nil, "\(good.out)")

            let bad = try await ced(["run", "web-1", "other"] + connection)
            #expect(bad.code == 1)
            #expect(
                try /==> web-1  \[FAIL  exit:3  [0-9]+ms  req:[0-9a-f]{16}\]\n    STDERR: no such luck\n/.wholeMatch(in: bad.out) != nil)

            let json = try await ced(["run", "web-1", "hello", "--json"] + connection)
            #expect(json.code == 0 && json.error.isEmpty)
            guard case .array(let results) = json.json["results"] else { throw Surprise("no results: \(json.out)") }
            #expect(results.count == 1 && results[0]["host"] == .text("web-1") && results[0]["exit"] == .integer(0))

            let unknown = try await ced(["run", "web-1", "web-2", "hello"] + connection)
            #expect(unknown.code == 1 && unknown.out.isEmpty && unknown.error == "ced: not a registered agent: web-2\n")
            await agent.stop()

            let gone = try await ced(["run", "web-1", "hello"] + connection)
            #expect(gone.code == 1 && gone.out.contains("    ERROR: connection refused on port \(agent.port)\n"))
        }
    }

    @Test("without a leader: 75, and the exact command that finds out what happened")
    func noLeader() async throws {
        try await OpenPorts.with { open in
            await open.front.loseLeader()
            let arguments = ["pairing-mode", "start", "--timeout", "0.3", "--socket", open.socketPath]
            let lost = try await ced(arguments)
            #expect(lost.code == 75 && lost.out.isEmpty)
            let line = try #require(lost.error.split(separator: "\n").last { $0.contains("--request-id") })
            let words = line.split(separator: " ").map(String.init)
            #expect(Array(words.dropFirst().dropLast(2)) == arguments)
            await open.front.regainLeader()
            let found = try await ced(Array(words.dropFirst()))
            #expect(found.code == 0 && found.out == "A pairing session is open for another 600 s.\n")
        }
    }

    @Test("an operator's identity is made, works, and is the same when it is asked for again under its id")
    func issueOperator() async throws {
        try await OpenPorts.with { open in
            let out = open.path("bob")
            let arguments = ["issue-operator", "bob", "--out", out, "--socket", open.socketPath, "--request-id", "bob-1", "--json"]
            let first = try await ced(arguments)
            #expect(first.code == 0 && first.error.isEmpty && first.json["name"] == .text("bob"))
            let modes = try ["operator.key", "operator.crt", "ca.crt"].map { name in
                try FileManager.default.attributesOfItem(atPath: "\(out)/\(name)")[.posixPermissions] as? Int
            }
            #expect(modes == [0o600, 0o644, 0o644])
            let again = try await ced(arguments)
            #expect(again.code == 0 && again.json["serial"] == first.json["serial"])
            let other = try await ced(["issue-operator", "bob", "--out", out, "--socket", open.socketPath])
            #expect(other.code == 64 && other.error.contains("operator.crt exists already"))

            // By certificate, and past a member that is not there.
            let port = try #require(open.ports.operations.port)
            let remote = ["--endpoints", "127.0.0.1:1,127.0.0.1:\(port)", "--identity", out]
            let list = try await ced(["list-operators", "--json"] + remote)
            #expect(list.code == 0 && list.json.count == 1)
            let byEnvironment = try await ced(
                ["cluster", "status"], environment: ["CED_ENDPOINTS": "127.0.0.1:\(port)", "CED_IDENTITY": out])
            #expect(byEnvironment.code == 0 && byEnvironment.out.contains("the cluster survives no further failure"))
            let dead = try await ced(["list-agents", "--endpoints", "127.0.0.1:1", "--identity", out])
            #expect(dead.code == 69 && dead.error == "ced: cannot reach a member: 127.0.0.1:1: connection refused\n")
        }
    }

    @Test("an operator whom the cluster does not know is told so with 77")
    func unknownOperator() async throws {
        try await OpenPorts.with { open in
            let directory = try open.write(try open.pki.identity(.operator, "mallory"), ca: open.pki, as: "mallory")
            let port = try #require(open.ports.operations.port)
            let finished = try await ced(["list-agents", "--endpoints", "127.0.0.1:\(port)", "--identity", directory])
            #expect(finished.code == 77 && finished.out.isEmpty && finished.error.contains("no longer stands"))
        }
    }

    @Test("a server that is no member of the operator's cluster is sent nothing")
    func wrongServer() async throws {
        try await OpenPorts.with { open in
            let other = try SmallPKI(cluster: Array(16..<32))
            let directory = try open.write(try other.identity(.operator, "alice"), ca: other, as: "other")
            let port = try #require(open.ports.operations.port)
            let finished = try await ced(["pairing-mode", "start", "--endpoints", "127.0.0.1:\(port)", "--identity", directory])
            #expect(finished.code == 77 && finished.error.contains("the wrong peer answered"), "\(finished.error)")
            #expect(await open.front.performed.isEmpty)
        }
    }

    @Test("a request is listed, approved and gone from the list")
    func approve() async throws {
        try await OpenPorts.with { open in
            let connection = ["--socket", open.socketPath]
            await open.front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            let der = try CertificateRequest.make(key: .generateP256(), commonName: "web").der
            let submission = PairingSubmission(
                reqid: Reqid(0x1f62_1788_b337_00b3), hostname: try #require(AgentName("web")), signingRequest: SigningRequest(der: der),
                nonce: "", code: "947210", sourceAddress: "192.0.2.1", suggested: Reachability())
            await open.front.apply(.submitPairing(submission), by: .pairingHost(address: "192.0.2.1"), .client("submit"))
            let listed = try await ced(["list-requests"] + connection)
            #expect(listed.out.contains("1f621788b33700b3  web       192.0.2.1  947210"), "\(listed.out)")
            let approved = try await ced(
                ["approve", "1f621788b33700b3", "--lookup-by", "ip", "--ip", "192.0.2.9", "--agent-port", "17443"] + connection)
            #expect(approved.code == 0)
            #expect(approved.out.contains("Approved 'web' (1f621788b33700b3)"))
            #expect(approved.out.contains("  Registered:  web   lookup_by=ip   addr=192.0.2.9:17443\n"))
            #expect(try await ced(["deny", "1f621788b33700b3"] + connection).code == 1)
            let renamed = try await ced(["edit-agent", "web", "--rename", "www", "--json"] + connection)
            #expect(renamed.json["hostname"] == .text("www") && renamed.json["port"] == .integer(17443))
            let unpaired = try await ced(["unpair", "www"] + connection)
            #expect(unpaired.code == 0 && unpaired.out == "Unpaired 'www'.\n")
            let again = try await ced(["unpair", "www", "--json"] + connection)
            #expect(again.code == 1 && again.json["ok"] == .boolean(false) && again.error.contains("no agent is called www"))
        }
    }
}

extension OpenPorts {
    /// A directory as `issue-operator` leaves it.
    fileprivate func write(_ identity: TLSIdentity, ca: SmallPKI, as name: String) throws -> String {
        let directory = path(name)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for (name, bytes) in [
            ("operator.crt", try identity.certificate.pem), ("operator.key", try identity.key.pem),
            ("ca.crt", try ca.clusterCA.certificate.pem),
        ] {
            try Data(bytes).write(to: URL(filePath: "\(directory)/\(name)"))
        }
        return directory
    }
}
