// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which files an entry may have changed: told from the entry and what became of it, at no cost. A part too many does no harm, for whoever
// writes compares; a part too few would leave a file behind, which a test with random entries looks for.

import CtrlExec

extension ProjectionChange {
    /// Nil if no file follows from what this entry changed.
    package init?(_ command: Command, _ applied: Applied) {
        // Any entry may let pairing requests expire.
        var parts: [ProjectedPart] = applied.decided.map { .pairing($0.reqid) }
        for outcome in [applied.outcome] + applied.settled.map(\.outcome) {
            switch outcome {
            case .pairingQueued(let reqid): parts.append(.pairing(reqid))
            case .pairingApproved(let reqid, let name, _): parts += [.pairing(reqid), .agent(name)]
            case .agentRemoved(let name): parts.append(.agent(name))
            case .agentEdited(let name):
                parts.append(.agent(name))
                if case .editAgent(let former, _) = command, former != name { parts.append(.agent(former)) }
            case .rotationBegun, .rotationAborted: parts.append(.everyAgent)
            case .underway, .operatorIssued, .pairingOpened, .pairingClosed, .pairingDenied, .revoked, .stepped, .refused, .invited,
                .memberAdmitted, .memberRemoved, .memberMoved:
                break
            }
        }
        if applied.outcome == .stepped { parts += ProjectionChange.parts(of: command) }
        if parts.isEmpty { return nil }
        self = .parts(parts)
    }

    /// A step of a duty that took effect.
    private static func parts(of command: Command) -> [ProjectedPart] {
        switch command {
        case .identityConfirmed(let agent, _, _), .identityRemoved(let agent, _), .dialectLearned(let agent, _), .tagsLearned(let agent, _):
            [.agent(agent.name)]
        case .activate: [.certificates, .rotation, .everyAgent]
        case .retire: [.rotation]
        case .recordIdentity: [.everyAgent]
        case .issueOperator, .openPairing, .closePairing, .submitPairing, .approvePairing, .denyPairing, .unpair, .editAgent,
            .beginRotation, .abortRotation, .revoke, .reserveAnew, .recordCertificate, .signingFailed, .memberHolds, .expire,
            .raiseVersion, .invite, .admit, .removeMember, .setMemberAddress, .reconfigure:
            []
        }
    }
}
