// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Frames between members on 7446: four bytes of length, big-endian, then so many bytes, over mutual TLS. Everything happens on one event
// loop, synchronously: a frame is handed over in the step that read it, with no queue and no task in between. What a frame means, when to
// dial again and which of two connections to keep is the shell's.

import NIOCore
import NIOPosix
import PKI

package struct FramedPeerLimits: Sendable {
    /// One frame, without its length. More ends the connection.
    package var frameBytes = 1 << 20
    /// Written and not yet taken by the peer's side. More is dropped, and `send` says so.
    package var pendingBytes = 8 << 20
    package var connectTimeout = TimeAmount.seconds(2)
    package var handshakeTimeout = TimeAmount.seconds(5)
    /// Accepted and not yet checked, from one address: one more is turned away.
    package var handshakesPerAddress = 8
    /// Accepted and not yet checked, from anywhere: one more ends the oldest, for an honest one takes milliseconds.
    package var handshakes = 256
    /// Checked peers.
    package var connections = 256
    /// How long what was sent may stay unacknowledged. The system's own patience grows to a quarter of an hour, and its next attempt after
    /// a partition may be minutes away; a new connection is there at once.
    package var unacknowledged = TimeAmount.seconds(2)

    package init() {}
}

/// What happens to connections, called on the loop that was given, in order.
package struct FramedPeerEvents: Sendable {
    /// The peer has passed the check.
    package var onConnect: @Sendable (FramedConnection) -> Void
    package var onFrame: @Sendable (FramedConnection, ByteBuffer) -> Void
    /// Once for each connection that `onConnect` announced.
    package var onClose: @Sendable (FramedConnection, _ reason: String) -> Void
    /// A connection that did not come about: refused, no handshake, no answer. Probes that close without a byte are not told.
    package var onFailure: @Sendable (RemoteAddress, _ reason: String) -> Void

    package init(
        onConnect: @escaping @Sendable (FramedConnection) -> Void, onFrame: @escaping @Sendable (FramedConnection, ByteBuffer) -> Void,
        onClose: @escaping @Sendable (FramedConnection, _ reason: String) -> Void,
        onFailure: @escaping @Sendable (RemoteAddress, _ reason: String) -> Void
    ) {
        self.onConnect = onConnect
        self.onFrame = onFrame
        self.onClose = onClose
        self.onFailure = onFailure
    }
}

/// One connection to a checked peer. Identity is the object's. `send` and `pendingBytes` are for the connection's loop only.
package final class FramedConnection: Sendable {
    package let peer: Peer
    package let eventLoop: any EventLoop
    private let channel: any Channel
    private let limits: FramedPeerLimits
    private let pending: NIOLoopBoundBox<Int>

    fileprivate init(channel: any Channel, peer: Peer, limits: FramedPeerLimits) {
        self.channel = channel
        self.peer = peer
        self.limits = limits
        eventLoop = channel.eventLoop
        pending = NIOLoopBoundBox(0, eventLoop: channel.eventLoop)
    }

    /// Bytes that were written and have not left.
    package var pendingBytes: Int { pending.value }

    /// False: dropped, because too much is waiting, the frame is over the limit or the connection is closed.
    @discardableResult package func send(_ frame: ByteBuffer, flush: Bool = true) -> Bool {
        let length = frame.readableBytes
        guard channel.isActive, length <= limits.frameBytes, pending.value + length + 4 <= limits.pendingBytes else { return false }
        var head = channel.allocator.buffer(capacity: 4)
        head.writeInteger(UInt32(length))
        let pending = pending
        pending.value += length + 4
        channel.write(head, promise: nil)
        let left = eventLoop.makePromise(of: Void.self)
        left.futureResult.whenComplete { _ in pending.value -= length + 4 }
        channel.write(frame, promise: left)
        if flush { channel.flush() }
        return true
    }

    package func flush() { channel.flush() }

    package func close() { channel.close(promise: nil) }
}

/// The accepting side.
package final class FramedPeerListener: Sendable {
    private let channel: any Channel
    package var port: Int? { channel.localAddress?.port }

    private init(channel: any Channel) { self.channel = channel }

    /// Accepts on `loop`. Only `.required` client certificates make sense here. Throws `ListenFailure`.
    package static func start(
        at address: ListenAddress, tls: @escaping @Sendable () throws -> TLSServer, limits: FramedPeerLimits = FramedPeerLimits(),
        on loop: any EventLoop, events: FramedPeerEvents
    ) async throws -> FramedPeerListener {
        let door = NIOLoopBoundBox.makeBoxSendingValue(PeerDoor(limits), eventLoop: loop)
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 64)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.closeOnExec()
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                }
            }
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(.unacknowledged, value: limits.unacknowledgedMilliseconds)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.closeOnExec()
                    let address = RemoteAddress(channel.remoteAddress)
                    let pipeline = channel.pipeline.syncOperations
                    guard door.value.admit(channel, from: address) else {
                        events.onFailure(address, "too many unfinished handshakes from this address")
                        return try pipeline.addHandler(TurnAwayHandler())
                    }
                    let id = ObjectIdentifier(channel)
                    channel.closeFuture.assumeIsolated().whenComplete { _ in door.value.remove(id) }
                    do {
                        try pipeline.addHandlers(TLSFactory.handlers(for: tls(), from: address, timeout: limits.handshakeTimeout))
                    } catch {
                        events.onFailure(address, "cannot offer TLS: \(error)")
                        return try pipeline.addHandler(TurnAwayHandler())
                    }
                    try addFraming(
                        to: channel, address: address, limits: limits, isDialled: false, events: events,
                        admit: { door.value.check(id) })
                }
            }
        return FramedPeerListener(channel: try await bootstrap.listen(at: address))
    }

    /// Accepts nothing more; open connections are their owner's to close.
    package func stop() async {
        channel.close(promise: nil)
        do { try await channel.closeFuture.get() } catch { return }
    }
}

/// The dialling side: one attempt, told by `events` (`onConnect` or `onFailure`).
package enum FramedPeerDialer {
    package static func dial(
        host: String, port: Int, from bindAddress: String? = nil, tls: TLSClient, limits: FramedPeerLimits = FramedPeerLimits(),
        on loop: any EventLoop, events: FramedPeerEvents
    ) {
        let address = RemoteAddress(ip: host, port: port)
        var bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(limits.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .channelOption(.unacknowledged, value: limits.unacknowledgedMilliseconds)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.closeOnExec()
                    try channel.pipeline.syncOperations.addHandlers(
                        TLSFactory.handlers(for: tls, name: host, to: address, timeout: limits.handshakeTimeout))
                    try addFraming(to: channel, address: address, limits: limits, isDialled: true, events: events, admit: { true })
                }
            }
        do {
            if let bindAddress { bootstrap = bootstrap.bind(to: try SocketAddress(ipAddress: bindAddress, port: 0)) }
        } catch {
            return loop.execute { events.onFailure(address, "'\(bindAddress ?? "")' is not an address to dial from") }
        }
        bootstrap.connect(host: host, port: port).hop(to: loop).whenFailure { error in
            events.onFailure(address, ExchangeFailure(connecting: error, to: .tcp(host: host, port: port)).description)
        }
    }
}

extension FramedPeerLimits {
    fileprivate var unacknowledgedMilliseconds: Int { Int(unacknowledged.nanoseconds / 1_000_000) }
}

/// Who is let in. Whoever can reach the port can open connections, so those that have proved nothing are counted apart: they never take the
/// place of a member.
private final class PeerDoor {
    private struct Waiting {
        let id: ObjectIdentifier
        let channel: any Channel
        let ip: String?
    }
    private let limits: FramedPeerLimits
    /// Oldest first.
    private var waiting: [Waiting] = []
    private var checked: Set<ObjectIdentifier> = []

    init(_ limits: FramedPeerLimits) { self.limits = limits }

    func admit(_ channel: any Channel, from address: RemoteAddress) -> Bool {
        guard waiting.count(where: { $0.ip == address.ip }) < limits.handshakesPerAddress else { return false }
        let oldest = waiting.count >= limits.handshakes ? waiting.removeFirst() : nil
        waiting.append(Waiting(id: ObjectIdentifier(channel), channel: channel, ip: address.ip))
        oldest?.channel.close(promise: nil)
        return true
    }

    /// The peer has passed the check.
    func check(_ id: ObjectIdentifier) -> Bool {
        waiting.removeAll { $0.id == id }
        guard checked.count < limits.connections else { return false }
        checked.insert(id)
        return true
    }

    func remove(_ id: ObjectIdentifier) {
        waiting.removeAll { $0.id == id }
        checked.remove(id)
    }
}

private func addFraming(
    to channel: any Channel, address: RemoteAddress, limits: FramedPeerLimits, isDialled: Bool, events: FramedPeerEvents,
    admit: @escaping () -> Bool
) throws {
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHandler(ByteToMessageHandler(FrameDecoder(limit: limits.frameBytes)))
    try pipeline.addHandler(FramedPeerHandler(address: address, limits: limits, isDialled: isDialled, events: events, admit: admit))
}

private struct FrameTooLarge: Error, CustomStringConvertible {
    let length: Int
    let limit: Int
    var description: String { "a frame of \(length) bytes is over the limit of \(limit)" }
}

private struct FrameDecoder: ByteToMessageDecoder {
    typealias InboundOut = ByteBuffer
    let limit: Int

    mutating func decode(context: ChannelHandlerContext, buffer: inout ByteBuffer) throws -> DecodingState {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self).map(Int.init) else { return .needMoreData }
        guard length <= limit else { throw FrameTooLarge(length: length, limit: limit) }
        guard buffer.readableBytes >= 4 + length else { return .needMoreData }
        buffer.moveReaderIndex(forwardBy: 4)
        guard let frame = buffer.readSlice(length: length) else { return .needMoreData }
        context.fireChannelRead(wrapInboundOut(frame))
        return .continue
    }

    mutating func decodeLast(context: ChannelHandlerContext, buffer: inout ByteBuffer, seenEOF: Bool) throws -> DecodingState {
        // A frame that was cut by the end of the connection is nobody's.
        while try decode(context: context, buffer: &buffer) == .continue {}
        return .needMoreData
    }
}

private final class FramedPeerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let address: RemoteAddress
    private let limits: FramedPeerLimits
    private let isDialled: Bool
    private let events: FramedPeerEvents
    /// Asked once, when the peer has passed the check.
    private let admit: () -> Bool
    private var connection: FramedConnection?
    private var reason: String?
    private var hasFailed = false

    init(address: RemoteAddress, limits: FramedPeerLimits, isDialled: Bool, events: FramedPeerEvents, admit: @escaping () -> Bool) {
        self.admit = admit
        self.address = address
        self.limits = limits
        self.isDialled = isDialled
        self.events = events
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let secured = event as? Secured else { return context.fireUserInboundEventTriggered(event) }
        guard let peer = secured.peer else { return fail("the peer presented no certificate", context) }
        guard admit() else { return fail("too many connections", context) }
        let connection = FramedConnection(channel: context.channel, peer: peer, limits: limits)
        self.connection = connection
        events.onConnect(connection)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let connection, reason == nil else { return }
        do throws(PeerRefusal) {
            // Asked for every frame: a member that was removed or revoked is not heard any more.
            try connection.peer.recheck()
        } catch {
            return fail(error.description, context)
        }
        events.onFrame(connection, unwrapInboundIn(data))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if !isDialled, error as? HandshakeFailure == .closed(heard: false) {
            // A probe.
            hasFailed = true
            context.close(promise: nil)
        } else {
            fail(plainReason(of: error), context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let connection {
            self.connection = nil
            events.onClose(connection, reason ?? "the peer closed the connection")
        }
        context.fireChannelInactive()
    }

    private func fail(_ text: String, _ context: ChannelHandlerContext) {
        if connection == nil, !hasFailed { events.onFailure(address, text) }
        hasFailed = true
        reason = reason ?? text
        context.close(promise: nil)
    }
}
