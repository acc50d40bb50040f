// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One exclusive operation that somebody waits for at this member, and how far it has come.

import Consensus
import CtrlExec
import DispatcherState
import Wire

struct Call: Hashable, Sendable {
    enum Origin: Hashable, Sendable {
        /// A caller of this member.
        case ticket(Ticket)
        /// Another member carries it to us, the leader. It is answered there and never forwarded on.
        case carried(from: MemberID, number: UInt64)
    }

    enum Stage: Hashable, Sendable {
        /// Tried at this instant, or before if this member may serve; nil: no leader is known, or this member is elected and may not serve yet,
        /// and it is tried in the step in which that changes.
        case waiting(retryAt: Instant?)
        /// On its way to the leader under this number; sent again if no answer has come by the instant.
        case forwarded(number: UInt64, to: MemberID, resendAt: Instant)
        /// Proposed by this member; the entry's place tells whether it was committed or lost.
        case proposed(LogIndex, Term)
        case underway(ObligationID)
        /// Decided at the leader; answered here once this member has applied so far.
        case settled(Outcome, through: LogIndex)
        case transferring(to: MemberID)
        case answered
    }

    let origin: Origin
    let operation: ExclusiveOperation
    let request: RequestID
    let principal: Principal
    let deadline: Instant
    var stage: Stage

    var isCarried: Bool {
        if case .carried = origin { return true }
        return false
    }
    /// When something must be done for it even if nothing happens.
    var nextDeadline: Instant {
        switch stage {
        case .waiting(let retryAt): min(retryAt ?? deadline, deadline)
        case .forwarded(_, _, let resendAt): min(resendAt, deadline)
        case .proposed, .underway, .settled, .transferring: deadline
        case .answered: Member.never
        }
    }
}
