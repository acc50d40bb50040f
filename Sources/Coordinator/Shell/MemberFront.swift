// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the ports see of the member: ask it to do what must be done once, read its state, and wait for a pairing's decision.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import PKI
import Transport
import Wire

/// Answered from one step of the member, so that reply and state belong together.
package struct Performed: Sendable {
    package let reply: Reply
    /// The state after the step; the outcome's certificates and records are in it.
    package let state: DispatcherState
    package init(reply: Reply, state: DispatcherState) {
        self.reply = reply
        self.state = state
    }
}

/// One look at the member, for health routes and the headers of every response.
package struct MemberGlance: Sendable {
    package let member: MemberID
    package let leader: MemberID?
    package let term: Term
    package let holdsLease: Bool
    package let isReady: Bool
    /// Milliseconds since it last heard from a leader; nil: never.
    package let leaderContactMilliseconds: UInt64?
    package init(
        member: MemberID, leader: MemberID?, term: Term, holdsLease: Bool, isReady: Bool, leaderContactMilliseconds: UInt64?
    ) {
        self.member = member
        self.leader = leader
        self.term = term
        self.holdsLease = holdsLease
        self.isReady = isReady
        self.leaderContactMilliseconds = leaderContactMilliseconds
    }
}

/// `MemberRunner` is the real one.
package protocol MemberFront: Sendable {
    /// Never throws: what went wrong is a reply. `timeout` is at most 60 s. Cancelling the task gives the caller up, not the operation.
    func perform(
        _ operation: ExclusiveOperation, request: RequestID?, principal: Principal, timeout: TimeSpan
    ) async -> Performed
    /// Nil: not readable with that consistency before the time-out.
    func read(_ consistency: ReadConsistency, timeout: TimeSpan) async -> DispatcherState?
    /// What this member has applied now, however old.
    func appliedState() async -> DispatcherState
    /// Reports of all members that answer in time, this one among them.
    func reports(timeout: TimeSpan) async -> [MemberReport]
    func glance() async -> MemberGlance
    /// Returns when the pairing is decided or expires; nil when the task is cancelled.
    func decision(of reqid: Reqid) async -> PairingDecision?
    /// The dispatcher identity with this serial, unsealed: what agents and 7444 see.
    func dispatcherIdentity(_ serial: SerialNumber) throws -> TLSIdentity
    /// The key that seals the cluster's keys, for the holder of this key (SubjectPublicKeyInfo) alone.
    func sealedClusterKey(to publicKey: [UInt8]) throws -> SealedClusterKey
}

package struct SealedClusterKey: Hashable, Sendable {
    /// Of the cluster key.
    package let version: UInt32
    package let envelope: KeyEnvelope
    package init(version: UInt32, envelope: KeyEnvelope) {
        self.version = version
        self.envelope = envelope
    }
    /// Both sides name it so.
    package static let name = "cluster-key"
}
