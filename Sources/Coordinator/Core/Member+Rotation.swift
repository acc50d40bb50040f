// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Rotation as a duty. What is to be done for which agent the state says (`DispatcherState.step`); here it is decided when, how many at a
// time, and what an answer means. A leader that dies in between leaves nothing behind that the next one would need.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension Member {
    /// A new identity is begun when the current one has so many days left.
    static let renewalSeconds: Int64 = 90 * 86_400
    /// A member that answered so many promises ago is reached.
    private var reachSpan: TimeSpan { settings.timing.promise + settings.timing.promise }

    // MARK: What members hold

    mutating func lookAtHoldings() {
        holdingsIndex = state.rotationIndex
        // In place: a closure that asks the state would be handed a copy of it.
        let identities = held
        held.removeAll()
        unreportedHoldings.removeAll()
        for serial in identities where state.use(of: serial) != nil {
            held.append(serial)
            if !state.holds(settings.id, serial) { unreportedHoldings.append(serial) }
        }
    }

    mutating func reportHoldings(at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]) {
        if state.rotationIndex != holdingsIndex { lookAtHoldings() }
        guard now.instant >= holdingDue, case let unreported = unreportedHoldings, !unreported.isEmpty else { return }
        holdingDue = now.instant + .milliseconds(250)
        if isEstablished {
            note(unreported, heldBy: settings.id, at: now, consensus: &consensus)
        } else if let leader = raft.leader, leader != settings.id {
            effects.append(Effect(.send(.holding(unreported), to: leader)))
        }
    }

    mutating func note(_ serials: [SerialNumber], heldBy member: MemberID, at now: Moment, consensus: inout [ConsensusEffect]) {
        guard isEstablished else { return }
        for serial in serials where state.use(of: serial) != nil && !state.holds(member, serial) {
            _ = propose(.memberHolds(member, serial), at: now, consensus: &consensus)
        }
    }

    // MARK: What agents are

    /// An agent let another identity in than the state says. A member that does not lead tells the leader; should that get lost, the next
    /// call finds it again.
    mutating func observe(
        _ observation: AgentObservation, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard let agent = state.agent(named: observation.agent.name), agent.key == observation.agent,
            !agent.confirmedIdentities.contains(observation.accepted)
                || agent.confirmedIdentities.contains(where: observation.refused.contains)
        else { return }
        if isEstablished {
            let refused = observation.refused.filter { $0 != observation.accepted }
            _ = propose(.identityConfirmed(agent.key, observation.accepted, refused: refused), at: now, consensus: &consensus)
        } else if let leader = raft.leader, leader != settings.id {
            effects.append(Effect(.send(.observed(observation), to: leader)))
        }
    }

    mutating func agentAnswered(
        _ number: UInt64, _ answer: AgentTaskAnswer, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard var duty = leadership?.rotation, let position = duty.calls.firstIndex(where: { $0.number == number && $0.proposed == nil })
        else { return }
        let call = duty.calls.remove(at: position)
        duty.nextLook = now.instant
        var command: Command?
        switch answer.result {
        case .done:
            switch call.task {
            case .announce(let serial):
                command = .identityConfirmed(call.agent, serial, refused: answer.refused.filter { $0 != serial })
            case .remove(let serial): command = .identityRemoved(call.agent, serial)
            case .learn: break
            }
            duty.setPause(of: call.agent, nil)
        case .learned(let dialect):
            if state.agent(named: call.agent.name)?.dialect != dialect { command = .dialectLearned(call.agent, dialect) }
            if var pause = duty.pause(of: call.agent) {
                pause.mustLearn = false
                duty.setPause(of: call.agent, pause)
            }
        case .refused(let reason), .unreachable(let reason):
            var isRefusal = false
            if case .refused = answer.result { isRefusal = true }
            if duty.failed(call.agent, mustLearn: isRefusal, at: now.instant) {
                let action =
                    switch call.task {
                    case .learn, .announce: "serial-broadcast-fail"
                    case .remove: "serial-retire-fail"
                    }
                effects.append(Effect(.log(LogRecord(.warning, action, [("AGENT", call.agent.name.text), ("ERROR", reason)]))))
            }
        case .dropped: break
        }
        leadership?.rotation = duty
        leadership?.nextDeadline = .zero
        if let command, let index = propose(command, at: now, consensus: &consensus) {
            var noted = call
            noted.proposed = index
            leadership?.rotation.calls.append(noted)
        }
        if case .done = answer.result, case .announce = call.task { return }
        if let accepted = answer.accepted {
            let observation = AgentObservation(agent: call.agent, accepted: accepted, refused: answer.refused)
            observe(observation, at: now, consensus: &consensus, into: &effects)
        }
    }

    // MARK: What the leader does

    mutating func tendRotation(
        _ duties: inout Leadership, lease: Instant, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        duties.rotation.calls.removeAll { call in
            call.proposed.map { $0 <= state.appliedIndex } ?? (call.giveUpAt <= now.instant)
        }
        if let index = duties.rotation.proposed, index <= state.appliedIndex { duties.rotation.proposed = nil }
        let hasChanged = duties.rotation.lookedAt != state.rotationIndex
        if hasChanged { duties.rotation.nextLook = min(duties.rotation.nextLook, duties.rotation.lastLook + RotationDuty.shortestInterval) }
        if now.instant >= duties.rotation.nextLook {
            duties.rotation.lookedAt = state.rotationIndex
            duties.rotation.lastLook = now.instant
            duties.rotation.nextLook = now.instant + .seconds(60)
            let time = duties.clock.time(at: now.instant)
            if duties.rotation.proposed == nil, let command = nextRotationStep(duties, time, at: now) {
                duties.rotation.proposed = propose(command, at: now, consensus: &consensus)
            }
            callAgents(&duties, time, lease: lease, at: now, into: &effects)
            // Members come and go without any entry.
            if state.rotation != nil || duties.rotation.proposed != nil {
                duties.rotation.nextLook = min(duties.rotation.nextLook, now.instant + RotationDuty.interval)
            }
            if let retirement = state.nextRetirement(after: time) {
                duties.rotation.nextLook = min(duties.rotation.nextLook, duties.clock.instant(of: retirement) + .milliseconds(1))
            }
        }
        duties.nextDeadline = min(duties.nextDeadline, max(duties.rotation.nextLook, now.instant + .milliseconds(1)))
    }

    private func nextRotationStep(_ duties: Leadership, _ time: ClusterTime, at now: Moment) -> Command? {
        for identity in state.identities where state.canFinish(identity, at: time) { return .retire(identity.serial) }
        switch state.rotation?.stage {
        case .prepared(let serial):
            guard now.instant.since(duties.rotation.begunAt) >= reachSpan, state.canActivate(serial) else { break }
            let isHeld = state.membersWithout(serial).allSatisfy { !isReached($0, at: now.instant) }
            if isHeld { return .activate(serial) }
        case .making: break
        case nil:
            if let current = state.currentIdentity, mayDate(at: now),
                current.notAfter.secondsSince1970
                    < now.wallClock.secondsSince1970.addingReportingOverflow(Member.renewalSeconds).partialValue
            {
                let command = Command.beginRotation(
                    overlapMilliseconds: Rotation.defaultOverlapMilliseconds, isCompromised: false, replacing: current.serial)
                let proposal = Proposal(command: command, principal: .leader, request: nil, time: time, calendar: now.wallClock)
                if state.validate(proposal) == nil { return command }
            }
        }
        // The overlap is counted in committed time: on an idle cluster somebody must commit some now and then.
        if state.nextRetirement(after: time) != nil, time.milliseconds > state.time.milliseconds + 600_000 { return .expire }
        return nil
    }

    func isReached(_ member: MemberID, at now: Instant) -> Bool {
        if member == settings.id { return true }
        guard let answer = raft.progress(of: member)?.lastAnswer else { return false }
        return now.since(answer) <= reachSpan
    }

    private mutating func callAgents(
        _ duties: inout Leadership, _ time: ClusterTime, lease: Instant, at now: Moment, into effects: inout [Effect]
    ) {
        for agent in state.agents {
            guard duties.rotation.calls.count < RotationDuty.callLimit else { return }
            guard let step = state.step(for: agent, at: time), !duties.rotation.calls.contains(where: { $0.agent == agent.key }) else {
                continue
            }
            let pause = duties.rotation.pause(of: agent.key)
            if let pause, pause.until > now.instant {
                duties.rotation.nextLook = min(duties.rotation.nextLook, pause.until)
                continue
            }
            let task: AgentTask
            var identities = state.presentation(to: agent)
            if agent.dialect == nil || pause?.mustLearn == true {
                task = .learn
            } else {
                switch step {
                case .announce(let serial): task = .announce(serial)
                case .remove(let serial, let keeper):
                    task = .remove(serial)
                    identities = [keeper]
                }
            }
            let call = AgentCall(number: takeNumber(), agent: agent, task: task, dialect: agent.dialect, identities: identities)
            duties.rotation.calls.append(
                RotationDuty.Call(
                    number: call.number, agent: agent.key, task: task, giveUpAt: now.instant + RotationDuty.patience, proposed: nil))
            effects.append(Effect(.call(call), notAfter: lease))
        }
    }
}
