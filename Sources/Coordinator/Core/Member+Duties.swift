// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the leader does by itself: whatever the replicated state says that some leader must still do. Nothing is remembered between
// leaders but the state, so that the next one goes on from whatever it finds.
//
// A certificate: reserved by an entry, signed outside the log under that reservation, recorded by another entry. A reservation belongs
// to the term that made it; a later leader burns it and reserves anew, so that a signature which arrives late finds its serial gone.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension Member {
    /// As long as those that `cluster init` makes; the peer port does not look at it.
    static let memberDays: Int64 = 3_650

    func clusterTime(at now: Instant) -> ClusterTime { leadership?.clock.time(at: now) ?? state.time }

    mutating func performDuties(at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]) {
        guard isEstablished else { return }
        guard let lease = lease(at: now.instant) else {
            // Whatever brings the lease back is an event of its own.
            leadership?.hadLease = false
            leadership?.nextDeadline = Member.never
            return
        }
        // Duties follow from the state, from time, and from answers, which make them due at once.
        guard let due = leadership?.nextDeadline, let hadLease = leadership?.hadLease,
            leadership?.lookedAt != state.appliedIndex || !hadLease || now.instant >= due, var duties = leadership
        else { return }
        duties.lookedAt = state.appliedIndex
        duties.hadLease = true
        duties.proposedSteps.removeAll { $0.index <= state.appliedIndex }
        duties.signing.removeAll { $0.giveUpAt <= now.instant }
        if let index = duties.proposedExpiry, index <= state.appliedIndex { duties.proposedExpiry = nil }
        duties.nextDeadline = Member.never

        // Without a calendar nothing can be dated; whoever this member hands over to goes on.
        let maySign = state.obligations.isEmpty || (!duties.isCalendarOff && mayDate(at: now))
        if !maySign { duties.nextDeadline = now.instant + .milliseconds(50) }
        for obligation in state.obligations {
            guard !duties.proposedSteps.contains(where: { $0.obligation == obligation.id }) else { continue }
            if obligation.term != duties.term {
                guard let index = propose(.reserveAnew(obligation.id), at: now, consensus: &consensus) else {
                    duties.nextDeadline = now.instant + Member.retryInterval
                    break
                }
                duties.proposedSteps.append(Leadership.ProposedStep(obligation: obligation.id, index: index))
            } else if !duties.signing.contains(where: { $0.obligation == obligation.id && $0.serial == obligation.serial }) {
                guard maySign, duties.signing.count < Leadership.signingLimit else { break }
                duties.signing.append(
                    Leadership.Signing(
                        obligation: obligation.id, serial: obligation.serial, giveUpAt: now.instant + Leadership.Signing.patience))
                effects.append(
                    Effect(
                        .sign(SigningJob(obligation: obligation, validity: validity(for: obligation, at: now.wallClock))), notAfter: lease))
            }
        }
        for signing in duties.signing { duties.nextDeadline = min(duties.nextDeadline, signing.giveUpAt) }

        // Nobody waits for the end of an invitation, but people see it in the status.
        let expiries = [state.nextExpiry, state.nextInvitationExpiry].compactMap { $0 }
        if let expiry = expiries.min(), duties.proposedExpiry == nil {
            if expiry <= duties.clock.time(at: now.instant) {
                duties.proposedExpiry = propose(.expire, at: now, consensus: &consensus)
                if duties.proposedExpiry == nil { duties.nextDeadline = min(duties.nextDeadline, now.instant + Member.retryInterval) }
            } else {
                duties.nextDeadline = min(duties.nextDeadline, duties.clock.instant(of: expiry))
            }
        }
        tendVersion(&duties, at: now, consensus: &consensus)
        tendMembership(&duties, at: now, consensus: &consensus)
        tendRotation(&duties, lease: lease, at: now, consensus: &consensus, into: &effects)
        leadership = duties
    }

    mutating func signed(
        _ obligation: ObligationID, _ serial: SerialNumber, _ result: Result<SignedCertificate, SigningFailure>, at now: Moment,
        consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard isEstablished else { return }
        leadership?.signing.removeAll { $0.obligation == obligation && $0.serial == serial }
        leadership?.nextDeadline = .zero
        let command: Command
        switch result {
        case .success(let certificate):
            command =
                if let key = certificate.key {
                    .recordIdentity(obligation, serial, certificate: certificate.der, key: key, notAfter: certificate.notAfter)
                } else {
                    .recordCertificate(obligation, serial, certificate: certificate.der, notAfter: certificate.notAfter)
                }
        case .failure(.dropped):
            return
        case .failure(.impossible(let reason)):
            command = .signingFailed(obligation, serial, reason: reason)
            effects.append(Effect(.log(LogRecord(.error, "sign-fail", [("SERIAL", serial.hexadecimal), ("ERROR", reason)]))))
        }
        guard state.obligations.contains(where: { $0.id == obligation && $0.serial == serial }) else { return }
        if let index = propose(command, at: now, consensus: &consensus) {
            leadership?.proposedSteps.append(Leadership.ProposedStep(obligation: obligation, index: index))
        }
    }

    /// A step of the leader's own; nil if it cannot propose now (a transfer runs, too much is open): the duty comes round again.
    /// Nil as well for what the rules in force do not know yet.
    mutating func propose(
        _ command: Command, changing configuration: Configuration? = nil, at now: Moment, consensus: inout [ConsensusEffect]
    ) -> LogIndex? {
        guard command.neededVersion <= state.machineVersion else { return nil }
        let proposal = Proposal(
            command: command, principal: .leader, request: nil, time: clusterTime(at: now.instant), calendar: now.wallClock)
        do {
            return try raft.propose(proposal.encoded(), changing: configuration, at: now.instant, into: &consensus).index
        } catch {
            return nil
        }
    }

    /// `notBefore` is set back by five minutes, for clocks that are behind.
    private func validity(for obligation: Obligation, at now: WallClock) -> SigningJob.Validity {
        let days: Int64 =
            switch obligation.purpose {
            case .operatorCertificate: settings.operatorDays
            case .memberCertificate: Member.memberDays
            case .agentCertificate: settings.agentDays
            case .dispatcherIdentity: settings.dispatcherDays
            }
        let start = now.secondsSince1970
        return SigningJob.Validity(
            notBefore: WallClock(secondsSince1970: start - 300), notAfter: WallClock(secondsSince1970: start + days * 86_400))
    }
}

extension Refusal {
    /// True for what no committed entry could change, so that it is said at once; everything else is decided by the log. A host that
    /// may not pair now is turned away at once as well: it asks again, and its flood must not become entries.
    func holdsWhateverTheState(for principal: Principal) -> Bool {
        switch self {
        case .invalid: return true
        case .pairingClosed, .pairingQueueFull:
            if case .pairingHost = principal { return true }
            return false
        case .invitationUnknown, .invitationUsed:
            if case .joiningHost = principal { return true }
            return false
        // An older member could not even read the entry.
        case .rulesTooOld: return true
        default: return false
        }
    }
}
