// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One connection to one agent: TLS with a dispatcher identity, the agent's chain to the fleet CA checked and its role too (a dispatcher
// or a member is no agent), one request, one answer. It never repeats anything.

import CtrlExec
import NIOCore
import PKI
import Transport

/// - Parameters:
///   - fleetRoots: the CA to which an agent's chain must lead. X.509 version 1 leaves without names will do (protocol page, 3.2).
///   - isRevoked: no agent with such a certificate is spoken to.
///   - identity: the dispatcher identity with this serial.
package func agentDial(
    configuration: AgentLinkConfiguration, fleetRoots: [Certificate], group: any EventLoopGroup,
    isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false },
    identity: @escaping @Sendable (SerialNumber) throws -> TLSIdentity
) -> @Sendable (DialRequest) async -> DialOutcome {
    let policy = TrustPolicy.agents(roots: fleetRoots, isRevoked: isRevoked)
    var settings = OneRequestClient.Settings()
    settings.bindAddress = configuration.dialFrom
    return { [settings] request in
        let presented: TLSIdentity
        do {
            presented = try identity(request.identity)
        } catch {
            return .notSent("cannot present the dispatcher identity \(request.identity): \(error)")
        }
        var settings = settings
        settings.responseLimit = request.answerLimit
        let patience = request.readTimeoutSeconds
        settings.readTimeout = .seconds(patience)
        settings.connectTimeout = .seconds(min(10, patience))
        // One process of an old agent makes all its handshakes, one after the other: it may be busy with somebody else's.
        settings.handshakeTimeout = .seconds(min(20, patience))
        // An answer that has begun arrives; one that dribbles to keep a place is nobody's.
        settings.wholeTimeout = .seconds(2 * patience)
        if let budget = request.budget { settings.admitBytes = { budget.take($0) } }
        let client = OneRequestClient(group: group, tls: TLSClient(identity: presented, policy: policy), settings: settings)
        let outgoing = OutgoingRequest(method: request.method, path: request.path, body: request.body)
        do throws(ExchangeFailure) {
            let reply = try await client.exchange(outgoing, with: .tcp(host: request.address, port: Int(request.port)))
            return .answered(status: reply.status, body: reply.body)
        } catch {
            return outcome(of: error, request)
        }
    }
}

/// In the words of the protocol page, 15.4.
private func outcome(of failure: ExchangeFailure, _ request: DialRequest) -> DialOutcome {
    let place = "\(request.address):\(request.port)"
    switch failure {
    case .timeout(.response): return .readTimeout
    case .resolve: return .notConnected("host name did not resolve: \(request.address)")
    case .refused: return .notConnected("connection refused on port \(request.port)")
    case .unreachable(let reason): return .notConnected("unreachable: \(place) (\(reason))")
    case .timeout(.connect): return .notSent("timed out connecting to \(place)")
    case .timeout(.handshake): return .notSent("timed out in the TLS handshake with \(place)")
    case .handshake(let reason): return .notSent("TLS handshake failed: \(reason)")
    case .wrongPeer(let reason): return .notSent("TLS handshake failed: \(place) is no agent of this fleet: \(reason)")
    case .closedWithoutResponse(requestSent: false):
        return .notSent("\(place) closed the connection in the handshake (an agent that refuses our address does so)")
    case .closedWithoutResponse(requestSent: true):
        return .sentWithoutAnswer("the agent closed the connection without an answer")
    case .overBudget:
        return .sentWithoutAnswer("the answers to this call are together larger than \(Limits.callAnswerBytes) bytes; this one was dropped")
    case .denied, .local, .tooLarge, .malformed, .cancelled:
        return failure.requestSent ? .sentWithoutAnswer(failure.description) : .notSent(failure.description)
    }
}
