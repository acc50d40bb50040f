// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What became of a command. Small: it is kept for a day under the request's id.

import Consensus
import CtrlExec

package enum Outcome: Hashable, Sendable {
    /// The answer comes when this obligation ends.
    case underway(ObligationID)
    case operatorIssued(OperatorName, SerialNumber)
    case pairingOpened(until: ClusterTime)
    case pairingClosed
    case pairingQueued(Reqid)
    case pairingApproved(Reqid, AgentName, SerialNumber)
    case pairingDenied(Reqid)
    case agentRemoved(AgentName)
    case agentEdited(AgentName)
    /// The new identity is prepared.
    case rotationBegun(SerialNumber)
    case rotationAborted
    /// What was asked to be revoked is, by the entry at this index at the latest.
    case revoked(at: LogIndex)
    case invited(MemberID, until: ClusterTime)
    /// It has its certificate; it learns from now on, and votes once it has caught up.
    case memberAdmitted(MemberID, SerialNumber)
    /// It is on its way out, or its invitation is withdrawn.
    case memberRemoved(MemberID)
    case memberMoved(MemberID)
    /// A step of a duty took effect.
    case stepped
    case refused(Refusal)
}

/// Why a command was not carried out, as a value; `text` says it to a person.
package enum Refusal: Hashable, Sendable {
    case notAllowed
    /// The same request id was used for another request.
    case requestIDReused
    /// A late copy of a request whose id a member minted, and whose answer was given and forgotten. It was not carried out again.
    case requestForgotten
    /// 50,000 outcomes are kept; none is forgotten early.
    case requestTableFull
    case unknownPairing(Reqid)
    case unknownAgent(AgentName)
    case agentNameTaken(AgentName)
    case operatorNameTaken(OperatorName)
    case pairingClosed
    case pairingQueueFull
    case pairingReqidTaken(Reqid)
    /// It can no longer be denied.
    case pairingAlreadyApproved(Reqid)
    case invalid(String)
    case tooMany(String)
    /// The reservation was burned or the obligation is over: a late or second doer.
    case reservationGone
    case signingFailed(String)
    /// One rotation at a time, until its identity is current.
    case rotationUnderway
    case noRotation
    /// Eight are not finished.
    case tooManyIdentities
    /// The request was overtaken by an abort.
    case rotationAborted
    case unknownOperator(OperatorName)
    /// While the certificate was being made.
    case operatorRevoked(OperatorName)
    /// A step of a rotation that is done, or no longer wanted.
    case stepGone
    case unknownMember(MemberID)
    /// Of a member, of one that is invited, or of one that was there.
    case memberNameTaken(MemberID)
    /// Never made, used up, withdrawn or too old; a stranger is not told which.
    case invitationUnknown
    /// By another key.
    case invitationUsed(MemberID)
    /// Why it would harm the cluster.
    case membershipRefused(String)
    /// The rules in force do not know it yet.
    case rulesTooOld(MachineVersion)
}

/// What one applied entry changed that somebody waits for.
package struct Applied: Hashable, Sendable {
    package var outcome: Outcome
    /// Obligations that this entry ended, with their final outcome.
    package var settled: [Settled]
    /// Pairings that this entry decided or let expire; whoever holds the agent's connection answers it.
    package var decided: [PairingDecision]
    /// An identity that this entry made: every member opens its key.
    package var prepared: Identity?
    package init(outcome: Outcome, settled: [Settled] = [], decided: [PairingDecision] = [], prepared: Identity? = nil) {
        self.outcome = outcome
        self.settled = settled
        self.decided = decided
        self.prepared = prepared
    }
}

package struct Settled: Hashable, Sendable {
    package var obligation: ObligationID
    package var outcome: Outcome
    package init(obligation: ObligationID, outcome: Outcome) {
        self.obligation = obligation
        self.outcome = outcome
    }
}

package struct PairingDecision: Hashable, Sendable {
    package enum Verdict: Hashable, Sendable {
        /// The agent's certificate in DER.
        case approved(certificate: [UInt8])
        case denied
        case expired
    }
    package var reqid: Reqid
    package var nonce: String
    package var verdict: Verdict
    package init(reqid: Reqid, nonce: String, verdict: Verdict) {
        self.reqid = reqid
        self.nonce = nonce
        self.verdict = verdict
    }
}
