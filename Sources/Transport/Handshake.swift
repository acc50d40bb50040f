// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// From the first byte to a peer that has been checked: the deadline of the handshake, the check after it, and what its failures are called.
// Nothing that a peer sends passes this handler before it fired `Secured`.

import Glibc
import NIOCore
import NIOSSL
import NIOTLS
import PKI

/// Fired inbound once: the handshake is over and the peer has passed the check. Nil: it presented no certificate, where that is allowed.
struct Secured: Sendable {
    let peer: Peer?
}

/// Fired as an error once, instead of `Secured`; the connection is closed.
package enum HandshakeFailure: Error, Hashable, Sendable, CustomStringConvertible {
    case timedOut
    /// `heard`: whether the peer had sent a single byte. A probe has not, and is nobody's concern.
    case closed(heard: Bool)
    /// Our check said no.
    case refused(PeerRefusal)
    /// TLS said no, ours or theirs.
    case failed(String)

    package var description: String {
        switch self {
        case .timedOut: "the TLS handshake was not finished in time"
        case .closed(true): "the connection was closed during the TLS handshake"
        case .closed(false): "the connection was closed before the TLS handshake"
        case .refused(let refusal): refusal.description
        case .failed(let reason): "the TLS handshake failed: \(reason)"
        }
    }
}

/// In front of TLS: notes whether the peer sent anything.
final class ArrivalHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    private(set) var heard = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        heard = true
        context.fireChannelRead(data)
    }
}

/// Behind TLS.
final class HandshakeHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    enum Demand {
        case none, optional, required
    }

    private enum State {
        case waiting, secured, failed
    }

    private let tls: NIOSSLHandler
    private let arrival: ArrivalHandler
    private let verdict: PeerVerdict
    private let demand: Demand
    private let timeout: TimeAmount
    private var state = State.waiting
    private var deadline: Scheduled<Void>?

    init(tls: NIOSSLHandler, arrival: ArrivalHandler, verdict: PeerVerdict, demand: Demand, timeout: TimeAmount) {
        self.tls = tls
        self.arrival = arrival
        self.verdict = verdict
        self.demand = demand
        self.timeout = timeout
    }

    func channelActive(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        deadline = context.eventLoop.scheduleTask(in: timeout) {
            let (handler, context) = bound.value
            handler.fail(.timedOut, context)
        }
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent else { return context.fireUserInboundEventTriggered(event) }
        guard state == .waiting else { return }
        do {
            let peer = try peerAfterHandshake()
            state = .secured
            deadline?.cancel()
            context.fireUserInboundEventTriggered(Secured(peer: peer))
        } catch {
            fail(.refused(error), context)
        }
    }

    /// The check after every handshake. A certificate without a chain that our callback validated is a resumed session: the owner of
    /// the ticket proved nothing on this connection.
    private func peerAfterHandshake() throws(PeerRefusal) -> Peer? {
        switch (tls.peerCertificate, tls.peerValidatedCertificateChain, verdict.value) {
        case (nil, nil, nil):
            guard demand != .required else { throw PeerRefusal("no certificate was presented") }
            return nil
        case (let presented?, _?, .success(let peer)?) where demand != .none:
            guard presented.hasDER(peer.certificate.der) else {
                throw PeerRefusal("the certificate of the connection is not the one that was checked")
            }
            try peer.recheck()
            return peer
        case (_, _, .failure(let refusal)?): throw refusal
        default: throw PeerRefusal("an earlier session was resumed, without a certificate on this connection")
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard state == .secured else { return }
        context.fireChannelRead(data)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard state == .waiting else { return context.fireErrorCaught(error) }
        if case .failure(let refusal)? = verdict.value { return fail(.refused(refusal), context) }
        // The library's words for an end of the connection in the middle; what was before it decides how we call it.
        if isEndOfConnection(error) { return fail(.closed(heard: arrival.heard), context) }
        fail(.failed(plainReason(of: error)), context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if state == .waiting { fail(.closed(heard: arrival.heard), context) }
        context.fireChannelInactive()
    }

    private func fail(_ failure: HandshakeFailure, _ context: ChannelHandlerContext) {
        guard state == .waiting else { return }
        state = .failed
        deadline?.cancel()
        context.fireErrorCaught(failure)
        context.close(promise: nil)
    }
}

extension NIOSSLCertificate {
    fileprivate func hasDER(_ der: [UInt8]) -> Bool {
        do { return try toDERBytes() == der } catch { return false }
    }
}

func isEndOfConnection(_ error: any Error) -> Bool {
    if let error = error as? NIOSSLError {
        switch error {
        case .uncleanShutdown: return true
        case .handshakeFailed(let reason): return "\(reason)".contains("EOF during")
        default: return false
        }
    }
    if let error = error as? IOError { return error.errnoCode == ECONNRESET || error.errnoCode == EPIPE }
    return error as? ChannelError == .eof || error as? ChannelError == .ioOnClosedChannel
}

/// The TLS library's reasons in words: `tlsv1 alert unknown ca`. Its own description is a dump with file names.
func plainReason(of error: any Error) -> String {
    let text = "\(error)"
    var reasons: [String] = []
    for part in text.split(separator: "OPENSSL_internal:").dropFirst() {
        let word = part.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        let reason = word.lowercased().split(separator: "_").joined(separator: " ")
        if !reason.isEmpty, reasons.last != reason { reasons.append(reason) }
    }
    if !reasons.isEmpty { return reasons.joined(separator: "; ") }
    if let error = error as? IOError { return reason(of: error) }
    return text
}

/// Whether the peer said, by a TLS alert, that it does not accept our certificate. With TLS 1.3 a client hears it only after its own
/// handshake is complete, when the request may be on its way; the server has read none of it.
func isCertificateAlert(_ error: any Error) -> Bool {
    let reason = plainReason(of: error)
    return reason.contains("alert")
        && ["certificate", "unknown ca", "access denied", "handshake failure"].contains { reason.contains($0) }
}

/// What the system said, without the library's dressing.
func reason(of error: IOError) -> String { String(cString: strerror(error.errnoCode)) }
