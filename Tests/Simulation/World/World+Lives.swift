// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How processes of members begin and end.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    /// The process is gone at once; with the power, so is what was not synchronized.
    func die(_ machine: SimulatedMember, losingPower: Bool) throws(Broken) {
        guard let process = machine.process else { return }
        let raft = process.member.raft
        trace.say(now, "\(process.life) dies\(losingPower ? " with its machine" : "") as \(raft.role) of term \(raft.term)")
        trace.mix(losingPower ? 0xdead : 0xdea1)
        machine.process = nil
        if process.snapshotWork.fetch != nil || machine.known.beginsAnew { coverage.note(.installsInterrupted) }
        picture?.becomes(machine.place, nil, at: now)
        picture?.holds(machine.place, term: raft.term, to: nil, at: now)
        picture?.notes(machine.place, at: now, losingPower ? "the power fails" : "the process dies")
        machine.disk = process.journal.disk
        machine.diedAt = now
        machine.pausedUntil = now
        coverage.note(raft.role == .leader ? .leaderCrashes : .followerCrashes)
        if losingPower {
            if machine.disk.hasUnsynchronized { coverage.note(.unsyncedCrashes) }
            let torn = machine.disk.counts.tornSectors
            machine.disk.crash()
            coverage[.tornSectors] += machine.disk.counts.tornSectors - torn
            if !machine.clock.isWallClockNearlyRight { checks.soundCalendar.changed(at: now) }
            machine.clock = SimulatedClock(
                reading: shellGenerator.below(1 << 40), rate: drawRate(using: &shellGenerator),
                wallOffset: Int64(shellGenerator.below(5)) - 2, at: now)
        } else {
            coverage.note(.processKills)
        }
        checks.leaseExclusivity.ends(machine.id, at: now)
        checks.promiseKept.restarts(machine.id)
        checks.oneAnswerPerCaller.dies(process.life)
        checks.forwarding.dies(process.life)
        for caller in process.callers { agenda.plan(.reply(call: caller.call, .connectionLost), at: now + clients.pause(.milliseconds(5))) }
        guard !machine.isRestartPlanned, !machine.isLost, machine.standing != .dead else { return }
        machine.isRestartPlanned = true
        agenda.plan(.restart(machine.place), at: now + drawDownTime(machine))
    }

    /// What the journal would say if a bit of its disk had turned. Asked of a copy: the member itself goes on with a sound disk, because one
    /// that is refused is lost for good.
    private func probeDamage(_ machine: SimulatedMember) throws(Broken) {
        guard machine.lives > 1, shellGenerator.below(2) == 0 else { return }
        var disk = machine.disk
        disk.faults = SimulatedDisk.Faults()
        // Half of the time in what was written last, of which no later flush tells that it was ever durable.
        let isNew = shellGenerator.below(2) == 0
        guard let damage = isNew ? disk.corruptSomewhere(amongLast: 400, of: "segment-") : disk.corruptSomewhere() else { return }
        let opened: OpenedDisk
        do throws(DiskRefusal) { opened = try open(&disk) } catch {
            coverage.note(.damagedJournalsRefused)
            return
        }
        trace.say(now, "\(machine.life) would not notice a bit turned at \(damage)")
        try recoveredDamaged(machine, opened)
    }

    /// A supervisor is quick, a machine is slow, a person is slower.
    func drawDownTime(_ machine: SimulatedMember) -> TimeSpan {
        if machine.isSound { return .milliseconds(20) }
        switch shellGenerator.below(10) {
        case 0..<5: return TimeSpan(nanoseconds: 500_000) + shellGenerator.span(upTo: .milliseconds(60))
        case 5..<8: return shellGenerator.span(upTo: .milliseconds(900))
        default: return shellGenerator.span(upTo: .seconds(4))
        }
    }

    func restart(_ machine: SimulatedMember) throws(Broken) {
        machine.isRestartPlanned = false
        guard machine.process == nil, !machine.isLost, !machine.isAbsent, !machine.hasLeft, machine.standing != .dead else { return }
        machine.lives += 1
        let opened: OpenedDisk
        do throws(DiskRefusal) {
            opened = try open(&machine.disk)
        } catch {
            if error.isPassing {
                // The disk fails now; a supervisor tries again. What recovery did to it until then may be lost as well.
                trace.say(now, "\(machine.life) cannot open its journal: \(error)")
                if machine.disk.faults.operationsUntilPowerFails == 0 { machine.disk.crash() }
                machine.isRestartPlanned = true
                agenda.plan(.restart(machine.place), at: now + .milliseconds(20) + drawDownTime(machine))
                return
            }
            try checks.journalRecovery.refused(machine.id, "\(error)")
            return
        }
        try checks.journalRecovery.recovered(machine.id, opened.recovered, known: &machine.known) { history.prefix(through: $0) }
        var snapshot: DispatcherState?
        if let newest = opened.snapshot {
            coverage.note(.startsFromSnapshots)
            snapshot = try restored(newest, machine)
        }
        if opened.recovered.base != nil { coverage.note(.journalsCut) }
        try checks.monotoneCounters.begins(machine.life, term: opened.recovered.ballot.term)
        try probeDamage(machine)
        let state: GenesisState
        do throws(WireFailure) { state = try GenesisState(decoding: opened.genesis.payload) } catch {
            throw Broken("JournalRecovery", [machine.id], "its genesis cannot be read: \(error)")
        }
        changeRelease(of: machine)
        let settings = MemberSettings(
            id: machine.id, version: "simulated", timing: timing, knows: machine.knows, session: shellGenerator.next(),
            snapshots: snapshotPlan.policy, contacts: machine.contacts)
        let member = Member(
            genesis: state, configuration: opened.genesis.configuration, recovered: opened.recovered, snapshot: snapshot,
            settings: settings, seed: shellGenerator.next(), now: machine.clock.moment(at: now))
        let process = SimulatedProcess(life: machine.life, member: member, journal: opened.journal, snapshots: opened.snapshots)
        machine.process = process
        picture?.becomes(machine.place, "follower t\(opened.recovered.ballot.term)", at: now)
        machine.pausedUntil = now
        trace.say(
            now,
            "\(machine.life) begins with \(opened.recovered.ballot), \(opened.recovered.entries.count) entries behind \(opened.recovered.base?.index ?? .zero), rate \(machine.clock.rate)"
        )
        if machine.lives > 1, now.since(machine.diedAt) < timing.promise { coverage.note(.fastRestarts) }
        if checks.promiseKept.binds(machine.id, at: now) { coverage.note(.promisesAcrossRestarts) }
        if machine.losesPowerAfterRestart {
            machine.losesPowerAfterRestart = false
            agenda.plan(.faultEnds(.losesPower(machine.place, life: machine.lives)), at: now + shellGenerator.span(upTo: .milliseconds(20)))
        }
        if machine.clock.rate != SimulatedClock.exact { coverage.note(.driftedClocks) }
        planTick(machine, process)
    }

    /// Members begin with the old release or the new one, and come back with either.
    private func changeRelease(of machine: SimulatedMember) {
        let former = machine.knows
        if shellGenerator.below(machine.lives > 1 ? 6 : 3) == 0 { machine.knows = .first } else { machine.knows = .newest }
        if machine.lives > 1, former < machine.knows { coverage.note(.membersUpgraded) }
    }
}
