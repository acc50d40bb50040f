// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The one place where TLS contexts are made.
//
// Every accepted connection gets a context of its own: the TLS library issues session tickets and cannot be told not to, and a client
// that resumes with one presents no certificate and enters no verification callback. A ticket of another context does not decrypt, so
// such a client falls back to a whole handshake. The check after the handshake (Handshake.swift) is the second lock.

import NIOCore
import NIOSSL
import PKI
import Synchronization

/// What a server presents and asks for, told anew for each connection.
package struct TLSServer: Sendable {
    package enum ClientCertificates: Sendable {
        /// Not asked for.
        case none
        /// Verified if presented.
        case optional(TrustPolicy)
        case required(TrustPolicy)
    }
    package let identity: TLSIdentity
    package let clients: ClientCertificates

    package init(identity: TLSIdentity, clients: ClientCertificates) {
        self.identity = identity
        self.clients = clients
    }
}

/// What a client presents and whom it believes. A server's name is never compared (protocol page, 3.2); its role is, as strictly as a client's.
package struct TLSClient: Sendable {
    package let identity: TLSIdentity?
    package let policy: TrustPolicy

    package init(identity: TLSIdentity?, policy: TrustPolicy) {
        self.identity = identity
        self.policy = policy
    }
}

/// What the verification callback of one connection found. Written on the connection's loop, at most once a handshake.
final class PeerVerdict: Sendable {
    private let state = Mutex<Result<Peer, PeerRefusal>?>(nil)
    var value: Result<Peer, PeerRefusal>? { state.withLock { $0 } }
    func set(_ result: Result<Peer, PeerRefusal>) { state.withLock { $0 = result } }
}

package enum TLSFactory {
    /// TLS 1.2 suites in ctrl-exec's order (protocol page, 3.1); those of TLS 1.3 are the library's, the same three.
    private static let suites = [
        "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256",
    ].joined(separator: ":")

    /// The library's own list still ends in SHA-1.
    private static let signatures: [SignatureAlgorithm] = [
        .ecdsaSecp256R1Sha256, .rsaPssRsaeSha256, .rsaPkcs1Sha256, .ecdsaSecp384R1Sha384, .rsaPssRsaeSha384, .rsaPkcs1Sha384,
        .rsaPssRsaeSha512, .rsaPkcs1Sha512, .ed25519,
    ]

    /// A new context for one accepted connection.
    static func context(for server: TLSServer) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: server.identity.certificateSources, privateKey: server.identity.keySource)
        configuration.certificateVerification =
            switch server.clients {
            case .none: .none
            case .optional: .optionalVerification
            // In the library's words, "certificate demanded".
            case .required: .noHostnameVerification
            }
        return try context(configuration)
    }

    /// A new context for one dialled connection.
    static func context(for client: TLSClient) throws -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        if let identity = client.identity {
            configuration.certificateChain = identity.certificateSources
            configuration.privateKey = identity.keySource
        }
        configuration.certificateVerification = .noHostnameVerification
        return try context(configuration)
    }

    private static func context(_ common: TLSConfiguration) throws -> NIOSSLContext {
        var configuration = common
        configuration.minimumTLSVersion = .tlsv12
        configuration.cipherSuites = suites
        configuration.verifySignatureAlgorithms = signatures
        // Roots are ours to check, in the callback; left unsaid, every context would read the system's trust store.
        configuration.trustRoots = .certificates([])
        configuration.sendCANameList = false
        configuration.renegotiationSupport = .none
        configuration.shutdownTimeout = .seconds(1)
        return try NIOSSLContext(configuration: configuration)
    }

    /// The handlers that secure an accepted connection, in pipeline order. They end with the event `Secured` or the error `HandshakeFailure`.
    static func handlers(for server: TLSServer, from address: RemoteAddress, timeout: TimeAmount) throws -> [any ChannelHandler] {
        try handlers(for: server, context: context(for: server), from: address, timeout: timeout)
    }

    /// With a given context: only the test that shows why a context is never shared gives one.
    static func handlers(for server: TLSServer, context: NIOSSLContext, from address: RemoteAddress, timeout: TimeAmount) throws
        -> [any ChannelHandler]
    {
        let arrival = ArrivalHandler()
        let verdict = PeerVerdict()
        let tls: NIOSSLServerHandler
        let demand: HandshakeHandler.Demand
        switch server.clients {
        case .none:
            tls = NIOSSLServerHandler(context: context)
            demand = .none
        case .optional(let policy):
            tls = NIOSSLServerHandler(context: context, customVerificationCallbackWithMetadata: callback(policy, address, verdict))
            demand = .optional
        case .required(let policy):
            tls = NIOSSLServerHandler(context: context, customVerificationCallbackWithMetadata: callback(policy, address, verdict))
            demand = .required
        }
        return [arrival, tls, HandshakeHandler(tls: tls, arrival: arrival, verdict: verdict, demand: demand, timeout: timeout)]
    }

    /// The handlers that secure a dialled connection. `name` is sent as SNI if it is a name and not an address.
    static func handlers(for client: TLSClient, name: String, to address: RemoteAddress, timeout: TimeAmount) throws -> [any ChannelHandler]
    {
        let arrival = ArrivalHandler()
        let verdict = PeerVerdict()
        let tls = try NIOSSLClientHandler(
            context: try context(for: client), serverHostname: isHostName(name) ? name : nil,
            configuration: .init(), customVerificationCallbackWithMetadata: callback(client.policy, address, verdict))
        return [arrival, tls, HandshakeHandler(tls: tls, arrival: arrival, verdict: verdict, demand: .required, timeout: timeout)]
    }

    private static func callback(_ policy: TrustPolicy, _ address: RemoteAddress, _ verdict: PeerVerdict)
        -> NIOSSLCustomVerificationCallbackWithMetadata
    {
        { certificates, promise in
            do {
                let chain = try certificates.map { try Certificate(der: $0.toDERBytes()) }
                verdict.set(.success(try policy.examine(chain, from: address)))
                // What the library keeps serves as the mark that this callback ran; the chain that counts is the verdict's.
                promise.succeed(.certificateVerified(.init(.init(certificates))))
            } catch {
                verdict.set(.failure(error as? PeerRefusal ?? PeerRefusal("\(error)")))
                promise.succeed(.failed)
            }
        }
    }

    private static func isHostName(_ text: String) -> Bool {
        guard (1...253).contains(text.utf8.count), !isIPAddress(text) else { return false }
        return text.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 46 || $0 == 95
        }
    }

    private static func isIPAddress(_ text: String) -> Bool {
        do {
            _ = try SocketAddress(ipAddress: text, port: 0)
            return true
        } catch {
            return false
        }
    }
}
