// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What an entry of the log says: one command, who asked for it, and when.

import Consensus
import CtrlExec

/// The payload of an entry.
package struct Proposal: Hashable, Sendable {
    package var command: Command
    package var principal: Principal
    /// Nil for what the leader generates itself.
    package var request: RequestID?
    /// The leader's cluster time when it proposed this; apply takes the greatest that it has seen.
    package var time: ClusterTime
    /// Calendar time of the leader, for records and certificates only.
    package var calendar: WallClock
    package init(command: Command, principal: Principal, request: RequestID?, time: ClusterTime, calendar: WallClock) {
        self.command = command
        self.principal = principal
        self.request = request
        self.time = time
        self.calendar = calendar
    }
}

package enum Command: Hashable, Sendable {
    // Asked for by people and agents.
    case issueOperator(OperatorName, signingRequest: SigningRequest)
    /// From one second to ten minutes; `UInt64.max` is "until it is closed" (`pairing = always`). Replaces the session that is open.
    case openPairing(milliseconds: UInt64)
    case closePairing
    case submitPairing(PairingSubmission)
    case approvePairing(Reqid, Reachability)
    case denyPairing(Reqid)
    case unpair(AgentName)
    case editAgent(AgentName, AgentEdit)
    /// A leader's own beginning names the identity that nears its end, so that it is replaced once.
    case beginRotation(overlapMilliseconds: UInt64, isCompromised: Bool, replacing: SerialNumber?)
    case abortRotation
    /// For ever. The reason is for people: one line of at most 200 bytes.
    case revoke(RevocationTarget, reason: String)
    /// Lets one host in as this member, by a token whose secret hashes to this, once and for ten minutes.
    case invite(MemberID, address: String, secretHash: [UInt8])
    case admit(JoinRequest)
    case removeMember(MemberID)
    case setMemberAddress(MemberID, String)
    // Steps of the leader's duties.
    /// Stands in the entry that makes this the configuration.
    case reconfigure(Configuration)
    /// A later leader burns the reservation of an earlier one and reserves anew.
    case reserveAnew(ObligationID)
    /// The certificate that was signed under this reservation; counts only while the reservation stands.
    case recordCertificate(ObligationID, SerialNumber, certificate: [UInt8], notAfter: WallClock)
    case signingFailed(ObligationID, SerialNumber, reason: String)
    /// The identity that was made under this reservation; counts only while the reservation stands.
    case recordIdentity(ObligationID, SerialNumber, certificate: [UInt8], key: SealedKey, notAfter: WallClock)
    /// The member has opened this identity's key: it can present it.
    case memberHolds(MemberID, SerialNumber)
    /// The agent accepted a connection that presented the identity, or said that it trusts it; the others it refused just before.
    case identityConfirmed(AgentKey, SerialNumber, refused: [SerialNumber])
    /// The agent said, over another identity, that it no longer trusts this one.
    case identityRemoved(AgentKey, SerialNumber)
    case dialectLearned(AgentKey, AgentDialect)
    /// All tags that the agent has now.
    case tagsLearned(AgentKey, AgentTags)
    case activate(SerialNumber)
    /// Ends a previous identity, or one that is being aborted.
    case retire(SerialNumber)
    /// Makes due expiries take effect on an idle cluster.
    case expire
    /// From here on the rules of the next version hold; every member has said that it knows them.
    case raiseVersion(MachineVersion)
}

/// A certificate signing request (PKCS #10), in DER, whose own signature the accepting member has verified; at most 8 KiB.
package struct SigningRequest: Hashable, Sendable {
    package static let limit = 8 * 1024
    package let der: [UInt8]
    package init(der: [UInt8]) { self.der = der }
}

/// What a host sends on 7444, checked and completed by the member that took it.
package struct PairingSubmission: Hashable, Sendable {
    /// Drawn by the member that took it, anew for each attempt; the one in `Outcome.pairingQueued` counts.
    package var reqid: Reqid
    package var hostname: AgentName
    package var signingRequest: SigningRequest
    /// Echoed to the agent: at most 128 bytes of printable ASCII, or nothing.
    package var nonce: String
    /// Six digits, from the CSR's text (protocol page, 7.5).
    package var code: String
    /// The address that the connection came from.
    package var sourceAddress: String
    package var suggested: Reachability
    package init(
        reqid: Reqid, hostname: AgentName, signingRequest: SigningRequest, nonce: String, code: String, sourceAddress: String,
        suggested: Reachability
    ) {
        self.reqid = reqid
        self.hostname = hostname
        self.signingRequest = signingRequest
        self.nonce = nonce
        self.code = code
        self.sourceAddress = sourceAddress
        self.suggested = suggested
    }
}

/// How an agent is reached. What is nil is taken from the next in line: operator, submission, default (`hostname`, "", 7443).
package struct Reachability: Hashable, Sendable {
    package enum Lookup: String, Hashable, Sendable { case hostname, ip }
    package var lookup: Lookup?
    /// An IP literal, at most 45 bytes.
    package var address: String?
    package var port: UInt16?
    package init(lookup: Lookup? = nil, address: String? = nil, port: UInt16? = nil) {
        self.lookup = lookup
        self.address = address
        self.port = port
    }
}

package struct AgentEdit: Hashable, Sendable {
    package var rename: AgentName?
    package var reachability: Reachability
    package init(rename: AgentName? = nil, reachability: Reachability = Reachability()) {
        self.rename = rename
        self.reachability = reachability
    }
}

/// The index of the entry that made the obligation.
package struct ObligationID: Comparable, Hashable, Sendable {
    package let index: LogIndex
    package init(_ index: LogIndex) { self.index = index }
    package static func < (left: ObligationID, right: ObligationID) -> Bool { left.index < right.index }
}
