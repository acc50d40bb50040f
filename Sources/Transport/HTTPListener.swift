// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A port that speaks HTTP as ctrl-exec does: one request a connection, one response (7444: two), then the connection is closed.
// TLS, the peer check, every limit and the closing are here; what a request means is the handler's.

import NIOCore
import NIOPosix
import Synchronization

/// What one connection, and all together, may cost us. Each limit closes a way to hold the port for nothing.
package struct HTTPLimits: Sendable {
    /// ctrl-exec's: one more is answered with 431.
    package var headerCount = 32
    /// Names and values of all headers together.
    package var headerBytes = 32_768
    /// ctrl-exec's: more is answered with 413 before it is read.
    package var bodyBytes = 1_048_576
    /// Bodies of all connections together, from their first byte until they are answered; more is answered with 503.
    package var bodiesBytes = 64 << 20
    package var handshakeTimeout = TimeAmount.seconds(10)
    /// From the end of the handshake to the last byte of the request.
    package var requestTimeout = TimeAmount.seconds(30)
    /// For a peer to take a response that was written.
    package var writeTimeout = TimeAmount.seconds(30)
    /// After an early refusal, so that the peer can read it before its unread bytes reset the connection.
    package var lingerTimeout = TimeAmount.seconds(1)
    /// At a graceful stop, for requests that are on their way: whoever has sent his and finds the connection closed cannot know what happened.
    package var stopGrace = TimeAmount.milliseconds(500)
    /// Open, or with a request that is still being worked on for a client that may have gone.
    package var connections = 512
    package var connectionsPerAddress = 64

    package init() {}
}

/// What happened to a connection that never became a request. For the log, and for limits by address.
package struct ConnectionIncident: Sendable, CustomStringConvertible {
    package enum Kind: Hashable, Sendable {
        /// Includes what our own check refused.
        case handshakeFailed(HandshakeFailure)
        /// Answered with 403: revoked, expired or no longer admitted between handshake and request.
        case peerRefused(PeerRefusal)
        case requestTimedOut
        case malformed
        case tooLarge
        case tooManyConnections
        /// Answered with 503: the bodies of others fill the memory that there is for them.
        case noMemory
        /// The server's own side: no identity to present.
        case unavailable(String)
    }
    package let kind: Kind
    package let address: RemoteAddress

    package var description: String {
        switch kind {
        case .handshakeFailed(let failure): "\(address): \(failure)"
        case .peerRefused(let refusal): "\(address): \(refusal)"
        case .requestTimedOut: "\(address): the request did not arrive in time"
        case .malformed: "\(address): the request is not HTTP"
        case .tooLarge: "\(address): the request is over the limits"
        case .tooManyConnections: "\(address): too many connections"
        case .noMemory: "\(address): too many large requests at once"
        case .unavailable(let reason): "\(address): \(reason)"
        }
    }
}

/// Why a request is refused whatever its body says.
package enum HeadRefusal: Sendable {
    /// Answered as other early refusals are.
    case error(status: Int, String)
    case answer(@Sendable () async -> HTTPResponse)
    package init(_ status: Int, _ error: String) { self = .error(status: status, error) }
    package init(answer: @escaping @Sendable () async -> HTTPResponse) { self = .answer(answer) }
}

package struct HTTPListenerConfiguration: Sendable {
    package var address: ListenAddress
    /// Asked for each accepted connection, so that identity and trust may change while the port is open. Nil: no TLS.
    package var tls: (@Sendable () throws -> TLSServer)?
    package var limits = HTTPLimits()
    /// Asked before the handshake; no: the connection is closed without a byte.
    package var admitAddress: @Sendable (RemoteAddress) -> Bool = { _ in true }
    /// Asked after the handshake, before the request is read; no: closed without a response, as agents do (protocol page, 5.3).
    package var admitPeer: @Sendable (RemoteAddress, Peer?) -> Bool = { _, _ in true }
    /// Asked about a request that announces a body, before any of it is kept: whom nothing is done for does not fill our memory first. The
    /// request has no body yet. Nil: read on.
    package var refuseHead: @Sendable (HTTPRequest) -> HeadRefusal? = { _ in nil }
    /// What is answered to a request that was not read to its end (400, 401, 403, 413, 431), from status and reason; nil: `{"error":…}`, as
    /// ctrl-exec's agents do.
    package var earlyRefusal: (@Sendable (Int, String) async -> HTTPResponse)?
    /// Probes that close without a byte are not reported.
    package var report: @Sendable (ConnectionIncident) -> Void = { _ in }

    package init(address: ListenAddress, tls: (@Sendable () throws -> TLSServer)? = nil) {
        self.address = address
        self.tls = tls
    }
}

/// The way back to one client. Several responses may be sent; the last closes the connection.
package final class ResponseWriter: Sendable {
    private let channel: any Channel
    private let withoutBody: Bool
    private let writeTimeout: TimeAmount
    private let finished = Mutex(false)

    init(channel: any Channel, withoutBody: Bool, writeTimeout: TimeAmount) {
        self.channel = channel
        self.withoutBody = withoutBody
        self.writeTimeout = writeTimeout
    }

    /// Returns when the response has left, false if the client is gone or did not take it in time. After `last` nothing more is sent.
    @discardableResult package func send(_ response: HTTPResponse, last: Bool = true) async -> Bool {
        let late = finished.withLock { finished in
            defer { finished = finished || last }
            return finished
        }
        if late { return false }
        var buffer = channel.allocator.buffer(capacity: 256 + response.body.count)
        response.write(into: &buffer, withoutBody: withoutBody)
        let channel = channel
        let deadline = channel.eventLoop.scheduleTask(in: writeTimeout) { channel.close(promise: nil) }
        defer { deadline.cancel() }
        do {
            try await channel.writeAndFlush(buffer).get()
        } catch {
            channel.close(promise: nil)
            return false
        }
        if last { channel.close(promise: nil) }
        return true
    }

    /// Returns when the connection is over, whoever ended it.
    package var closed: Void {
        get async {
            // The future of a close never fails for us: either way the connection is over.
            _ = await channel.closeFuture.result()
        }
    }

    package var isClosed: Bool { !channel.isActive }

    /// Closes without a further response.
    package func close() {
        finished.withLock { $0 = true }
        channel.close(promise: nil)
    }

    /// A handler that returned without its last response leaves nothing open.
    func handlerReturned() {
        if !finished.withLock({ $0 }) { close() }
    }
}

extension EventLoopFuture where Value == Void {
    fileprivate func result() async -> Bool {
        do {
            try await get()
            return true
        } catch {
            return false
        }
    }
}

/// A bound port.
package final class HTTPListener: Sendable {
    package typealias Handler = @Sendable (HTTPRequest, ResponseWriter) async -> Void

    private let channel: any Channel
    private let registry: ConnectionRegistry
    private let report: @Sendable (ConnectionIncident) -> Void
    /// The port that is bound, also where 0 was asked for; nil for a unix socket.
    package var port: Int? { channel.localAddress?.port }
    /// Connections that are open now.
    package var connectionCount: Int { registry.count }

    private init(channel: any Channel, registry: ConnectionRegistry, report: @escaping @Sendable (ConnectionIncident) -> Void) {
        self.channel = channel
        self.registry = registry
        self.report = report
    }

    /// Binds and serves until `stop`. Throws `ListenFailure`.
    package static func start(_ configuration: HTTPListenerConfiguration, on group: any EventLoopGroup, handler: @escaping Handler)
        async throws
        -> HTTPListener
    {
        let registry = ConnectionRegistry(limits: configuration.limits)
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                // Out of file descriptors: pause instead of spinning.
                channel.eventLoop.makeCompletedFuture {
                    try channel.closeOnExec()
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.closeOnExec()
                    try HTTPConnection.configure(channel, configuration: configuration, registry: registry, handler: handler)
                }
            }
        let channel = try await bootstrap.listen(at: configuration.address)
        return HTTPListener(channel: channel, registry: registry, report: configuration.report)
    }

    /// Looks at the peer of every open connection once more, and closes those that are admitted no longer, whatever they are doing.
    package func recheckPeers() {
        for (channel, address, refusal) in registry.refusedPeers() {
            report(ConnectionIncident(kind: .peerRefused(refusal), address: address))
            channel.close(promise: nil)
        }
    }

    /// Accepts nothing more, waits up to `drain` for the responses of those who are connected, and closes what is left; connections whose request
    /// is not complete after `stopGrace` (or `drain`, if that is less) sooner than the others.
    package func stop(drain: TimeAmount) async {
        let loop = channel.eventLoop
        _ = await channel.close().result()
        let empty = loop.makePromise(of: Void.self)
        registry.drain(empty)
        let registry = registry
        let grace = min(drain, registry.limits.stopGrace)
        let patience = loop.scheduleTask(in: grace) { registry.closeIdle() }
        let deadline = loop.scheduleTask(in: drain) { registry.closeAll() }
        _ = await empty.futureResult.result()
        patience.cancel()
        deadline.cancel()
    }
}

/// The open connections of one port: how many, from where, and which of them have a request in hand.
final class ConnectionRegistry: Sendable {
    private struct Entry {
        let channel: any Channel
        let ip: String?
        /// Once it is known who is at the other end.
        var peer: Peer?
        /// A request is in its handler's hands: it costs us something until the handler has returned, whether or not the client waits.
        var isServing = false
        var isClosed = false
        /// Of its request's body, as far as it has come.
        var bodyBytes = 0
    }
    private struct State {
        var entries: [ObjectIdentifier: Entry] = [:]
        var perAddress: [String: Int] = [:]
        var bodiesBytes = 0
        var empty: EventLoopPromise<Void>?

        mutating func remove(_ id: ObjectIdentifier) {
            guard let entry = entries.removeValue(forKey: id) else { return }
            bodiesBytes -= entry.bodyBytes
            guard let ip = entry.ip else { return }
            let left = perAddress[ip, default: 1] - 1
            perAddress[ip] = left > 0 ? left : nil
        }
    }
    let limits: HTTPLimits
    private let state = Mutex(State())

    init(limits: HTTPLimits) { self.limits = limits }

    var count: Int { state.withLock { $0.entries.values.count { !$0.isClosed } } }

    /// False if there are too many already, or the port is closing.
    func admit(_ channel: any Channel, from address: RemoteAddress) -> Bool {
        let id = ObjectIdentifier(channel)
        let admitted = state.withLock { state in
            guard state.empty == nil, state.entries.count < limits.connections else { return false }
            if let ip = address.ip {
                guard state.perAddress[ip, default: 0] < limits.connectionsPerAddress else { return false }
                state.perAddress[ip, default: 0] += 1
            }
            state.entries[id] = Entry(channel: channel, ip: address.ip)
            return true
        }
        if admitted { channel.closeFuture.whenComplete { [self] _ in closed(id) } }
        return admitted
    }

    /// More of a body has come; false: there is no room for it.
    func keeps(_ count: Int, of channel: any Channel) -> Bool {
        state.withLock { state in
            let id = ObjectIdentifier(channel)
            guard state.entries[id] != nil, state.bodiesBytes + count <= limits.bodiesBytes else { return false }
            state.bodiesBytes += count
            state.entries[id]?.bodyBytes += count
            return true
        }
    }

    func identified(_ channel: any Channel, as peer: Peer) { state.withLock { $0.entries[ObjectIdentifier(channel)]?.peer = peer } }

    func refusedPeers() -> [(channel: any Channel, address: RemoteAddress, refusal: PeerRefusal)] {
        // Asked outside of the lock: what a policy admits is somebody else's to know.
        let known = state.withLock { state in state.entries.values.compactMap { entry in entry.peer.map { (entry.channel, $0) } } }
        return known.compactMap { channel, peer in
            do throws(PeerRefusal) {
                try peer.recheck()
                return nil
            } catch {
                return (channel, peer.remoteAddress, error)
            }
        }
    }

    /// The request is complete: the connection survives a graceful stop until it is answered.
    func serves(_ channel: any Channel) { state.withLock { $0.entries[ObjectIdentifier(channel)]?.isServing = true } }

    /// The handler has returned: now, or when the connection is closed, its place is free.
    func served(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        state.withLock { state in
            state.entries[id]?.isServing = false
            if state.entries[id]?.isClosed == true { state.remove(id) }
        }
    }

    /// Fulfilled when the last connection is closed; no more are admitted.
    func drain(_ empty: EventLoopPromise<Void>) {
        state.withLock { $0.empty = empty }
        succeedIfEmpty()
    }

    /// Those without a complete request.
    func closeIdle() {
        let idle = state.withLock { state in state.entries.values.filter { !$0.isServing && !$0.isClosed }.map(\.channel) }
        for channel in idle { channel.close(promise: nil) }
    }

    func closeAll() {
        for channel in state.withLock({ $0.entries.values.map(\.channel) }) { channel.close(promise: nil) }
    }

    private func closed(_ id: ObjectIdentifier) {
        state.withLock { state in
            if state.entries[id]?.isServing == true {
                state.entries[id]?.isClosed = true
            } else {
                state.remove(id)
            }
        }
        succeedIfEmpty()
    }

    private func succeedIfEmpty() { state.withLock { $0.entries.values.allSatisfy(\.isClosed) ? $0.empty : nil }?.succeed(()) }
}
