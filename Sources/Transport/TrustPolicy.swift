// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The one peer check: chain, role, revocation. It runs in the TLS library's verification callback, again after every handshake (a
// resumed session never enters the callback, platform page), and again at every request. Clients check servers by the same code.
//
// The role is the authority first, and then the URI: the cluster CA makes members and operators, the fleet CA makes dispatchers, and
// a URI that an authority has no right to is as if it were not there.

import Glibc
import PKI
import CtrlExec

/// Which of the two CAs a chain leads to.
package enum CertificateAuthority: Hashable, Sendable, CustomStringConvertible {
    /// Born at `cluster init`, never imported or shared: members and operators.
    case cluster
    /// ctrl-exec's own, perhaps shared with other dispatchers: agents and dispatcher identities.
    case fleet
    /// Not looked at (trust on first use, protocol page 3.3).
    case unverified

    package var description: String {
        switch self {
        case .cluster: "the cluster CA"
        case .fleet: "the fleet CA"
        case .unverified: "no authority"
        }
    }

    fileprivate func grants(_ role: CertificateRole) -> Bool {
        switch (self, role) {
        case (.cluster, .member), (.cluster, .operator), (.fleet, .dispatcher): true
        default: false
        }
    }
}

/// Why a peer was turned away, for our log; the peer hears only that it was.
package struct PeerRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// Whom a port lets in, or whom a client believes.
package struct TrustPolicy: Sendable {
    package enum Validity: Hashable, Sendable {
        case checked
        /// On the peer port, where a wrong clock must not cost the quorum.
        case unchecked
    }

    let clusterRoots: [Certificate]
    let fleetRoots: [Certificate]
    let validity: Validity
    let expects: String
    let trustsAnyone: Bool
    let admits: @Sendable (Peer) -> Bool
    let isRevoked: @Sendable (SerialNumber) -> Bool
    let now: @Sendable () -> Int64

    /// - Parameters:
    ///   - cluster: roots of the cluster CA, none where it has no business.
    ///   - fleet: roots of the fleet CA.
    ///   - expecting: whom the port is for, in words for the log: `a member of this cluster`.
    ///   - isRevoked: asked at the handshake and at every request; must be quick.
    ///   - now: seconds since 1970.
    ///   - admits: whether the role will do. Removed members and the like belong here too; asked as often as `isRevoked`.
    package init(
        cluster: [Certificate] = [], fleet: [Certificate] = [], validity: Validity = .checked, expecting: String,
        isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false }, now: @escaping @Sendable () -> Int64 = wallClockSeconds,
        admits: @escaping @Sendable (Peer) -> Bool
    ) {
        self.init(
            cluster: cluster, fleet: fleet, validity: validity, expects: expecting, trustsAnyone: false, admits: admits,
            isRevoked: isRevoked, now: now)
    }

    private init(
        cluster: [Certificate], fleet: [Certificate], validity: Validity, expects: String, trustsAnyone: Bool,
        admits: @escaping @Sendable (Peer) -> Bool, isRevoked: @escaping @Sendable (SerialNumber) -> Bool,
        now: @escaping @Sendable () -> Int64
    ) {
        clusterRoots = cluster
        fleetRoots = fleet
        self.validity = validity
        self.expects = expects
        self.trustsAnyone = trustsAnyone
        self.admits = admits
        self.isRevoked = isRevoked
        self.now = now
    }

    /// Whoever it is: the agent's pairing client, which trusts on first use and compares a code by eye.
    package static let anyone = TrustPolicy(
        cluster: [], fleet: [], validity: .unchecked, expects: "anybody", trustsAnyone: true, admits: { _ in true },
        isRevoked: { _ in false }, now: { 0 })

    /// Members of one cluster, by its own CA. `id` narrows it to one of them.
    package static func members(
        of cluster: String, roots: [Certificate], id: String? = nil, validity: Validity = .checked,
        isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false }, now: @escaping @Sendable () -> Int64 = wallClockSeconds,
        alsoRequiring: @escaping @Sendable (_ member: String) -> Bool = { _ in true }
    ) -> TrustPolicy {
        TrustPolicy(
            cluster: roots, validity: validity, expecting: id.map { "member \($0) of this cluster" } ?? "a member of this cluster",
            isRevoked: isRevoked, now: now
        ) { peer in
            guard case .member(cluster, let member) = peer.role else { return false }
            return (id == nil || id == member) && alsoRequiring(member)
        }
    }

    /// Agents, as a dispatcher's client sees them: any certificate of the fleet CA without a role.
    package static func agents(
        roots: [Certificate], isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false },
        now: @escaping @Sendable () -> Int64 = wallClockSeconds
    ) -> TrustPolicy {
        TrustPolicy(fleet: roots, expecting: "an agent of this fleet", isRevoked: isRevoked, now: now) { peer in
            peer.authority == .fleet && peer.role == nil && peer.statesNoRole
        }
    }

    /// Any chain to the fleet CA, as an agent's port accepts it: the agent decides by serial (protocol page, 3.2).
    package static func fleet(
        roots: [Certificate], isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false },
        now: @escaping @Sendable () -> Int64 = wallClockSeconds
    ) -> TrustPolicy {
        TrustPolicy(fleet: roots, expecting: "a certificate of the fleet CA", isRevoked: isRevoked, now: now) { $0.authority == .fleet }
    }

    /// Any valid chain to either CA; each route asks the peer's role for itself.
    package static func anyRole(
        cluster: [Certificate], fleet: [Certificate] = [], isRevoked: @escaping @Sendable (SerialNumber) -> Bool = { _ in false },
        now: @escaping @Sendable () -> Int64 = wallClockSeconds
    ) -> TrustPolicy {
        TrustPolicy(cluster: cluster, fleet: fleet, expecting: "a certificate of ours", isRevoked: isRevoked, now: now) { _ in true }
    }

    /// Chain, then role, then revocation. Throws `PeerRefusal`.
    package func examine(_ chain: [Certificate], from address: RemoteAddress) throws(PeerRefusal) -> Peer {
        guard let leaf = chain.first else { throw PeerRefusal("no certificate was presented") }
        let authority = try authority(of: chain)
        let role = leaf.role.flatMap { authority.grants($0) ? $0 : nil }
        let peer = Peer(chain: chain, certificate: leaf, authority: authority, role: role, remoteAddress: address, policy: self)
        try peer.recheck()
        return peer
    }

    private func authority(of chain: [Certificate]) throws(PeerRefusal) -> CertificateAuthority {
        if trustsAnyone { return .unverified }
        let at = validity == .checked ? now() : nil
        var reason = "this port trusts no authority"
        for (authority, roots) in [(CertificateAuthority.cluster, clusterRoots), (.fleet, fleetRoots)] where !roots.isEmpty {
            do {
                try verify(chain: chain, roots: roots, at: at)
                return authority
            } catch {
                // With two authorities, the one that at least knows the issuer has the better reason.
                let knowsIssuer = roots.contains { $0.commonName == chain[0].issuerCommonName }
                if reason == "this port trusts no authority" || knowsIssuer { reason = "\(error)" }
            }
        }
        throw PeerRefusal(reason)
    }
}

/// Seconds since 1970.
@Sendable package func wallClockSeconds() -> Int64 { Int64(time(nil)) }

/// Whoever is at the other end, as the check found them.
package struct Peer: Sendable, CustomStringConvertible {
    /// As presented and verified, leaf first.
    package let chain: [Certificate]
    package let certificate: Certificate
    package let authority: CertificateAuthority
    /// Nil if the certificate states none, or one that its authority has no right to give.
    package let role: CertificateRole?
    package let remoteAddress: RemoteAddress
    let policy: TrustPolicy

    package var serial: SerialNumber { certificate.serial }
    /// Not even a role that does not count.
    var statesNoRole: Bool { !certificate.uris.contains { $0.lowercased().hasPrefix("urn:ced:") } }
    package var description: String { "\(role?.description ?? certificate.commonName ?? "nobody") (\(authority), serial \(serial))" }

    /// What can have changed since the handshake: revocation, validity, admission. Signatures cannot, and are not computed again.
    package func recheck() throws(PeerRefusal) {
        if policy.trustsAnyone { return }
        if policy.validity == .checked {
            let now = policy.now()
            guard certificate.notBefore <= now else { throw PeerRefusal("\(certificate) is not valid yet") }
            guard now <= certificate.notAfter else { throw PeerRefusal("\(certificate) has expired") }
        }
        // The authority itself is no certificate that anybody could revoke here; it may stand at the end of a chain.
        let roots = policy.clusterRoots + policy.fleetRoots
        if let revoked = chain.first(where: { one in policy.isRevoked(one.serial) && !roots.contains { $0.der == one.der } }) {
            throw PeerRefusal("\(revoked) is revoked")
        }
        guard policy.admits(self) else {
            throw PeerRefusal("\(self) is not \(policy.expects)")
        }
    }
}
