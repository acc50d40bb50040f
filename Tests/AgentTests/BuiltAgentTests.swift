// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What only the built `cea` can show: exit codes, signals, and processes that outlive it.

import Agent
import CtrlExec
import Foundation
import Glibc
import NIOCore
import NIOPosix
import PKI
import Platform
import Synchronization
import Testing
import Transport

/// One `cea` process. Its standard error is read line by line.
private final class Cea {
    private let process = Process()
    private let output = Pipe()
    private let errors = Pipe()

    init(_ arguments: [String]) throws {
        process.executableURL = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent().appending(path: "cea")
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = errors
        try process.run()
    }

    /// The port that the log names when it is served; nil if the process ends before.
    func port() -> Int? {
        line { $0.contains("ACTION=start ") }.flatMap { $0.split(separator: "PORT=").last }.flatMap { Int($0.trimmedOfWhiteSpace) }
    }

    /// The first line of standard error for which the condition holds.
    func line(where condition: (String) -> Bool) -> String? {
        var bytes: [UInt8] = []
        while let byte = errors.fileHandleForReading.readData(ofLength: 1).first {
            if byte != 10 {
                bytes.append(byte)
                continue
            }
            let text = String(decoding: bytes, as: UTF8.self)
            if condition(text) { return text }
            bytes = []
        }
        return nil
    }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    func end() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
    }
    var standardOutput: String { String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) }
    var standardError: String { String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) }
}

@Suite("the built cea", .serialized, .timeLimit(.minutes(2))) struct BuiltAgentTests {
    @Test("--version says the release, and the commit if the build was told it") func version() throws {
        let cea = try Cea(["--version"])
        let text = cea.standardOutput
        #expect(cea.end() == 0)
        #expect(text.wholeMatch(of: /cea [0-9]+\.[0-9]+\.[0-9]+( \([0-9A-Za-z+._-]+\))?\n/) != nil, "\(text)")
        if let commit = ProcessInfo.processInfo.environment["CED_COMMIT"] { #expect(text == "cea \(Release.described(commit: commit))\n") }
    }

    @Test("a configuration error ends with 78 and one line that says where and what") func configurationError() throws {
        let directory = try TemporaryDirectory()
        try directory.write("agent.conf", "port = 0\ncert = x\nkey = y\nca = z\nmax_children = lots\n")
        let cea = try Cea(["serve", "--directory", directory.path])
        #expect(cea.standardError == "cea: \(directory.path)/agent.conf:5: 'max_children' must be a number from 1 to 65536, not 'lots'\n")
        #expect(cea.end() == ExitCode.configuration.rawValue)
    }

    @Test("SIGHUP takes up new scripts, SIGTERM ends with 0") func signals() async throws {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        try TestAgent.prepare(directory, fleet, scripts: [("hello", "echo hello")])
        let cea = try Cea(["serve", "--directory", directory.path, "--listen", "127.0.0.1"])
        let port = try unwrapped(cea.port())
        #expect(try directory.read("port") == "\(port)\n")
        let body = AgentJSON.encode(RunRequest(script: "hi", args: [], reqid: "1"))
        func run() async throws -> TestAgent.Reply { try await TestAgent.call(port, fleet, "POST", "/run", body, as: fleet.dispatcher) }
        #expect(try await run()["error"] == "script not permitted")
        try directory.write("scripts.conf", "hi = \(directory.path)/scripts/hello\n")
        cea.signal(SIGHUP)
        while try await run()["stdout"] != "hello\n" { await Task.yield() }
        cea.signal(SIGTERM)
        #expect(cea.end() == 0)
    }

    @Test("promote-cert puts the certificate that waits in the place of the agent's, and leaves it its owner") func promote() throws {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        try TestAgent.prepare(directory, fleet, scripts: [])
        let nothing = try Cea(["promote-cert", "--directory", directory.path])
        #expect(nothing.standardError == "" && nothing.end() == 0)

        let live = directory.path + "/agent.crt"
        // Only root can show that the owner stays; for anybody else it could be no other.
        let owner = geteuid() == 0 ? FileOwner(user: 65_534, group: 65_534) : FileOwner(user: geteuid(), group: getegid())
        try AgentFiles.replace(live, with: try DurableFile.read(live), mode: 0o640, owner: owner)
        let key = try PrivateKey(pem: DurableFile.read(directory.path + "/agent.key"))
        let request = try CertificateRequest.make(key: key, commonName: "agent.example")
        let renewed = try TestFleet.certificate(request, "5ca0000000000002", fleet.authority, lifetime: 50_000)
        try AgentFiles.replace(live + ".staged", with: renewed.pem, mode: 0o640)
        let cea = try Cea(["promote-cert", "--directory", directory.path])
        #expect(cea.standardError.contains("ACTION=cert-promote EXPIRY="))
        #expect(cea.end() == 0)
        #expect(try Certificate(pem: DurableFile.read(live)).serial == renewed.serial)
        #expect(AgentFiles.owner(of: live) == owner)
        #expect(!DurableFile.exists(live + ".staged"))
    }

    @Test("a detached run outlives the agent that started it, and its lock too") func detachedRun() async throws {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        try TestAgent.prepare(directory, fleet, scripts: [("slow", #"until [ -e "$1" ]; do sleep 0.02; done; echo slept"#)])
        let arguments = ["serve", "--directory", directory.path, "--listen", "127.0.0.1"]
        func run(_ port: Int, _ reqid: String) async throws -> TestAgent.Reply {
            let body = AgentJSON.encode(RunRequest(script: "slow", args: [directory.path + "/go"], reqid: reqid, detached: true))
            return try await TestAgent.call(port, fleet, "POST", "/run", body, as: fleet.dispatcher)
        }
        let first = try Cea(arguments)
        #expect(try await run(try unwrapped(first.port()), "r1").status == 202)
        first.signal(SIGKILL)
        #expect(first.end() == SIGKILL)

        let second = try Cea(arguments)
        let port = try unwrapped(second.port())
        #expect(try await run(port, "r2").status == 409)
        try directory.write("go", "")
        var reply: TestAgent.Reply
        repeat {
            reply = try await TestAgent.call(port, fleet, "GET", "/result/r1", nil, as: fleet.dispatcher)
        } while reply["status"] == "running"
        #expect(reply["status"] == "done" && reply["stdout"] == "slept\n" && reply["exit"] == "0")
        second.signal(SIGTERM)
        #expect(second.end() == 0)
    }

    @Test("a pairing in the background prints its id alone, and stores everything when it is approved") func backgroundPairing()
        async throws
    {
        let fleet = try TestFleet()
        let directory = try TemporaryDirectory()
        let decided = AsyncStream.makeStream(of: Void.self)
        let configuration = HTTPListenerConfiguration(address: .tcp(host: "127.0.0.1", port: 0)) {
            TLSServer(identity: fleet.dispatcher, clients: .none)
        }
        let listener = try await HTTPListener.start(configuration, on: MultiThreadedEventLoopGroup.singleton) { request, writer in
            guard let ask = AgentJSON.decodeIfPossible(PairRequest.self, request.body),
                let approval = try? PairingTests.approval(ask, fleet)
            else { return writer.close() }
            await writer.send(HTTPResponse(status: 200, json: AgentJSON.encode(PairAnswer.pending(reqid: "1f621788b33700b3"))), last: false)
            for await _ in decided.stream { break }
            await writer.send(HTTPResponse(status: 200, json: AgentJSON.encode(approval)))
        }
        let cea = try Cea([
            "request-pairing", "--directory", directory.path, "--dispatcher", "127.0.0.1:\(try unwrapped(listener.port))", "--hostname",
            "web-1", "--key-type", "p256", "--background",
        ])
        #expect(cea.standardOutput == "1f621788b33700b3\n")
        #expect(cea.end() == 0)
        #expect(!DurableFile.exists(directory.path + "/agent.crt"))
        decided.continuation.yield(())
        while !DurableFile.exists(directory.path + "/scripts.conf") { await Task.yield() }
        #expect(TrustedDispatchers(text: try directory.read("ctrl-exec-dispatchers")).entries.count == 1)
        let check = try Cea(["pairing-status", "--directory", directory.path])
        #expect(check.standardOutput.hasPrefix("paired: yes, as web-1 ("))
        #expect(check.end() == 0)
        await listener.stop(drain: .zero)
    }
}
