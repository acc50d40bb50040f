// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One connection, one request, one response (pairing: two). It never repeats anything by itself, and keeps no connection:
// agents serve one request a connection, and count connections.

import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

package enum Endpoint: Hashable, Sendable, CustomStringConvertible {
    case tcp(host: String, port: Int)
    case unix(path: String)

    package var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        case .unix(let path): path
        }
    }
}

/// A request as it goes out: HTTP/1.1, `Host`, `Connection: close`, and with a body `Content-Length` and `Content-Type`.
package struct OutgoingRequest: Sendable {
    package var method: String
    package var path: String
    package var headers: [HTTPHeader]
    /// Nil: none, and no `Content-Length`, as a GET has it.
    package var body: [UInt8]?
    package var contentType = "application/json"

    package init(method: String, path: String, headers: [HTTPHeader] = [], body: [UInt8]? = nil) {
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
    }

    func write(into buffer: inout ByteBuffer, host: String) {
        var lines = ["\(method) \(path) HTTP/1.1", "Host: \(host)", "Connection: close", "User-Agent: ced"]
        if let body { lines += ["Content-Length: \(body.count)", "Content-Type: \(contentType)"] }
        lines += headers.map { "\($0.name): \($0.value)" }
        for line in lines {
            // Whatever a caller put into a path or a header, a line stays one.
            buffer.writeBytes(line.utf8.lazy.map { $0 < 32 || $0 == 127 ? 32 : $0 })
            buffer.writeString("\r\n")
        }
        buffer.writeString("\r\n")
        if let body { buffer.writeBytes(body) }
    }
}

package struct OneRequestClient: Sendable {
    package struct Settings: Sendable {
        /// The local address to dial from; nil: the system's choice.
        package var bindAddress: String?
        package var connectTimeout = TimeAmount.seconds(10)
        package var handshakeTimeout = TimeAmount.seconds(10)
        /// Longest silence while a response is awaited, as ctrl-exec's `read_timeout` (protocol page, 5.3).
        package var readTimeout = TimeAmount.seconds(60)
        /// Longest time from the first byte of a response to its last; nil: as long as there is no silence.
        package var wholeTimeout: TimeAmount?
        /// Bytes of a response's body.
        package var responseLimit = 4 << 20
        /// Asked for all that arrives, in bytes; no: the exchange ends with `overBudget`. For what many exchanges share.
        package var admitBytes: @Sendable (Int) -> Bool = { _ in true }
        /// For a server that may die without a word while the response is awaited for long: the system asks for it after this silence, and
        /// gives the connection up when nothing came back for as long again.
        package var keepalive: TimeAmount?

        package init() {}
    }

    private let group: any EventLoopGroup
    private let tls: TLSClient?
    private let settings: Settings

    /// - Parameter tls: nil: plain, for a unix socket or 7445 on loopback.
    package init(group: any EventLoopGroup, tls: TLSClient?, settings: Settings = Settings()) {
        self.group = group
        self.tls = tls
        self.settings = settings
    }

    /// The one response. A cancelled task closes the connection.
    package func exchange(_ request: OutgoingRequest, with endpoint: Endpoint) async throws(ExchangeFailure) -> HTTPReply {
        let exchange = Exchange()
        do {
            for try await reply in responses(to: request, from: endpoint, count: 1, exchange: exchange) { return reply }
        } catch let failure as ExchangeFailure {
            throw failure
        } catch {
            throw .local("\(error)")
        }
        throw .cancelled(requestSent: exchange.requestSent)
    }

    /// Up to `count` responses as they come (pairing: 2). Ends after the last, or throws `ExchangeFailure`; a caller that stops listening
    /// closes the connection. That the peer closes between two responses is `closedWithoutResponse`.
    package func responses(to request: OutgoingRequest, from endpoint: Endpoint, count: Int) -> AsyncThrowingStream<HTTPReply, any Error> {
        responses(to: request, from: endpoint, count: count, exchange: Exchange())
    }

    private func responses(to request: OutgoingRequest, from endpoint: Endpoint, count: Int, exchange: Exchange)
        -> AsyncThrowingStream<HTTPReply, any Error>
    {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: HTTPReply.self)
        continuation.onTermination = { _ in exchange.abandon() }
        let local: SocketAddress?
        do {
            local = try settings.bindAddress.map { try SocketAddress(ipAddress: $0, port: 0) }
        } catch {
            continuation.finish(throwing: ExchangeFailure.local("'\(settings.bindAddress ?? "")' is not an address to dial from"))
            return stream
        }
        let tls = tls
        let settings = settings
        var bootstrap = ClientBootstrap(group: group)
            .connectTimeout(settings.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.closeOnExec()
                    let pipeline = channel.pipeline.syncOperations
                    if let tls {
                        guard case .tcp(let host, let port) = endpoint else {
                            throw ExchangeFailure.local("TLS over a unix socket is not spoken here")
                        }
                        let address = RemoteAddress(ip: host, port: port)
                        do {
                            try pipeline.addHandlers(
                                TLSFactory.handlers(for: tls, name: host, to: address, timeout: settings.handshakeTimeout))
                        } catch {
                            throw ExchangeFailure.local("cannot use our own identity for TLS: \(plainReason(of: error))")
                        }
                    }
                    try pipeline.addHandler(
                        ExchangeHandler(
                            request: request, host: "\(endpoint)", count: count, isSecured: tls != nil, settings: settings,
                            exchange: exchange,
                            replies: continuation))
                }
            }
        let connected: EventLoopFuture<any Channel>
        switch endpoint {
        case .tcp(let host, let port):
            if let local { bootstrap = bootstrap.bind(to: local) }
            if let keepalive = settings.keepalive {
                let seconds = Int(max(1, keepalive.nanoseconds / 1_000_000_000))
                bootstrap = bootstrap.channelOption(.socketOption(.so_keepalive), value: 1)
                    .channelOption(.keepaliveIdle, value: seconds)
                    .channelOption(.keepaliveInterval, value: max(1, seconds / 3))
                    .channelOption(.unacknowledged, value: seconds * 1_000)
            }
            connected = bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1).connect(host: host, port: port)
        case .unix(let path): connected = bootstrap.connect(unixDomainSocketPath: path)
        }
        connected.whenComplete { result in
            switch result {
            case .success(let channel): exchange.connected(channel)
            case .failure(let failure as ExchangeFailure): continuation.finish(throwing: failure)
            case .failure(let error): continuation.finish(throwing: ExchangeFailure(connecting: error, to: endpoint))
            }
        }
        return stream
    }
}

/// What the caller's side and the connection's side both need to know of one exchange.
private final class Exchange: Sendable {
    private struct State {
        var channel: (any Channel)?
        var requestSent = false
        var isAbandoned = false
    }
    private let state = Mutex(State())

    var requestSent: Bool { state.withLock { $0.requestSent } }
    var isAbandoned: Bool { state.withLock { $0.isAbandoned } }

    /// False if the caller has gone, and nothing is to be sent.
    func sending() -> Bool {
        state.withLock { state in
            if !state.isAbandoned { state.requestSent = true }
            return !state.isAbandoned
        }
    }

    func connected(_ channel: any Channel) {
        let close = state.withLock { state in
            state.channel = channel
            return state.isAbandoned
        }
        if close { channel.close(promise: nil) }
    }

    func abandon() {
        let channel = state.withLock { state in
            state.isAbandoned = true
            return state.channel
        }
        channel?.close(promise: nil)
    }
}

private final class ExchangeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let request: OutgoingRequest
    private let host: String
    private let isSecured: Bool
    private let settings: OneRequestClient.Settings
    private let exchange: Exchange
    private let replies: AsyncThrowingStream<HTTPReply, any Error>.Continuation
    private var parser: ResponseParser
    private var remaining: Int
    private var peer: Peer?
    private var deadline: Scheduled<Void>?
    private var wholeDeadline: Scheduled<Void>?
    private var hasEnded = false
    private var hasHeard = false
    /// The stream of bytes was cut, not closed.
    private var isTorn = false

    init(
        request: OutgoingRequest, host: String, count: Int, isSecured: Bool, settings: OneRequestClient.Settings, exchange: Exchange,
        replies: AsyncThrowingStream<HTTPReply, any Error>.Continuation
    ) {
        self.request = request
        self.host = host
        self.isSecured = isSecured
        self.settings = settings
        self.exchange = exchange
        self.replies = replies
        remaining = count
        parser = ResponseParser(bodyLimit: settings.responseLimit, withoutBody: request.method == "HEAD")
    }

    func channelActive(context: ChannelHandlerContext) {
        if !isSecured { send(context) }
        context.fireChannelActive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let secured = event as? Secured else { return context.fireUserInboundEventTriggered(event) }
        peer = secured.peer
        send(context)
    }

    private func send(_ context: ChannelHandlerContext) {
        guard exchange.sending() else { return end(.cancelled(requestSent: false), context) }
        var buffer = context.channel.allocator.buffer(capacity: 512 + (request.body?.count ?? 0))
        request.write(into: &buffer, host: host)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
        awaitBytes(context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasEnded else { return }
        let bytes = unwrapInboundIn(data)
        guard settings.admitBytes(bytes.readableBytes) else { return end(.overBudget, context) }
        if !hasHeard, let whole = settings.wholeTimeout { wholeDeadline = timeout(in: whole, context) }
        hasHeard = true
        parser.append(bytes.readableBytesView)
        do throws(ResponseParser.Failure) {
            while !hasEnded, let message = try parser.next() { deliver(message, context) }
        } catch {
            switch error {
            case .tooLarge: end(.tooLarge(limit: settings.responseLimit), context)
            case .malformed(let reason): end(.malformed(reason), context)
            }
        }
        if !hasEnded { awaitBytes(context) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if !hasEnded, !isTorn, let message = parser.end() { deliver(message, context) }
        if parser.isBetweenResponses {
            end(.closedWithoutResponse(requestSent: exchange.requestSent), context)
        } else {
            end(.malformed("the connection ended in the middle of it"), context)
        }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case HandshakeFailure.timedOut: end(.timeout(.handshake), context)
        case HandshakeFailure.closed: end(.closedWithoutResponse(requestSent: false), context)
        case HandshakeFailure.refused(let refusal): end(.wrongPeer(refusal.description), context)
        case HandshakeFailure.failed(let reason): end(.handshake(reason), context)
        case _ where !hasHeard && isCertificateAlert(error):
            end(.handshake("the peer does not accept our certificate (\(plainReason(of: error)))"), context)
        default:
            // The end of the connection follows and finds out what it means for the response.
            isTorn = true
            if !isEndOfConnection(error) { context.close(promise: nil) }
        }
    }

    private func deliver(_ message: ResponseParser.Message, _ context: ChannelHandlerContext) {
        replies.yield(HTTPReply(status: message.status, headers: message.headers, body: message.body, peer: peer))
        remaining -= 1
        if remaining == 0 { end(nil, context) }
    }

    private func end(_ failure: ExchangeFailure?, _ context: ChannelHandlerContext) {
        guard !hasEnded else { return }
        hasEnded = true
        deadline?.cancel()
        wholeDeadline?.cancel()
        // Whatever follows from our own closing is not the peer's doing.
        let isCancelled = failure != nil && exchange.isAbandoned
        replies.finish(throwing: isCancelled ? .cancelled(requestSent: exchange.requestSent) : failure)
        context.close(promise: nil)
    }

    private func awaitBytes(_ context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = timeout(in: settings.readTimeout, context)
    }

    private func timeout(in time: TimeAmount, _ context: ChannelHandlerContext) -> Scheduled<Void> {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        return context.eventLoop.scheduleTask(in: time) {
            let (handler, context) = bound.value
            handler.end(.timeout(.response), context)
        }
    }
}
