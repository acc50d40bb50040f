// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who may send a request at all: addresses, and the limits by address (protocol page, 8.3, 9.4).
// A certificate in the map passes whatever its address did before: a dispatcher is never shut out by others behind the same address.

import CtrlExec
import Synchronization
import Transport

final class Gate: Sendable {
    private let state: AgentState
    private let limiter: Mutex<RateLimiter>

    init(_ state: AgentState) {
        self.state = state
        let configuration = state.configuration
        limiter = Mutex(
            RateLimiter(volume: configuration.volumeLimit, probe: configuration.probeLimit, isDisabled: configuration.rateLimitDisabled))
    }

    /// After the handshake. No: closed without an answer, as agents refuse.
    func admits(_ address: RemoteAddress, _ peer: Peer?) -> Bool {
        let ip = address.ip ?? "local"
        if let allowed = state.configuration.allowedAddresses, !allowed.contains(ip) {
            state.log.warning("ip-block", ("PEER", ip))
            return false
        }
        if let peer, state.current.trusted[peer.serial] != nil { return true }
        let (verdict, evicted) = limiter.withLock { $0.connection(from: ip, nowMilliseconds: bootMilliseconds()) }
        if evicted > 0 { state.log.warning("rate-evict", ("COUNT", evicted)) }
        switch verdict {
        case .allowed: return true
        case .refused(let reason):
            if let reason { state.log.warning("rate-block", ("PEER", ip), ("REASON", reason.rawValue)) }
            return false
        }
    }

    func report(_ incident: ConnectionIncident) {
        let ip = incident.address.ip ?? "local"
        switch incident.kind {
        case .handshakeFailed(let failure):
            state.log.warning("tls-failure", ("PEER", ip), ("REASON", failure.description))
            if let reason = limiter.withLock({ $0.handshakeFailed(from: ip, nowMilliseconds: bootMilliseconds()) }) {
                state.log.warning("rate-block", ("PEER", ip), ("REASON", reason.rawValue))
            }
        case .tooManyConnections: state.log.warning("overload", ("PEER", ip), ("LIVE", state.configuration.maximumConnections))
        case .unavailable(let reason): state.log.error("tls-failure", ("PEER", ip), ("REASON", reason))
        case .peerRefused, .requestTimedOut, .malformed, .tooLarge, .noMemory:
            state.log.info("deny", ("PEER", ip), ("REASON", incident.description))
        }
    }

    func clear() { limiter.withLock { $0.clear() } }
}

private let start = ContinuousClock.now

/// Counts on while the machine sleeps, and never jumps.
private func bootMilliseconds() -> UInt64 {
    let elapsed = start.duration(to: .now).components
    return UInt64(elapsed.seconds) * 1_000 + UInt64(elapsed.attoseconds / 1_000_000_000_000_000)
}
