// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The replicated state machine. SEAM: this file fixes the outward face; the room's builder fills it.

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

/// A dispatcher certificate with its key.
package struct Identity: Hashable, Sendable {
    package enum Phase: String, Hashable, Sendable { case prepared, current, previous, retired, aborting, aborted }
    package let serial: SerialNumber
    package let certificate: [UInt8]
    package let key: SealedKey
    package let notAfter: WallClock
    package var phase: Phase
    package init(serial: SerialNumber, certificate: [UInt8], key: SealedKey, notAfter: WallClock, phase: Phase) {
        self.serial = serial
        self.certificate = certificate
        self.key = key
        self.notAfter = notAfter
        self.phase = phase
    }
}

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

/// `5c`, seven random bytes of the incarnation, the 64-bit counter: unique across clusters that share a CA (architecture, rule 4).
package func serialNumber(incarnation: Incarnation, counter: UInt64) -> SerialNumber {
    var bytes: [UInt8] = [0x5c]
    for shift in stride(from: 48, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: incarnation.random >> UInt64(shift))) }
    for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: counter >> UInt64(shift))) }
    guard let serial = SerialNumber(bytes: bytes) else { preconditionFailure("sixteen bytes that begin with 5c are a serial number") }
    return serial
}

/// A certificate that some leader must still sign and record.
package struct Obligation: Hashable, Sendable {
    package enum Purpose: Hashable, Sendable {
        /// Signed by the cluster CA.
        case operatorCertificate(OperatorName)
        /// Signed by the fleet CA.
        case agentCertificate(Reqid, AgentName)
    }
    package let id: ObligationID
    package let purpose: Purpose
    package let signingRequest: SigningRequest
    /// The serial reserved by the leader of `term`; nil after it was burned and before it is reserved anew.
    package var serial: SerialNumber
    /// The term whose leader may use the reservation.
    package var term: Term
    /// Calendar time of the reservation; `notBefore` is five minutes earlier.
    package var reservedAt: WallClock
    package init(
        id: ObligationID, purpose: Purpose, signingRequest: SigningRequest, serial: SerialNumber, term: Term, reservedAt: WallClock
    ) {
        self.id = id
        self.purpose = purpose
        self.signingRequest = signingRequest
        self.serial = serial
        self.term = term
        self.reservedAt = reservedAt
    }
}

/// An agent of the registry (protocol page, 14.3).
package struct AgentRecord: Hashable, Sendable {
    package var name: AgentName
    package var lookup: Reachability.Lookup
    package var address: String
    package var port: UInt16
    package var paired: WallClock
    package var reqid: Reqid
    package var certificateSerial: SerialNumber
    package var certificateNotAfter: WallClock
    /// Dispatcher serials that this agent has confirmed, oldest first.
    package var confirmedIdentities: [SerialNumber]
    package init(
        name: AgentName, lookup: Reachability.Lookup, address: String, port: UInt16, paired: WallClock, reqid: Reqid,
        certificateSerial: SerialNumber, certificateNotAfter: WallClock, confirmedIdentities: [SerialNumber]
    ) {
        self.name = name
        self.lookup = lookup
        self.address = address
        self.port = port
        self.paired = paired
        self.reqid = reqid
        self.certificateSerial = certificateSerial
        self.certificateNotAfter = certificateNotAfter
        self.confirmedIdentities = confirmedIdentities
    }
}

/// A pairing request that waits for an operator.
package struct QueuedPairing: Hashable, Sendable {
    package var submission: PairingSubmission
    package var received: WallClock
    package var receivedAt: ClusterTime
    /// Set once approved, until its certificate is recorded.
    package var obligation: ObligationID?
    package init(submission: PairingSubmission, received: WallClock, receivedAt: ClusterTime, obligation: ObligationID?) {
        self.submission = submission
        self.received = received
        self.receivedAt = receivedAt
        self.obligation = obligation
    }
}

package struct OperatorRecord: Hashable, Sendable {
    package var name: OperatorName
    package var serial: SerialNumber
    package var certificate: [UInt8]
    package var notAfter: WallClock
    package init(name: OperatorName, serial: SerialNumber, certificate: [UInt8], notAfter: WallClock) {
        self.name = name
        self.serial = serial
        self.certificate = certificate
        self.notAfter = notAfter
    }
}

package struct DispatcherState: Hashable, Sendable {
    package init(genesis: GenesisState) { fatalError("seam") }

    /// A refusal that can be said before anything is proposed; apply says the same, should it still hold then.
    package func validate(_ proposal: Proposal) -> Refusal? { fatalError("seam") }
    /// Total: it never traps and never throws, whatever the proposal says.
    package mutating func apply(_ proposal: Proposal, at index: LogIndex, term: Term) -> Applied { fatalError("seam") }
    /// A payload that is empty (a term's first entry) or that this version cannot read: only the position moves.
    package mutating func applyNothing(at index: LogIndex, term: Term) { fatalError("seam") }
    /// What was answered, or is being done, under this request id; nil if nothing is known. Reused ids are `.refused(.requestIDReused)`.
    package func outcome(of request: RequestID, by principal: Principal, command: Command) -> Outcome? { fatalError("seam") }

    package var obligations: [Obligation] { fatalError("seam") }
    package var agents: [AgentRecord] { fatalError("seam") }
    package func agent(named name: AgentName) -> AgentRecord? { fatalError("seam") }
    package var pairings: [QueuedPairing] { fatalError("seam") }
    package var operators: [OperatorRecord] { fatalError("seam") }
    package func operatorRecord(named name: OperatorName) -> OperatorRecord? { fatalError("seam") }
    package var identities: [Identity] { fatalError("seam") }
    package var genesis: GenesisState { fatalError("seam") }
    package var time: ClusterTime { fatalError("seam") }
    /// When the pairing session ends; nil if none is open.
    package var pairingOpenUntil: ClusterTime? { fatalError("seam") }
    /// The earliest cluster time at which `expire` would change something; nil if nothing expires.
    package var nextExpiry: ClusterTime? { fatalError("seam") }
    /// Of the whole replicated state at `appliedIndex`; equal on all members. Not cryptographic.
    package var stateHash: UInt64 { fatalError("seam") }
    package var appliedIndex: LogIndex { fatalError("seam") }
    /// Every serial counter below this was handed out.
    package var nextSerialCounter: UInt64 { fatalError("seam") }
}
