// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Two authorities, whoever they certify, a listener that records what happens to it, and a client that speaks raw bytes.

import CtrlExec
import Foundation
import NIOCore
import NIOPosix
import PKI
import Synchronization

@testable import Transport

let group = MultiThreadedEventLoopGroup.singleton
let start: Int64 = 1_800_000_000
let day: Int64 = 86_400
@Sendable func testTime() -> Int64 { start + day }

/// A value that tests change while the code under test reads it.
final class Box<Value: Sendable>: Sendable {
    private let state: Mutex<Value>
    init(_ value: Value) { state = Mutex(value) }
    var value: Value {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }
    func change(_ body: @Sendable (inout Value) -> Void) { state.withLock { body(&$0) } }
}

/// A cluster with its own CA, and the fleet CA beside it.
struct Fleet {
    let cluster = "c1"
    let clusterCA: Authority
    let fleetCA: Authority
    private let nextSerial = Box<UInt8>(10)

    init() throws {
        func authority(_ name: String, _ number: UInt8) throws -> Authority {
            try .selfSigned(
                commonName: name, key: .generateP256(), notBefore: start, notAfter: start + 3650 * day,
                serial: SerialNumber(bytes: [0x5c, number])!)
        }
        clusterCA = try authority("cluster CA", 1)
        fleetCA = try authority("fleet CA", 2)
    }

    func identity(_ name: String, role: CertificateRole?, by authority: Authority, until notAfter: Int64 = start + 800 * day) throws
        -> TLSIdentity
    {
        let key = try PrivateKey.generateP256()
        nextSerial.change { $0 += 1 }
        let certificate = try authority.issue(
            .make(key: key, commonName: name), subject: name, serial: SerialNumber(bytes: [0x5c, nextSerial.value])!, role: role,
            usage: .both,
            notBefore: start, notAfter: notAfter)
        return try TLSIdentity(chain: [certificate], key: key)
    }

    func member(_ id: String = "a", until notAfter: Int64 = start + 800 * day) throws -> TLSIdentity {
        try identity("member-\(id)", role: .member(cluster: cluster, id: id), by: clusterCA, until: notAfter)
    }
    func operatorIdentity(_ name: String = "alice", until notAfter: Int64 = start + 800 * day) throws -> TLSIdentity {
        try identity(name, role: .operator(cluster: cluster, name: name), by: clusterCA, until: notAfter)
    }
    func agent(_ name: String = "web-1") throws -> TLSIdentity { try identity(name, role: nil, by: fleetCA) }

    func members(id: String? = nil, isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false }) -> TrustPolicy {
        .members(of: cluster, roots: [clusterCA.certificate], id: id, isRevoked: isRevoked, now: testTime)
    }
    /// Members and operators; the routes decide.
    func operations(isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false }) -> TrustPolicy {
        .anyRole(cluster: [clusterCA.certificate], isRevoked: isRevoked, now: testTime)
    }
    func agents() -> TrustPolicy { .agents(roots: [fleetCA.certificate], now: testTime) }
}

/// A listener on loopback that answers everything with `{"ok":true}` unless told otherwise.
final class TestListener: Sendable {
    let listener: HTTPListener
    let incidents: AsyncStream<ConnectionIncident>
    let requests: Box<[HTTPRequest]>
    var port: Int { listener.port ?? -1 }

    init(
        tls: (@Sendable () throws -> TLSServer)? = nil, address: ListenAddress = .tcp(host: "127.0.0.1", port: 0),
        configure: (inout HTTPListenerConfiguration) -> Void = { _ in },
        handler: @escaping HTTPListener.Handler = { _, writer in
            await writer.send(HTTPResponse(status: 200, json: Array("{\"ok\":true}".utf8)))
        }
    ) async throws {
        let (stream, continuation) = AsyncStream.makeStream(of: ConnectionIncident.self)
        let requests = Box<[HTTPRequest]>([])
        self.requests = requests
        incidents = stream
        var configuration = HTTPListenerConfiguration(address: address, tls: tls)
        configuration.report = { continuation.yield($0) }
        configure(&configuration)
        listener = try await HTTPListener.start(configuration, on: group) { request, writer in
            requests.change { $0.append(request) }
            await handler(request, writer)
        }
    }

    static func answering(tls: (@Sendable () throws -> TLSServer)? = nil, _ handler: @escaping HTTPListener.Handler) async throws
        -> TestListener
    {
        try await TestListener(tls: tls, handler: handler)
    }

    func nextIncident() async -> ConnectionIncident? { await incidents.first { _ in true } }
    func stop() async { await listener.stop(drain: .seconds(0)) }
}

func client(_ identity: TLSIdentity?, trusting policy: TrustPolicy, configure: (inout OneRequestClient.Settings) -> Void = { _ in })
    -> OneRequestClient
{
    var settings = OneRequestClient.Settings()
    configure(&settings)
    return OneRequestClient(group: group, tls: TLSClient(identity: identity, policy: policy), settings: settings)
}

func plainClient(configure: (inout OneRequestClient.Settings) -> Void = { _ in }) -> OneRequestClient {
    var settings = OneRequestClient.Settings()
    configure(&settings)
    return OneRequestClient(group: group, tls: nil, settings: settings)
}

func local(_ port: Int) -> Endpoint { .tcp(host: "127.0.0.1", port: port) }
let ping = OutgoingRequest(method: "POST", path: "/ping", body: Array("{}".utf8))

extension OneRequestClient {
    /// How an exchange failed; nil if it did not.
    func failure(with endpoint: Endpoint) async -> ExchangeFailure? {
        do throws(ExchangeFailure) {
            _ = try await exchange(ping, with: endpoint)
            return nil
        } catch {
            return error
        }
    }
}

/// Collects what arrives until the connection ends.
private final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private var text = ""
    private let promise: EventLoopPromise<String>
    init(_ promise: EventLoopPromise<String>) { self.promise = promise }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) { text += String(buffer: unwrapInboundIn(data)) }
    func channelInactive(context: ChannelHandlerContext) { promise.succeed(text) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// A plain connection: sends `pieces`, and returns all that came until the other end closed.
///
/// - Parameter between: done when the first piece has left.
func raw(_ pieces: [String], to port: Int, between: (@Sendable () async throws -> Void)? = nil) async throws -> String {
    let loop = group.next()
    let received = loop.makePromise(of: String.self)
    let channel = try await ClientBootstrap(group: loop)
        .channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Collector(received)) }
        }
        .connect(host: "127.0.0.1", port: port).get()
    // The other end may have closed already; what it said before is what counts.
    var pieces = pieces[...]
    if let between, let first = pieces.popFirst() {
        try await channel.writeAndFlush(ByteBuffer(string: first))
        try await between()
    }
    for piece in pieces { channel.writeAndFlush(ByteBuffer(string: piece), promise: nil) }
    return try await received.futureResult.get()
}

/// A server that does to each connection what a handler says, byte by byte.
final class RawServer: Sendable {
    private let channel: any Channel
    var port: Int { channel.localAddress?.port ?? -1 }

    init(_ handler: @escaping @Sendable (any EventLoop) -> any ChannelHandler & Sendable) async throws {
        channel = try await ServerBootstrap(group: group)
            .childChannelInitializer { $0.pipeline.addHandler(handler($0.eventLoop)) }
            .bind(host: "127.0.0.1", port: 0).get()
    }
    func stop() async throws { try await channel.close() }
}

/// Answers the first bytes with `answer`, if there is one, and closes then if told to.
final class ScriptedHandler: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    let answer: String?
    let closesWhen: When
    enum When: Sendable { case connected, heard, never }

    init(answer: String? = nil, closes: When) {
        self.answer = answer
        closesWhen = closes
    }
    func channelActive(context: ChannelHandlerContext) {
        if closesWhen == .connected { context.close(promise: nil) }
    }
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if let answer { context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: answer)), promise: nil) }
        if closesWhen == .heard { context.close(promise: nil) }
    }
}

/// A directory for the length of a test, and the `openssl` command in it.
final class Scratch: Sendable {
    let path: String
    init() throws {
        path = NSTemporaryDirectory() + "transport-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ bytes: [UInt8], _ name: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + name)) }
    func read(_ name: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path + "/" + name))) }

    func write(_ identity: TLSIdentity) throws {
        try write(identity.certificate.pem, "c.crt")
        try write(identity.key.pem, "c.key")
    }

    /// Runs the command to its end, off the cooperative threads.
    @discardableResult func openssl(_ arguments: [String], input: String = "") async throws -> String {
        let path = path
        return try await NIOThreadPool.singleton.runIfActive {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            process.arguments = arguments
            process.currentDirectoryURL = URL(fileURLWithPath: path)
            let (output, inputPipe) = (Pipe(), Pipe())
            process.standardOutput = output
            process.standardError = output
            process.standardInput = inputPipe
            try process.run()
            inputPipe.fileHandleForWriting.write(Data(input.utf8))
            try inputPipe.fileHandleForWriting.close()
            let bytes = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
