// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The second phase of a seed. A quorum is picked at random: between its members, and in them, nothing fails any more. What the others suffer
// from stays for ever, and each gets one more trouble that never ends. Within a stated bound somebody must lead, the quorum must agree, and
// every request must find its outcome, whomever its client asks.

import Consensus
import CoordinatorCore
import DispatcherState

/// What never ends.
enum StandingFault: CaseIterable, Hashable, Sendable {
    case dead
    case cutOff
    /// Hears nobody; is heard by nobody.
    case deaf, mute
    case hangs, diskHangs
    /// Comes up and dies, again and again.
    case crashes
    /// Loses every third message, and takes its time with the others.
    case flaky
}

extension World {
    /// How long after the end of the safety phase somebody must lead, and how long until all is settled.
    package static let leaderBound = TimeSpan.seconds(3)
    package static let agreementBound = TimeSpan.seconds(12)
    /// The first look at agreement; no later one is beyond the bound.
    private static let agreementLook = TimeSpan.seconds(8)

    /// A seed that has shown too little goes on for a while.
    func endSafetyPhase() throws(Broken) {
        let isFullSize = plan.safetyPhase >= FaultPlan.leastSafetyPhase
        let isEnough =
            clients.operations.count >= FaultPlan.leastOperations
            && (coverage[.faultsMade] >= UInt64(FaultPlan.leastFaults) || plan.faultLimit < FaultPlan.leastFaults)
        if isFullSize, !isEnough, now.since(.zero) < FaultPlan.leastSafetyPhase + FaultPlan.leastSafetyPhase {
            agenda.plan(.safetyPhaseEnds, at: now + .seconds(5))
            return
        }
        try heal()
    }

    private func heal() throws(Broken) {
        isHealing = true
        snapshotPlan.hurry()
        healedAt = now
        var able = members.filter { !$0.isLost && !$0.isAbsent && !$0.hasLeft }
        // Half of the time everybody who is left, otherwise as few as may decide.
        // Where members change, who is a quorum may change as well, and everybody is left in peace.
        if faultGenerator.below(2) == 0, !hasGuests {
            while able.count > configuration.quorum { able.remove(at: Int(faultGenerator.below(UInt64(able.count)))) }
        }
        for machine in able { machine.isSound = true }
        network.heal(between: able.map(\.place))
        checks.soundCalendar.changed(at: now)
        trace.say(now, "all faults end between \(able.map(\.id.name).joined(separator: ", "))")
        for machine in members {
            if machine.isSound { try mend(machine) } else if !machine.isAbsent, !machine.hasLeft { try condemn(machine) }
        }
        // Nobody waits for an answer as long as people do when all is well.
        for call in clients.calls.indices where clients.calls[call].isOpen {
            agenda.plan(.callTimesOut(call), at: now + clients.pause(.milliseconds(800)))
        }
        finishOperations()
        agenda.plan(.leaderIsDue, at: now + .milliseconds(50))
        agenda.plan(.agreementIsDue, at: now + World.agreementLook)
    }

    private func mend(_ machine: SimulatedMember) throws(Broken) {
        machine.pausedUntil = now
        machine.clock.setWallClock(off: 0)
        if !trustsClocks { machine.clock.changeRate(to: drawRate(using: &faultGenerator), at: now) }
        machine.extraFlushTime = .zero
        machine.diskStallsUntil = now
        machine.disk.faults = SimulatedDisk.Faults()
        machine.diesAtNextFlush = false
        if let process = machine.process {
            process.journal.disk.faults = SimulatedDisk.Faults()
            agenda.plan(.resume(machine.place, life: process.life.number), at: now)
            agenda.plan(.snapshotEncoded(machine.place, life: process.life.number), at: now + .milliseconds(5))
            agenda.plan(.snapshotPart(machine.place, life: process.life.number), at: now + .milliseconds(5))
            if !process.flushing.isEmpty { agenda.plan(.flushed(machine.place, life: process.life.number), at: now + .milliseconds(5)) }
        } else {
            machine.isRestartPlanned = true
            agenda.plan(.restart(machine.place), at: now + .milliseconds(5))
        }
    }

    /// Its troubles stay, and one more comes.
    private func condemn(_ machine: SimulatedMember) throws(Broken) {
        coverage.note(.membersLeftInTrouble)
        guard !machine.isLost else { return }
        let kinds = StandingFault.allCases
        let standing = kinds[Int(faultGenerator.below(UInt64(kinds.count)))]
        machine.standing = standing
        picture?.breaks(machine.place, at: now, for: .seconds(60), "\(standing), for ever")
        trace.say(now, "\(machine.id) stays in trouble: \(standing)")
        let others = members.indices.filter { $0 != machine.place }
        switch standing {
        case .dead: try die(machine, losingPower: faultGenerator.below(2) == 0)
        case .cutOff, .deaf, .mute:
            for other in others {
                if standing != .mute { network.cut(from: other, to: machine.place) }
                if standing != .deaf { network.cut(from: machine.place, to: other) }
            }
        case .hangs: machine.pausedUntil = .never
        case .diskHangs: machine.diskStallsUntil = .never
        case .crashes: agenda.plan(.faultEnds(.crashesAgain(machine.place)), at: now + .milliseconds(1))
        case .flaky:
            for other in others {
                network.degrade(from: machine.place, to: other, lossPerMille: 333, delay: .milliseconds(100))
                network.degrade(from: other, to: machine.place, lossPerMille: 333, delay: .milliseconds(100))
            }
        }
    }

    /// Of those that the bound is promised to.
    private var soundViews: [Convergence.View] { views(of: members.filter(isPromisedTo)) }
    /// Those that must agree.
    private var agreeing: [SimulatedMember] { members.filter { isPromisedTo($0) && !isStarved($0) } }

    private func isPromisedTo(_ machine: SimulatedMember) -> Bool {
        machine.isSound && !machine.hasLeft && history.state.formerMember(machine.id) == nil
    }

    /// One of the others leads, with a part of the quorum that is enough, and cannot reach this one: who hears the leader helps nobody else to
    /// leadership, so that this one learns nothing for as long as that lasts. Requests are served meanwhile.
    private func isStarved(_ machine: SimulatedMember) -> Bool {
        let leaders = members.filter { $0.process?.member.raft.role == .leader }
        guard let leader = leaders.max(by: { ($0.process?.lastTerm ?? .zero) < ($1.process?.lastTerm ?? .zero) }), !leader.isSound
        else { return false }
        return network.isCut(from: leader.place, to: machine.place) || network.isCut(from: machine.place, to: leader.place)
    }

    private func views(of machines: [SimulatedMember]) -> [Convergence.View] {
        machines.compactMap { member in
            guard let process = member.process else { return nil }
            let raft = process.member.raft
            return Convergence.View(
                member: member.id, isLeader: raft.role == .leader, term: raft.term, applied: process.member.state.appliedIndex,
                hash: process.member.state.fullStateHash())
        }
    }

    func lookForLeader() throws(Broken) {
        let span = now.since(healedAt)
        do throws(Broken) {
            // It may be one of the others, if the quorum has followed it to its term.
            let newest = soundViews.map(\.term).max() ?? .zero
            let seen = members.filter { machine in
                machine.isSound || (machine.process?.member.raft.term == newest && now >= machine.pausedUntil)
            }
            let views = views(of: seen)
            try checks.convergence.mustHaveLeader(views, after: span)
        } catch {
            guard span < World.leaderBound else { throw error }
            agenda.plan(.leaderIsDue, at: now + .milliseconds(50))
        }
    }

    /// Duties go on, so that an entry may be on its way at the instant of one look: there are some, and the last is at the bound.
    func lookForAgreement() {
        let agreeing = agreeing
        let views = views(of: agreeing)
        let agree =
            clients.openOperations.isEmpty && views.count == agreeing.count
            && agreeing.allSatisfy { $0.process?.member.hasCaughtUp ?? false }
            && (!hasGuests || (try? mustHaveBeenTold()) != nil)
            && views.allSatisfy { $0.applied == views[0].applied && $0.hash == views[0].hash }
        if agree || now.since(healedAt) >= World.agreementBound {
            isOver = true
        } else {
            agenda.plan(.agreementIsDue, at: now + .milliseconds(50))
        }
    }

    func end() throws(Broken) {
        try checks.convergence.mustAgree(
            views(of: agreeing), openRequests: clients.openOperations, after: World.agreementBound)
        if hasGuests { try mustHaveBeenTold() }
        for machine in agreeing {
            guard let process = machine.process else {
                throw Broken("Convergence", [machine.id], "it is not running \(World.agreementBound.milliseconds) ms after the last fault")
            }
            guard process.member.hasCaughtUp else {
                throw Broken("Convergence", [machine.id], "no leader has told it how far the log goes, and it is not ready")
            }
            try checks.durability.mustHold(machine.id) {
                process.member.state.outcome(of: $0.request, by: $0.principal, command: $0.command)
            }
        }
        try checks.imageFidelity.survives(history.state)
        coverage[.historiesJudged] += try clientHistory.judge()
        // A phase that was shortened by hand is not asked for as much.
        guard coverage[.commits] >= World.leastCommits || plan.safetyPhase < FaultPlan.leastSafetyPhase else {
            throw Broken(
                "EnoughHappened", [], "only \(coverage[.commits]) entries were committed, where \(World.leastCommits) are the least")
        }
    }
}
