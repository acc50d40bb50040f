// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One accepted connection: reads one request within the limits, hands it over, and after that only waits for the end.

import Glibc
import NIOCore
import NIOHTTP1
import PKI

/// Closes a connection that came too many, as soon as it is open.
final class TurnAwayHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    func channelActive(context: ChannelHandlerContext) { context.close(promise: nil) }
}

final class HTTPConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Before the peer is known.
        case opening
        case readingHead
        case readingBody(HTTPRequestHead, [UInt8])
        /// The request is with the handler.
        case serving
        /// An early refusal was sent; what still arrives is thrown away.
        case lingering
        case closed
    }

    private let configuration: HTTPListenerConfiguration
    private let registry: ConnectionRegistry
    private let handler: HTTPListener.Handler
    private let address: RemoteAddress
    private let isSecured: Bool
    private var state = State.opening
    private var peer: Peer?
    private var credentials: UnixCredentials?
    private var deadline: Scheduled<Void>?

    private init(
        configuration: HTTPListenerConfiguration, registry: ConnectionRegistry, address: RemoteAddress, isSecured: Bool,
        handler: @escaping HTTPListener.Handler
    ) {
        self.configuration = configuration
        self.registry = registry
        self.address = address
        self.isSecured = isSecured
        self.handler = handler
    }

    /// Builds the pipeline of one accepted connection. Never throws for what a peer did.
    static func configure(
        _ channel: any Channel, configuration: HTTPListenerConfiguration, registry: ConnectionRegistry,
        handler: @escaping HTTPListener.Handler
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        let address = RemoteAddress(channel.remoteAddress)
        guard configuration.admitAddress(address) else { return try pipeline.addHandler(TurnAwayHandler()) }
        guard registry.admit(channel, from: address) else {
            configuration.report(ConnectionIncident(kind: .tooManyConnections, address: address))
            return try pipeline.addHandler(TurnAwayHandler())
        }
        if let tls = configuration.tls {
            do {
                let handlers = try TLSFactory.handlers(for: tls(), from: address, timeout: configuration.limits.handshakeTimeout)
                try pipeline.addHandlers(handlers)
            } catch {
                configuration.report(ConnectionIncident(kind: .unavailable("cannot offer TLS: \(error)"), address: address))
                return try pipeline.addHandler(TurnAwayHandler())
            }
        }
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldCount = configuration.limits.headerCount
        limits.maxHeaderFieldSize = configuration.limits.headerBytes
        limits.maxHeaderListSize = configuration.limits.headerBytes
        try pipeline.addHandler(ByteToMessageHandler(HTTPRequestDecoder(limitConfiguration: limits)))
        try pipeline.addHandler(
            HTTPConnection(
                configuration: configuration, registry: registry, address: address, isSecured: configuration.tls != nil, handler: handler))
    }

    func channelActive(context: ChannelHandlerContext) {
        if address.ip == nil { readCredentials(context) }
        if !isSecured { begin(context) }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let secured = event as? Secured else { return context.fireUserInboundEventTriggered(event) }
        peer = secured.peer
        if let peer { registry.identified(context.channel, as: peer) }
        begin(context)
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard case .opening = state else { return }
        guard configuration.admitPeer(address, peer) else { return close(context) }
        state = .readingHead
        schedule(configuration.limits.requestTimeout, context) { connection, context in
            connection.report(.requestTimedOut)
            connection.close(context)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (state, unwrapInboundIn(data)) {
        case (.readingHead, .head(let head)): read(head, context)
        case (.readingBody(let head, var body), .body(let part)):
            // The array must not be held twice while it grows.
            state = .lingering
            guard body.count + part.readableBytes <= configuration.limits.bodyBytes else { return refuseTooLarge(context) }
            guard registry.keeps(part.readableBytes, of: context.channel) else {
                report(.noMemory)
                return refuse(503, "service unavailable", context)
            }
            body.append(contentsOf: part.readableBytesView)
            state = .readingBody(head, body)
        case (.readingBody(let head, let body), .end): serve(head, body, context)
        default: break
        }
    }

    private func read(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        if let text = head.headers["Content-Length"].last, let length = Int(text), length > configuration.limits.bodyBytes {
            return refuseTooLarge(context)
        }
        let announcesBody = head.headers.contains(name: "Transfer-Encoding") || head.headers["Content-Length"].contains { $0 != "0" }
        if announcesBody, let refusal = configuration.refuseHead(request(head, [])) {
            switch refusal {
            case .error(let status, let error): return refuse(status, error, context)
            case .answer(let answer): return refuse(answering: answer, context)
            }
        }
        if head.version == .http1_1, head.headers["Expect"].contains(where: { $0.lowercased() == "100-continue" }) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "HTTP/1.1 100 Continue\r\n\r\n")), promise: nil)
        }
        state = .readingBody(head, [])
    }

    private func serve(_ head: HTTPRequestHead, _ body: [UInt8], _ context: ChannelHandlerContext) {
        do throws(PeerRefusal) {
            try peer?.recheck()
        } catch {
            report(.peerRefused(error))
            return refuse(403, "certificate refused", context)
        }
        state = .serving
        deadline?.cancel()
        registry.serves(context.channel)
        let request = request(head, body)
        let writer = ResponseWriter(
            channel: context.channel, withoutBody: head.method == .HEAD, writeTimeout: configuration.limits.writeTimeout)
        let handler = handler
        let registry = registry
        let channel = context.channel
        Task {
            await handler(request, writer)
            writer.handlerReturned()
            registry.served(channel)
        }
    }

    private func request(_ head: HTTPRequestHead, _ body: [UInt8]) -> HTTPRequest {
        HTTPRequest(
            method: head.method.rawValue, path: head.uri, headers: head.headers.map { ($0.name, $0.value) }, body: body, peer: peer,
            remoteAddress: address, unixCredentials: credentials)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch (state, error) {
        case (_, let failure as HandshakeFailure):
            if failure != .closed(heard: false) { report(.handshakeFailed(failure)) }
            close(context)
        case (.readingHead, HTTPParserError.headerOverflow), (.readingBody, HTTPParserError.headerOverflow):
            report(.tooLarge)
            refuse(431, "too many headers", context)
        case (.readingHead, is HTTPParserError), (.readingBody, is HTTPParserError):
            // An end in the middle of a request is only an end.
            if case HTTPParserError.invalidEOFState = error { return close(context) }
            report(.malformed)
            refuse(400, "bad request", context)
        case (.serving, is HTTPParserError), (.lingering, is HTTPParserError):
            // What follows the one request is not ours to judge.
            break
        default:
            if !isEndOfConnection(error) { close(context) }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        state = .closed
        deadline?.cancel()
        context.fireChannelInactive()
    }

    private func refuseTooLarge(_ context: ChannelHandlerContext) {
        report(.tooLarge)
        refuse(413, "request too large", context)
    }

    /// Answers before the request was read, and gives the peer a moment to take the answer.
    private func refuse(_ status: Int, _ error: String, _ context: ChannelHandlerContext) {
        state = .lingering
        guard let response = configuration.earlyRefusal else {
            return refuse(with: HTTPResponse(status: status, json: Array("{\"error\":\"\(error)\"}".utf8)), context)
        }
        refuse(answering: { await response(status, error) }, context)
    }

    private func refuse(answering answer: @escaping @Sendable () async -> HTTPResponse, _ context: ChannelHandlerContext) {
        state = .lingering
        schedule(configuration.limits.requestTimeout, context) { connection, context in connection.close(context) }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        Task {
            let response = await answer()
            loop.execute {
                let (connection, context) = bound.value
                connection.refuse(with: response, context)
            }
        }
    }

    private func refuse(with response: HTTPResponse, _ context: ChannelHandlerContext) {
        guard case .lingering = state else { return }
        var buffer = context.channel.allocator.buffer(capacity: 256)
        response.write(into: &buffer, withoutBody: false)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        schedule(configuration.limits.lingerTimeout, context) { connection, context in connection.close(context) }
    }

    private func close(_ context: ChannelHandlerContext) {
        if case .closed = state { return }
        state = .closed
        deadline?.cancel()
        context.close(promise: nil)
    }

    private func report(_ kind: ConnectionIncident.Kind) { configuration.report(ConnectionIncident(kind: kind, address: address)) }

    private func schedule(
        _ delay: TimeAmount, _ context: ChannelHandlerContext, _ act: @escaping @Sendable (HTTPConnection, ChannelHandlerContext) -> Void
    ) {
        deadline?.cancel()
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        deadline = context.eventLoop.scheduleTask(in: delay) {
            let (connection, context) = bound.value
            act(connection, context)
        }
    }

    private func readCredentials(_ context: ChannelHandlerContext) {
        guard let provider = context.channel as? any SocketOptionProvider else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        // On the loop the answers are there at once; on a socket that is not unix there are none.
        let user: EventLoopFuture<PeerUser> = provider.unsafeGetSocketOption(
            level: NIOBSDSocket.OptionLevel.socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        user.whenSuccess { bound.value.credentials = UnixCredentials(pid: $0.pid, uid: $0.uid, gid: $0.gid) }
        let groups: EventLoopFuture<SIMD64<UInt32>> = provider.unsafeGetSocketOption(
            level: NIOBSDSocket.OptionLevel.socket, name: NIOBSDSocket.Option(rawValue: peerGroupsOption))
        groups.whenSuccess { groups in
            // What the kernel did not fill is 0; group 0 counts only as the process's own.
            let filled = (0..<64).map { groups[$0] }.filter { $0 != 0 }
            bound.value.credentials = bound.value.credentials.map {
                UnixCredentials(pid: $0.pid, uid: $0.uid, gid: $0.gid, groups: filled)
            }
        }
    }
}

/// `SO_PEERGROUPS` of Linux, which the C library's module does not carry.
private let peerGroupsOption: CInt = 59

/// The kernel's `struct ucred`.
private struct PeerUser: Sendable {
    let pid: Int32
    let uid: UInt32
    let gid: UInt32
}
