// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// An agent that is registered, listens on loopback with a certificate of the fleet, and answers with what a test says.

import AgentLink
import CtrlExec
import NIOCore
import NIOPosix
import PKI
import Testing
import Transport

struct PlayedAgent {
    let port: Int
    private let listener: HTTPListener

    init(_ open: OpenPorts, name: String, _ answer: @escaping @Sendable (HTTPRequest) -> JSONValue) async throws {
        try await self.init(open, name: name) { (200, answer($0)) }
    }

    /// - Parameter answer: status code and body.
    init(_ open: OpenPorts, name: String, _ answer: @escaping @Sendable (HTTPRequest) -> (Int, JSONValue)) async throws {
        let identity = try open.pki.identity(.agent, name)
        let policy = TrustPolicy.fleet(roots: [open.pki.fleetCA.certificate])
        let configuration = HTTPListenerConfiguration(
            address: .tcp(host: "127.0.0.1", port: 0), tls: { TLSServer(identity: identity, clients: .optional(policy)) })
        listener = try await HTTPListener.start(configuration, on: MultiThreadedEventLoopGroup.singleton) { request, writer in
            let (status, body) = answer(request)
            await writer.send(HTTPResponse(status: status, json: body.bytes))
        }
        port = try #require(listener.port)
        try await open.pair(name, port: UInt16(truncatingIfNeeded: port))
    }

    func stop() async { await listener.stop(drain: .zero) }
}
