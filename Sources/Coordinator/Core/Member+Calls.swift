// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Callers of exclusive operations: each has a request id, a deadline, and one answer. The same request may come again, here or through
// another member; that it happens once is decided where it is applied, so that every retry in here is harmless.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension Member {
    mutating func begin(
        _ operation: ExclusiveOperation, _ request: RequestID?, from principal: Principal, deadline: Instant, _ ticket: Ticket,
        at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard calls.count < Member.callLimit else {
            effects.append(Effect(.reply(.overloaded, ticket)))
            return
        }
        let call = Call(
            origin: .ticket(ticket), operation: operation, request: request ?? mint(), principal: principal, deadline: deadline,
            stage: .waiting(retryAt: now.instant))
        calls.append(call)
        advance(callAt: calls.count - 1, at: now, consensus: &consensus, into: &effects)
        callsDue = min(callsDue, calls[calls.count - 1].nextDeadline)
        sweepCalls()
    }

    /// A forwarded request has arrived at whom its carrier takes for the leader.
    mutating func carry(
        _ request: ForwardedRequest, from sender: MemberID, at now: Moment, consensus: inout [ConsensusEffect],
        into effects: inout [Effect]
    ) {
        guard raft.role == .leader, raft.term == request.believedTerm, calls.count < Member.callLimit else {
            send(.notLeader(raft.leader, term: raft.term), number: request.number, to: sender, into: &effects)
            return
        }
        // What a leader generates is never forwarded: a carrier that speaks as the leader is refused, whoever it is.
        guard request.principal != .leader else {
            send(.settled(.refused(.notAllowed), through: state.appliedIndex), number: request.number, to: sender, into: &effects)
            return
        }
        let remaining = TimeSpan.milliseconds(min(request.remainingMilliseconds, 60_000))
        calls.append(
            Call(
                origin: .carried(from: sender, number: request.number), operation: request.operation, request: request.request,
                principal: request.principal, deadline: now.instant + remaining, stage: .waiting(retryAt: now.instant)))
        advance(callAt: calls.count - 1, at: now, consensus: &consensus, into: &effects)
        callsDue = min(callsDue, calls[calls.count - 1].nextDeadline)
        sweepCalls()
    }

    mutating func forwardAnswered(_ answer: ForwardAnswer, from sender: MemberID, at now: Moment, into effects: inout [Effect]) {
        guard
            let position = calls.firstIndex(where: {
                if case .forwarded(answer.number, sender, _) = $0.stage { true } else { false }
            })
        else { return }
        switch answer.result {
        case .settled(let outcome, let index): calls[position].stage = .settled(outcome, through: index)
        case .notLeader: calls[position].stage = .waiting(retryAt: now.instant + Member.retryInterval)
        case .transferred, .transferFailed: self.answer(callAt: position, with: answer.result, into: &effects)
        }
        callsDue = .zero
        sweepCalls()
    }

    mutating func forget(_ ticket: Ticket) {
        for call in calls where call.origin == .ticket(ticket) { close(call.request) }
        calls.removeAll { $0.origin == .ticket(ticket) }
        reads.removeAll { $0.ticket == ticket }
        gatherings.removeAll { $0.ticket == ticket }
    }

    /// Moves every call as far as it will go now.
    mutating func advanceCalls(at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]) {
        for position in calls.indices { advance(callAt: position, at: now, consensus: &consensus, into: &effects) }
        sweepCalls()
        callsStanding = standing
        callsDue = calls.reduce(Member.never) { min($0, $1.nextDeadline) }
    }

    private mutating func advance(
        callAt position: Int, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        let call = calls[position]
        switch call.stage {
        case .waiting(let retryAt):
            if now.instant >= call.deadline { return expire(callAt: position, into: &effects) }
            let isDue = retryAt.map { now.instant >= $0 } ?? true
            if isEstablished {
                lead(callAt: position, at: now, consensus: &consensus, into: &effects)
            } else if raft.role == .leader {
                // Elected, and not able to serve yet: a tick in the past must not be asked for.
                calls[position].stage = .waiting(retryAt: nil)
            } else if call.isCarried {
                answer(callAt: position, with: .notLeader(raft.leader, term: raft.term), into: &effects)
            } else if let known = knownOutcome(of: call) {
                answer(callAt: position, with: known, into: &effects)
            } else if let leader = raft.leader, let needed = rulesUnknown(to: leader, for: call) {
                answer(callAt: position, with: .settled(.refused(.rulesTooOld(needed)), through: state.appliedIndex), into: &effects)
            } else if let leader = raft.leader {
                if isDue { forward(callAt: position, to: leader, at: now, into: &effects) }
            } else {
                calls[position].stage = .waiting(retryAt: nil)
            }
        case .forwarded(_, let leader, let resendAt):
            if now.instant >= call.deadline { return expire(callAt: position, into: &effects) }
            if case .transfer(let wanted) = call.operation {
                // Not an entry: sent a second time, it would hand leadership on a second time. Whoever leads next is the answer.
                if let successor = raft.leader, successor != leader {
                    let isWanted = wanted == nil || wanted == successor
                    answer(callAt: position, with: isWanted ? .transferred(to: successor) : .transferFailed, into: &effects)
                } else if now.instant >= resendAt {
                    expire(callAt: position, into: &effects)
                }
            } else if raft.leader != leader {
                calls[position].stage = .waiting(retryAt: now.instant)
                advance(callAt: position, at: now, consensus: &consensus, into: &effects)
            } else if now.instant >= resendAt {
                forward(callAt: position, to: leader, at: now, into: &effects)
            }
        case .settled(let outcome, let index):
            if state.appliedIndex >= index {
                answer(callAt: position, with: .settled(outcome, through: index), into: &effects)
            } else if now.instant >= call.deadline {
                expire(callAt: position, into: &effects)
            }
        case .transferring(let target):
            if raft.leader == target {
                answer(callAt: position, with: .transferred(to: target), into: &effects)
            } else if now.instant >= call.deadline {
                expire(callAt: position, into: &effects)
            }
        case .proposed, .underway:
            if now.instant >= call.deadline { expire(callAt: position, into: &effects) }
        case .answered:
            break
        }
    }

    /// This member leads and may serve: answer what is known, propose what is new.
    private mutating func lead(
        callAt position: Int, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        let call = calls[position]
        if let known = knownOutcome(of: call) { return answer(callAt: position, with: known, into: &effects) }
        switch call.operation {
        case .transfer(let wanted):
            guard state.isOperator(call.principal) else {
                return answer(callAt: position, with: .settled(.refused(.notAllowed), through: state.appliedIndex), into: &effects)
            }
            guard wanted != settings.id else { return answer(callAt: position, with: .transferred(to: settings.id), into: &effects) }
            guard let target = wanted ?? transferTarget() else { return answer(callAt: position, with: .transferFailed, into: &effects) }
            do {
                try raft.transferLeadership(to: target, at: now.instant, into: &consensus)
                calls[position].stage = .transferring(to: target)
            } catch {
                answer(callAt: position, with: .transferFailed, into: &effects)
            }
        case .command(let command):
            if let outcome = state.outcome(of: call.request, by: call.principal, command: command), case .underway(let obligation) = outcome
            {
                calls[position].stage = .underway(obligation)
                return
            }
            if case .removeMember(let id) = command, state.isOperator(call.principal), let problem = removalProblem(id, at: now.instant) {
                answer(callAt: position, with: .settled(.refused(.membershipRefused(problem)), through: state.appliedIndex), into: &effects)
                return
            }
            let proposal = Proposal(
                command: command, principal: call.principal, request: call.request, time: clusterTime(at: now.instant),
                calendar: now.wallClock)
            if let refusal = state.validate(proposal), refusal.holdsWhateverTheState(for: call.principal) {
                answer(callAt: position, with: .settled(.refused(refusal), through: state.appliedIndex), into: &effects)
                return
            }
            do {
                let place = try raft.propose(proposal.encoded(), at: now.instant, into: &consensus)
                calls[position].stage = .proposed(place.index, place.term)
            } catch .tooLarge {
                answer(
                    callAt: position, with: .settled(.refused(.tooMany("the request is too large")), through: state.appliedIndex),
                    into: &effects)
            } catch {
                if call.isCarried {
                    answer(callAt: position, with: .notLeader(raft.leader, term: raft.term), into: &effects)
                } else {
                    calls[position].stage = .waiting(retryAt: now.instant + Member.retryInterval)
                }
            }
        }
    }

    /// An outcome that was applied is a committed fact: any member may repeat it.
    private func knownOutcome(of call: Call) -> ForwardAnswer.Result? {
        guard case .command(let command) = call.operation,
            let outcome = state.outcome(of: call.request, by: call.principal, command: command)
        else { return nil }
        if case .underway = outcome { return nil }
        return .settled(outcome, through: state.appliedIndex)
    }

    /// A leader of an older release could not read the request.
    private func rulesUnknown(to leader: MemberID, for call: Call) -> MachineVersion? {
        guard case .command(let command) = call.operation, let known = knownVersions.first(where: { $0.member == leader })?.version,
            command.neededVersion > known
        else { return nil }
        return command.neededVersion
    }

    private mutating func forward(callAt position: Int, to leader: MemberID, at now: Moment, into effects: inout [Effect]) {
        let call = calls[position]
        let number = takeNumber()
        let request = ForwardedRequest(
            number: number, operation: call.operation, principal: call.principal, request: call.request,
            remainingMilliseconds: call.deadline.since(now.instant).milliseconds, believedTerm: raft.term)
        calls[position].stage = .forwarded(number: number, to: leader, resendAt: now.instant + resendInterval(for: call.operation))
        effects.append(Effect(.send(.forward(request), to: leader)))
    }

    /// A transfer takes up to a promise and is not sent twice, so that it is waited for longer.
    private func resendInterval(for operation: ExclusiveOperation) -> TimeSpan {
        if case .transfer = operation { return settings.timing.promise + settings.timing.promise + settings.timing.promise }
        return Member.resendInterval
    }

    /// This member no longer leads: what it proposed may be committed by another, or be lost. The callers ask again under their ids.
    mutating func releaseProposals(at now: Moment, into effects: inout [Effect]) {
        for position in calls.indices {
            switch calls[position].stage {
            case .proposed, .underway, .waiting:
                if calls[position].isCarried {
                    answer(callAt: position, with: .notLeader(raft.leader, term: raft.term), into: &effects)
                } else {
                    calls[position].stage = .waiting(retryAt: now.instant)
                }
            case .forwarded, .settled, .transferring, .answered:
                break
            }
        }
        callsDue = .zero
        sweepCalls()
    }

    /// An entry was applied at `index`: its caller, if this member has one, learns what became of it.
    mutating func applied(_ applied: Applied, at index: LogIndex, term: Term, now: Moment, into effects: inout [Effect]) {
        for position in calls.indices {
            switch calls[position].stage {
            case .proposed(index, let proposedTerm):
                if proposedTerm != term {
                    calls[position].stage = .waiting(retryAt: now.instant)
                } else if case .underway(let obligation) = applied.outcome {
                    calls[position].stage = .underway(obligation)
                } else {
                    answer(callAt: position, with: .settled(applied.outcome, through: index), into: &effects)
                }
            case .underway(let obligation):
                if let settled = applied.settled.first(where: { $0.obligation == obligation }) {
                    answer(callAt: position, with: .settled(settled.outcome, through: index), into: &effects)
                }
            case .waiting, .forwarded, .settled, .transferring, .proposed, .answered:
                break
            }
        }
        // The standing has changed with the entry: whoever waits again is taken up in this step.
        sweepCalls()
    }

    /// A leader is known: transfers that waited for one are over.
    mutating func transferEnded(with leader: MemberID, into effects: inout [Effect]) {
        for position in calls.indices {
            guard case .transferring(let target) = calls[position].stage else { continue }
            if leader == target {
                answer(callAt: position, with: .transferred(to: target), into: &effects)
            } else if leader != settings.id {
                answer(callAt: position, with: .transferFailed, into: &effects)
            }
        }
        sweepCalls()
    }

    mutating func transferFailed(to target: MemberID, into effects: inout [Effect]) {
        for position in calls.indices where calls[position].stage == .transferring(to: target) {
            answer(callAt: position, with: .transferFailed, into: &effects)
        }
        sweepCalls()
    }

    // MARK: Answers

    private mutating func answer(callAt position: Int, with result: ForwardAnswer.Result, into effects: inout [Effect]) {
        let call = calls[position]
        switch call.origin {
        case .carried(let carrier, let number):
            send(result, number: number, to: carrier, into: &effects)
        case .ticket(let ticket):
            let reply: Reply =
                switch result {
                case .settled(let outcome, _): .settled(outcome)
                case .transferred(let target): .transferred(to: target)
                case .transferFailed: .transferFailed
                case .notLeader: .noLeader(call.request)
                }
            effects.append(Effect(.reply(reply, ticket)))
            close(call.request)
        }
        calls[position].stage = .answered
        hasAnsweredCalls = true
    }

    private mutating func expire(callAt position: Int, into effects: inout [Effect]) {
        let call = calls[position]
        if case .ticket(let ticket) = call.origin {
            if case .transfer = call.operation {
                effects.append(Effect(.reply(.transferFailed, ticket)))
            } else {
                effects.append(Effect(.reply(.noLeader(call.request), ticket)))
            }
            close(call.request)
        }
        calls[position].stage = .answered
        hasAnsweredCalls = true
    }

    private func send(_ result: ForwardAnswer.Result, number: UInt64, to member: MemberID, into effects: inout [Effect]) {
        effects.append(Effect(.send(.forwardAnswer(ForwardAnswer(number: number, result: result)), to: member)))
    }

    /// Calls keep their places while one loop runs over them; the answered ones leave afterwards.
    private mutating func sweepCalls() {
        guard hasAnsweredCalls else { return }
        hasAnsweredCalls = false
        calls.removeAll { $0.stage == .answered }
    }

    // MARK: Request ids that this member mints

    private mutating func mint() -> RequestID {
        let sequence = mintedNext
        mintedNext += 1
        mintedOpen.append(sequence)
        return .minted(session: settings.session, sequence: sequence, answeredThrough: (mintedOpen.first ?? sequence) - 1)
    }

    private mutating func close(_ request: RequestID) {
        guard case .minted(settings.session, let sequence, _) = request else { return }
        mintedOpen.removeAll { $0 == sequence }
    }
}
