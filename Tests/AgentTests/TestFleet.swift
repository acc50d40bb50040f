// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A fleet for one test: a CA, dispatchers, and an agent that serves a loopback port with real TLS out of a directory of its own.

import Agent
import CtrlExec
import FoundationEssentials
import Glibc
import Logging
import NIOCore
import NIOPosix
import PKI
import Platform
import Transport

/// Removed with everything in it when the test ends.
final class TemporaryDirectory: Sendable {
    let path: String
    init() throws {
        path = "/tmp/cea-test-\(getpid())-\(UInt64.random(in: .min ... .max))"
        try DurableFile.makeDirectory(path, mode: 0o700)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ text: String, mode: UInt32 = 0o644) throws {
        try DurableFile.write(Array(text.utf8), to: "\(path)/\(name)", mode: mode)
    }
    func read(_ name: String) throws -> String { String(decoding: try DurableFile.read("\(path)/\(name)"), as: UTF8.self) }
}

struct TestFleet: Sendable {
    let authority: Authority
    let dispatcher: TLSIdentity
    let otherDispatcher: TLSIdentity
    /// Signed by the CA, in nobody's map.
    let stranger: TLSIdentity

    init() throws {
        authority = try TestFleet.authority("ctrl-exec CA")
        dispatcher = try TestFleet.identity("ctrl-exec-dispatcher", "5c01000000000001", authority)
        otherDispatcher = try TestFleet.identity("ctrl-exec-dispatcher", "5c02000000000002", authority)
        stranger = try TestFleet.identity("somebody", "5c03000000000003", authority)
    }

    static func authority(_ name: String) throws -> Authority {
        let serial = SerialNumber(bytes: [0x5c, 0xca] + (try SystemRandom.bytes(14)))
        return try .selfSigned(
            commonName: name, key: .generateP256(), notBefore: wallClockSeconds() - 300, notAfter: wallClockSeconds() + 86_400,
            serial: try unwrapped(serial))
    }

    static func identity(_ name: String, _ serial: String, _ authority: Authority, key: PrivateKey? = nil) throws -> TLSIdentity {
        let key = try key ?? .generateP256()
        return try TLSIdentity(chain: [certificate(.make(key: key, commonName: name), serial, authority)], key: key)
    }

    /// - Parameter lifetime: in seconds; less than the authority's, so that a renewed one can be good for longer.
    static func certificate(
        _ request: CertificateRequest, _ serial: String, _ authority: Authority, lifetime: Int64 = 40_000
    ) throws -> Certificate {
        try authority.issue(
            request, subject: request.commonName ?? "", serial: unwrapped(SerialNumber(hexadecimal: serial)), role: nil, usage: .both,
            notBefore: wallClockSeconds() - 300, notAfter: wallClockSeconds() + lifetime)
    }
}

struct Missing: Error {}
func unwrapped<Value>(_ value: Value?) throws -> Value {
    guard let value else { throw Missing() }
    return value
}

struct TestAgent {
    let fleet: TestFleet
    let directory: TemporaryDirectory
    let state: AgentState
    let service: AgentService
    let server: AgentServer

    static let quiet = AgentLog(Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))

    /// `scripts` are shell scripts by name; `extra` are lines of agent.conf.
    init(
        scripts: [(name: String, text: String)] = [], extra: String = "", trustsOther: Bool = false, in existing: TemporaryDirectory? = nil,
        of fleet: TestFleet? = nil, dialect: AgentDialect = .endpoint
    ) async throws {
        let fleet = try fleet ?? TestFleet()
        let directory = try existing ?? TemporaryDirectory()
        try TestAgent.prepare(directory, fleet, scripts: scripts, extra: extra, trustsOther: trustsOther)
        state = try AgentState(layout: AgentLayout(directory: directory.path), log: TestAgent.quiet)
        service = AgentService(state: state, launcher: .task, dialect: dialect)
        server = try await AgentServer.start(service, listen: "127.0.0.1", on: MultiThreadedEventLoopGroup.singleton)
        self.fleet = fleet
        self.directory = directory
    }

    /// Everything that an agent needs to be served.
    static func prepare(
        _ directory: TemporaryDirectory, _ fleet: TestFleet, scripts: [(name: String, text: String)], extra: String = "",
        trustsOther: Bool = false
    ) throws {
        if !DurableFile.exists(directory.path + "/agent.crt") {
            let identity = try TestFleet.identity("agent.example", "5ca0000000000001", fleet.authority)
            try directory.write("agent.crt", String(decoding: identity.certificate.pem, as: UTF8.self))
            try directory.write("agent.key", String(decoding: identity.key.pem, as: UTF8.self), mode: 0o600)
            try directory.write("ca.crt", String(decoding: fleet.authority.certificate.pem, as: UTF8.self))
            var map = "5c01000000000001 disp-one\n"
            if trustsOther { map += "5c02000000000002 disp-two\n" }
            try directory.write("ctrl-exec-dispatchers", map)
        }
        let path = directory.path
        try directory.write(
            "agent.conf",
            """
            port = 0
            cert = \(path)/agent.crt
            key = \(path)/agent.key
            ca = \(path)/ca.crt
            revoked_serials = \(path)/revoked-serials
            trusted_dispatchers_path = \(path)/ctrl-exec-dispatchers
            async_runs_dir = \(path)/runs
            cert_staging_path = \(path)/agent.crt.staged
            \(extra)

            """)
        try DurableFile.makeDirectory("\(path)/scripts", mode: 0o755)
        for script in scripts { try directory.write("scripts/\(script.name)", "#!/bin/sh\n\(script.text)\n", mode: 0o755) }
        try directory.write("scripts.conf", scripts.map { "\($0.name) = \(path)/scripts/\($0.name)\n" }.joined())
    }

    struct Reply {
        let status: Int
        let bytes: [UInt8]
        let json: JSONValue
        subscript(key: String) -> String? { json[key]?.scalarText }
    }

    func post(_ path: String, _ body: String, as identity: TLSIdentity? = nil) async throws -> Reply {
        try await call("POST", path, Array(body.utf8), as: identity ?? fleet.dispatcher)
    }
    func get(_ path: String, as identity: TLSIdentity? = nil) async throws -> Reply {
        try await call("GET", path, nil, as: identity ?? fleet.dispatcher)
    }

    /// As whoever is given, or as nobody.
    func call(_ method: String, _ path: String, _ body: [UInt8]?, as identity: TLSIdentity?, headers: [HTTPHeader] = []) async throws
        -> Reply
    {
        try await TestAgent.call(server.port, fleet, method, path, body, as: identity, headers: headers)
    }

    static func call(
        _ port: Int, _ fleet: TestFleet, _ method: String, _ path: String, _ body: [UInt8]?, as identity: TLSIdentity?,
        headers: [HTTPHeader] = []
    ) async throws -> Reply {
        var settings = OneRequestClient.Settings()
        settings.responseLimit = Limits.answerBytes
        let client = OneRequestClient(
            group: MultiThreadedEventLoopGroup.singleton,
            tls: TLSClient(identity: identity, policy: .agents(roots: [fleet.authority.certificate])), settings: settings)
        let reply = try await client.exchange(
            OutgoingRequest(method: method, path: path, headers: headers, body: body), with: .tcp(host: "127.0.0.1", port: port))
        return Reply(status: reply.status, bytes: reply.body, json: try AgentJSON.decode(JSONValue.self, reply.body))
    }

    /// The standard body of a run.
    func run(
        _ script: String, _ args: [String] = [], reqid: String = "0123456789abcdef", detached: Bool? = nil, as identity: TLSIdentity? = nil
    )
        async throws -> Reply
    {
        let body = AgentJSON.encode(RunRequest(script: script, args: args, reqid: reqid, detached: detached))
        return try await call("POST", "/run", body, as: identity ?? fleet.dispatcher)
    }

    /// Asks until the condition holds; fails by the test's own time limit, never by a clock.
    func result(_ reqid: String, until condition: (Reply) -> Bool) async throws -> Reply {
        while true {
            let reply = try await get("/result/\(reqid)")
            if condition(reply) { return reply }
            await Task.yield()
        }
    }

    func stop() async { await server.stop(drainSeconds: 0) }
}
