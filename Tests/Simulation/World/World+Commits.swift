// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the invariants are told of every entry, once, when the first member takes it for committed.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    func observeCommit(
        _ machine: SimulatedMember, _ process: SimulatedProcess, through commitIndex: LogIndex, term: Term, isLeader: Bool
    ) throws(Broken) {
        if commitIndex > history.last {
            var added: [LogMark] = []
            for entry in process.member.raft.committedEntries(after: history.last, through: commitIndex) {
                let change = history.append(entry)
                added.append(history.marks[history.marks.count - 1])
                checks.leaderCompleteness.committed(history.marks[history.marks.count - 1], in: term)
                coverage.note(.commits)
                try observeCommitted(entry, change)
            }
            let mark = history.mark(at: history.last)
            // By what was in force when it counted: what it appended in the same step it appended afterwards.
            let counting = process.lastConfiguration
            let holders = members.filter { counting.isVoter($0.id) && $0.known.durable.mark(at: history.last) == mark }.map(\.id)
            try checks.committedStays.advanced(
                by: machine.id, term: term, isLeader: isLeader, adding: added, holders: holders, quorum: counting.quorum)
        }
        try checks.committedStays.believes(machine.id, commitIndex, machine.known.written.mark(at: commitIndex))
    }

    private func observeCommitted(_ entry: Entry, _ change: CommittedHistory.Change) throws(Broken) {
        trace.say(
            now,
            "committed \(entry.index) of term \(entry.term): \(change.proposal.map { words(for: $0.command) } ?? "nothing") → \(change.applied.outcome)"
        )
        picture?.notes(
            nil, at: now, "committed \(entry.index)/t\(entry.term): \(change.proposal.map { words(for: $0.command) } ?? "nothing")")
        try checks.stateMachineSafety.applied(nil, through: entry.index, hash: history.state.stateHash)
        if entry.index.position % 32 == 0 {
            try checks.stateMachineSafety.appliedWhole(nil, through: entry.index, hash: history.state.fullStateHash())
        }
        try checks.imageFidelity.committed(history.state)
        try checks.monotoneCounters.committed(entry.index, time: history.state.time, serialCounter: history.state.nextSerialCounter)
        for obligation in history.state.obligations {
            try checks.uniqueSerials.reserves(
                obligation.serial, UniqueSerials.Reservation(obligation: obligation.id, term: obligation.term))
        }
        guard let proposal = change.proposal else { return }
        try checks.forwarding.committed(proposal, at: entry.index)
        try observeRights(proposal, entry, change)
        if hasGuests { try observeMembers(proposal, entry, change.applied) }
        if entry.index.position % 16 == 0 { try probeApply(proposal, entry) }
        if let request = proposal.request {
            let isFirst = try checks.exactlyOnce.applied(
                proposal.principal, request, at: entry.index, outcome: change.applied.outcome, changed: change.changed)
            if !isFirst { coverage.note(.duplicatesInTheLog) }
        }
        try checks.revokedStaysOut.applied(proposal.principal, at: entry.index, outcome: change.applied.outcome, changed: change.changed)
        if case .revoked(entry.index) = change.applied.outcome {
            for record in history.state.revocations where record.index == entry.index {
                coverage.note(.certificatesRevoked)
                checks.revokedStaysOut.revokes(record.serial)
            }
        }
        if case .recordCertificate(_, let serial, let bytes, _) = proposal.command {
            if change.applied.outcome == .refused(.reservationGone) {
                coverage.note(.lateSignatures)
            } else if !change.applied.settled.isEmpty {
                coverage.note(.certificatesRecorded)
                try checks.uniqueSerials.releases(serial, bytes, certified: SimulatedCertificate(bytes: bytes)?.serial)
            }
        }
        if change.applied.outcome == .stepped {
            switch proposal.command {
            case .recordIdentity(_, let serial, let bytes, _, _):
                try checks.uniqueSerials.releases(serial, bytes, certified: SimulatedCertificate(bytes: bytes)?.serial)
            case .identityConfirmed: coverage.note(.identitiesConfirmed)
            case .identityRemoved: coverage.note(.identitiesRemoved)
            case .tagsLearned: coverage.note(.tagsLearned)
            case .raiseVersion: coverage.note(.versionsRaised)
            case .activate: coverage.note(.rotationsActivated)
            case .retire(let serial):
                coverage.note(history.state.identity(serial)?.phase == .aborted ? .rotationsAborted : .identitiesRetired)
                try checkAgents(without: serial)
            default: break
            }
        }
        // Whether an agent is lost shows at the next look as well; each takes time.
        if entry.index.position % 8 == 0 { try checkAgents() }
        for decision in change.applied.decided {
            switch decision.verdict {
            case .approved:
                coverage.note(.pairingsApproved)
                paired(decision.reqid)
            case .denied: coverage.note(.pairingsDenied)
            case .expired: break
            }
        }
    }

    /// Who may sign what, and what counts of it.
    private func observeRights(_ proposal: Proposal, _ entry: Entry, _ change: CommittedHistory.Change) throws(Broken) {
        func granted(_ id: ObligationID) throws(Broken) {
            guard let obligation = history.state.obligation(id) else { return }
            let token = FencingTokens.Token(incarnation: genesis.incarnation.counter, index: entry.index)
            try checks.fencingTokens.grants(token, id, obligation.serial)
        }
        if case .underway(ObligationID(entry.index)) = change.applied.outcome { try granted(ObligationID(entry.index)) }
        guard change.applied.outcome == .stepped else { return }
        switch proposal.command {
        case .reserveAnew(let id): try granted(id)
        case .recordCertificate(let id, let serial, _, _), .signingFailed(let id, let serial, _),
            .recordIdentity(let id, let serial, _, _, _):
            try checks.fencingTokens.counts(id, serial)
        default: break
        }
    }

    /// What no leader would propose, applied to a copy: the same out of place, by somebody else, at the end of time, and once more.
    private func probeApply(_ proposal: Proposal, _ entry: Entry) throws(Broken) {
        var hostile: [Proposal] = []
        for principal in [Principal.leader, .pairingHost(address: "::"), .localUser(uid: .max)] {
            var proposal = proposal
            proposal.principal = principal
            hostile.append(proposal)
        }
        for time in [ClusterTime.zero, ClusterTime(milliseconds: .max)] {
            var proposal = proposal
            proposal.time = time
            proposal.calendar = WallClock(secondsSince1970: time == .zero ? .min : .max)
            hostile.append(proposal)
        }
        var copy = history.state
        for proposal in hostile {
            let before = (index: copy.appliedIndex, time: copy.time)
            _ = copy.apply(proposal, at: before.index.next, term: entry.term)
            try checks.applyIsTotal.applied("\(proposal.command)", before: before, after: (copy.appliedIndex, copy.time))
            let hash = copy.stateHash
            _ = copy.apply(proposal, at: entry.index, term: entry.term)
            try checks.applyIsTotal.repeated("\(proposal.command)", before: hash, after: copy.stateHash)
        }
    }
}
