// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Those who were just told something by one member, and look at once whether another that takes itself for the leader knows of it, too. Only
// where that is in doubt: at a leader that was elected a moment ago, or that has lost its lease and does not know it, or is one of two, or has
// not applied yet what others have shown.

import Consensus
import CoordinatorCore
import DispatcherState

extension World {
    /// What is known now was known before they ask.
    func planRead(at machine: SimulatedMember) {
        guard trustsClocks, let process = machine.process else { return }
        agenda.plan(
            .reads(machine.place, life: process.life.number, mustSee: checks.freshReads.acknowledged),
            at: now + TimeSpan(nanoseconds: 1_000))
    }

    func readElsewhere(than place: Int) {
        guard trustsClocks else { return }
        let leaders = members.filter { $0.process?.member.raft.role == .leader }
        for leader in leaders where leader.place != place {
            let isSure = leader.process?.member.holdsLease(at: leader.clock.instant(at: now)) ?? false
            let isBehind = leader.process.map { $0.member.state.appliedIndex < checks.freshReads.acknowledged } ?? false
            if leaders.count > 1 || !isSure || isBehind { planRead(at: leader) }
        }
    }

    func read(at machine: SimulatedMember, _ life: Int, mustSee: LogIndex) throws(Broken) {
        guard let process = machine.process, process.life.number == life else { return }
        coverage.note(.readsAtOtherLeaders)
        let ticket = Ticket(process.nextTicket)
        process.nextTicket += 1
        process.readers.append(SimulatedProcess.Reader(ticket: ticket, mustSee: mustSee))
        trace.say(now, "somebody asks \(process.life) for a lease read that must see \(mustSee)")
        let deadline = machine.clock.instant(at: now) + .milliseconds(200)
        try give(.event(.read(.lease, deadline: deadline, ticket)), to: machine, process)
    }

    func readerHears(_ reply: Reply, _ ticket: Ticket, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        guard let place = process.readers.firstIndex(where: { $0.ticket == ticket }) else { return }
        let reader = process.readers.remove(at: place)
        guard reply == .readable else { return }
        try checks.freshReads.reads(
            machine.id, ReadConsistency.lease.rawValue, mustSee: reader.mustSee, sees: process.member.state.appliedIndex)
    }
}
