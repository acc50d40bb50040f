// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The keys that the cluster key seals: those of the two CAs and of the dispatcher's identities. They are opened when first needed and
// then kept in memory; in the journal, in snapshots and on the wire they are only ever sealed.

import Consensus
import CtrlExec
import DispatcherState
import PKI
import Synchronization
import Transport

package final class KeyVault: Sendable {
    private struct Opened {
        var clusterCA: Authority?
        var fleetCA: Authority?
        var identities: [Identity] = []
        var opened: [SerialNumber: TLSIdentity] = [:]
    }

    package let cluster: ClusterID
    private let key: ClusterKey
    private let genesis: GenesisState
    private let opened: Mutex<Opened>

    package init(genesis: GenesisState, key: ClusterKey) {
        cluster = genesis.cluster
        self.key = key
        self.genesis = genesis
        opened = Mutex(Opened(identities: [genesis.identity]))
    }

    /// The identities of the applied state; what is no longer among them is forgotten.
    package func publish(_ identities: [Identity]) {
        opened.withLock { opened in
            opened.identities = identities
            for serial in opened.opened.keys where !identities.contains(where: { $0.serial == serial }) { opened.opened[serial] = nil }
        }
    }

    /// For a host that was let in as a member: nobody else can open it.
    package func sealedClusterKey(to publicKey: [UInt8]) throws -> SealedClusterKey {
        SealedClusterKey(
            version: key.version,
            envelope: try KeyEnvelope.seal(key.bytes, to: publicKey, name: SealedClusterKey.name, cluster: "\(cluster)"))
    }

    /// Signs members and operators.
    package func clusterAuthority() throws -> Authority {
        try opened.withLock { opened in
            if let authority = opened.clusterCA { return authority }
            let authority = try Authority(certificate: Certificate(der: genesis.clusterCA.certificate), key: open(genesis.clusterCA.key))
            opened.clusterCA = authority
            return authority
        }
    }

    /// Signs agents and dispatchers.
    package func fleetAuthority() throws -> Authority {
        try opened.withLock { opened in
            if let authority = opened.fleetCA { return authority }
            let authority = try Authority(certificate: Certificate(der: genesis.fleetCA.certificate), key: open(genesis.fleetCA.key))
            opened.fleetCA = authority
            return authority
        }
    }

    /// A new identity of the dispatcher: its key is made here, and leaves only sealed.
    package func makeIdentity(
        serial: SerialNumber, notBefore: Int64, notAfter: Int64
    ) throws -> (certificate: Certificate, key: SealedKey) {
        let privateKey = try PrivateKey.generateP256()
        let subject = "ctrl-exec-dispatcher"
        let certificate = try fleetAuthority().issue(
            CertificateRequest.make(key: privateKey, commonName: subject), subject: subject, serial: serial,
            role: .dispatcher(cluster: "\(cluster)"), usage: .both, notBefore: notBefore, notAfter: notAfter)
        let name = "dispatcher-\(serial)"
        let sealed = try key.seal(privateKey.der, name: name, cluster: "\(cluster)")
        return (certificate, SealedKey(name: name, keyVersion: key.version, bytes: sealed))
    }

    /// Opens an identity's key ahead of its first use; throws if this member cannot present it.
    package func hold(_ identity: Identity) throws {
        opened.withLock { opened in
            if !opened.identities.contains(where: { $0.serial == identity.serial }) { opened.identities.append(identity) }
        }
        _ = try self.identity(identity.serial)
    }

    package func identity(_ serial: SerialNumber) throws -> TLSIdentity {
        try opened.withLock { opened in
            if let identity = opened.opened[serial] { return identity }
            guard let identity = opened.identities.first(where: { $0.serial == serial }) else {
                throw UnknownIdentity(serial: serial)
            }
            let result = try TLSIdentity(chain: [Certificate(der: identity.certificate)], key: open(identity.key))
            opened.opened[serial] = result
            return result
        }
    }

    /// Opens every key once, so that a wrong cluster key is found at the start and not at the first signature.
    package func check() throws {
        _ = try clusterAuthority()
        _ = try fleetAuthority()
        for identity in opened.withLock({ $0.identities }) { _ = try self.identity(identity.serial) }
    }

    package struct UnknownIdentity: Error, CustomStringConvertible {
        package let serial: SerialNumber
        package var description: String { "this cluster has no dispatcher identity with serial \(serial)" }
    }

    private func open(_ sealed: SealedKey) throws -> PrivateKey {
        try PrivateKey(der: key.open(sealed.bytes, name: sealed.name, cluster: "\(cluster)"))
    }
}
