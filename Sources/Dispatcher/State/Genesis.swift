// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a cluster begins with. Minted by `cluster init`; the state machine only reads it.

import Consensus
import CtrlExec

/// A counter and 64 random bits, minted at `cluster init` and anew at every forced recovery or restore.
package struct Incarnation: Hashable, Sendable {
    package let counter: UInt64
    package let random: UInt64
    package init(counter: UInt64, random: UInt64) {
        self.counter = counter
        self.random = random
    }
}

/// 16 random bytes, minted at `cluster init`.
package struct ClusterID: Hashable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]
    package init?(bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        self.bytes = bytes
    }
    /// 32 lower-case hexadecimal digits.
    package var description: String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}

/// A private key sealed with the cluster key: AES-256-GCM with cluster id, name and version as associated data.
package struct SealedKey: Hashable, Sendable {
    package let name: String
    package let keyVersion: UInt32
    package let bytes: [UInt8]
    package init(name: String, keyVersion: UInt32, bytes: [UInt8]) {
        self.name = name
        self.keyVersion = keyVersion
        self.bytes = bytes
    }
}

/// A certificate (DER) with its sealed key.
package struct CertificateAuthority: Hashable, Sendable {
    package let certificate: [UInt8]
    package let key: SealedKey
    package init(certificate: [UInt8], key: SealedKey) {
        self.certificate = certificate
        self.key = key
    }
}

/// A member as `cluster init` listed it.
package struct MemberRecord: Hashable, Sendable {
    package let id: MemberID
    /// `HOST:PORT` of its peer port.
    package let address: String
    package let certificateSerial: SerialNumber
    package init(id: MemberID, address: String, certificateSerial: SerialNumber) {
        self.id = id
        self.address = address
        self.certificateSerial = certificateSerial
    }
}

/// One copy for all states of a cluster: a state is copied often, and what it began with never changes.
final class SharedGenesis: Hashable, Sendable {
    let state: GenesisState
    init(_ state: GenesisState) { self.state = state }
    static func == (left: SharedGenesis, right: SharedGenesis) -> Bool { left === right || left.state == right.state }
    func hash(into hasher: inout Hasher) { hasher.combine(state) }
}

/// The state with which a cluster begins; every member's journal starts with the same one.
package struct GenesisState: Hashable, Sendable {
    package var cluster: ClusterID
    package var incarnation: Incarnation
    package var dispatcherID: DispatcherID
    package var members: [MemberRecord]
    package var fleetCA: CertificateAuthority
    package var clusterCA: CertificateAuthority
    package var identity: Identity
    /// The counter of the next serial; those below were used by `cluster init`.
    package var nextSerialCounter: UInt64
    package init(
        cluster: ClusterID, incarnation: Incarnation, dispatcherID: DispatcherID, members: [MemberRecord],
        fleetCA: CertificateAuthority, clusterCA: CertificateAuthority, identity: Identity, nextSerialCounter: UInt64
    ) {
        self.cluster = cluster
        self.incarnation = incarnation
        self.dispatcherID = dispatcherID
        self.members = members
        self.fleetCA = fleetCA
        self.clusterCA = clusterCA
        self.identity = identity
        self.nextSerialCounter = nextSerialCounter
    }
}
