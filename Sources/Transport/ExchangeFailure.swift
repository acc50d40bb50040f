// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Why a request got no answer, told apart as precisely as it can be known: whether its bytes were sent decides whether it may be repeated.

import Glibc
import NIOCore
import NIOPosix

package enum ExchangeFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Phase: Hashable, Sendable {
        case connect, handshake, response
    }

    /// Nobody listens there.
    case refused
    /// No way there; also a unix socket that does not exist.
    case unreachable(String)
    /// The system does not let us: the file mode of a unix socket, a firewall rule of our own.
    case denied(String)
    /// The name has no address.
    case resolve(String)
    /// Ours: no such source address, an identity that cannot be used, no file descriptors.
    case local(String)
    case timeout(Phase)
    /// TLS did not come about, by our side's or the peer's decision, or the peer did not accept our certificate. Nothing was done with the request.
    case handshake(String)
    /// Somebody answered whom our trust policy does not admit. Nothing was sent.
    case wrongPeer(String)
    /// How old agents refuse a peer that came too often, after the handshake, whether or not it had sent its request.
    case closedWithoutResponse(requestSent: Bool)
    case tooLarge(limit: Int)
    /// What several exchanges may receive together has been received (`OneRequestClient.Settings.admitBytes`).
    case overBudget
    case malformed(String)
    case cancelled(requestSent: Bool)

    /// Whether the peer may have seen, and acted upon, the request. A run for which this holds is never repeated by itself.
    package var requestSent: Bool {
        switch self {
        case .refused, .unreachable, .denied, .resolve, .local, .timeout(.connect), .timeout(.handshake), .handshake, .wrongPeer: false
        case .timeout(.response), .tooLarge, .overBudget, .malformed: true
        case .closedWithoutResponse(let requestSent), .cancelled(let requestSent): requestSent
        }
    }

    package var description: String {
        switch self {
        case .refused: "connection refused"
        case .unreachable(let reason): "unreachable: \(reason)"
        case .denied(let reason): "not allowed: \(reason)"
        case .resolve(let name): "no address is known for \(name)"
        case .local(let reason): reason
        case .timeout(.connect): "no connection in time"
        case .timeout(.handshake): "no TLS handshake in time"
        case .timeout(.response): "no response in time"
        case .handshake(let reason): "TLS handshake failed: \(reason)"
        case .wrongPeer(let reason): "the wrong peer answered: \(reason)"
        case .closedWithoutResponse(true): "the connection was closed without a response after the request was sent"
        case .closedWithoutResponse(false): "the connection was closed before the request was sent"
        case .tooLarge(let limit): "the response is larger than \(limit) bytes"
        case .overBudget: "the response was dropped: too much was received already"
        case .malformed(let reason): "the response is malformed: \(reason)"
        case .cancelled: "cancelled"
        }
    }

    /// What a failed connect means.
    init(connecting error: any Error, to endpoint: Endpoint) {
        if let error = error as? NIOConnectionError {
            if let first = error.connectionErrors.first {
                self = ExchangeFailure(connecting: first.error, to: endpoint)
            } else {
                self = error.dnsAError != nil || error.dnsAAAAError != nil ? .resolve(error.host) : .timeout(.connect)
            }
        } else if let error = error as? IOError {
            let text = reason(of: error)
            switch error.errnoCode {
            case ECONNREFUSED: self = .refused
            case ETIMEDOUT: self = .timeout(.connect)
            case EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, ENOENT, ECONNRESET, ECONNABORTED: self = .unreachable(text)
            case EACCES, EPERM: self = .denied("\(endpoint): \(text)")
            default: self = .local("cannot connect to \(endpoint): \(text)")
            }
        } else if case ChannelError.connectTimeout? = error as? ChannelError {
            self = .timeout(.connect)
        } else if error is SocketAddressError {
            self = .resolve("\(endpoint)")
        } else {
            self = .local("cannot connect to \(endpoint): \(plainReason(of: error))")
        }
    }
}
