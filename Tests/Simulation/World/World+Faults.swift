// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The one who breaks things: draws a fault, makes it, and takes most of them back after a while.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    /// What ends by itself.
    enum FaultEnd {
        case mend([(from: Int, to: Int)])
        case clearLink(from: Int, to: Int)
        case normalDisk(Int)
        case emptyDisk(Int, life: Int)
        case drained(Int, life: Int)
        case losesPower(Int, life: Int)
        /// A leader that hears everything so much later is heard no more, and then hangs.
        case silence(Int, life: Int, hearsLater: TimeSpan)
        case rightCalendar(Int)
        /// A member's links get stuck, for a while.
        case clogs(Int, until: TrueTime)
        /// Somebody puts back what the disk held a while ago.
        case rollsBack(Int)
        /// One that never stays up.
        case crashesAgain(Int)
        case hang(Int, life: Int, TimeSpan)
        /// So many more times.
        case crashesOften(Int, Int)
        /// Somebody asks this leader for so many more things, one right after the other.
        case asks(Int, life: Int, Int)
    }

    func fault() throws(Broken) {
        guard !isHealing, !plan.kinds.isEmpty, coverage[.faultsMade] < UInt64(plan.faultLimit) else { return }
        coverage.note(.faultsMade)
        try breakSomething()
        // Now and then a lull, in which the cluster gets on its feet and has something to lose again.
        let lull: TimeSpan = faultGenerator.below(8) == 0 ? .milliseconds(2_000 + faultGenerator.below(3_000)) : .zero
        agenda.plan(
            .fault, at: now + lull + TimeSpan(nanoseconds: plan.faultGap.nanoseconds / 5) + faultGenerator.span(upTo: plan.faultGap))
    }

    private func breakSomething() throws(Broken) {
        let kind = plan.kinds[Int(faultGenerator.below(UInt64(plan.kinds.count)))]
        // Leaders twice as often as others: what they do matters.
        let drawn = Int(faultGenerator.below(UInt64(members.count)))
        let place = faultGenerator.below(2) == 0 ? leaderPlace ?? drawn : drawn
        let machine = members[place]
        let length = drawLength()
        trace.mix(UInt64(place) << 8 | UInt64(plan.kinds.firstIndex(of: kind) ?? 0))
        trace.say(now, "fault: \(kind) at \(machine.id) for \(length.milliseconds) ms")
        picture?.breaks(place, at: now, for: length, "\(kind)")
        switch kind {
        case .killProcess: try die(machine, losingPower: false)
        case .killWithinFlush: machine.diesAtNextFlush = true
        case .cutPower: try die(machine, losingPower: true)
        case .cutPowerOfAll:
            // One fuse for all, and now and then they do not even fall at the same instant.
            coverage.note(.clusterCrashes)
            for member in members { try die(member, losingPower: true) }
        case .failPowerWithinWrite:
            machine.process?.journal.disk.faults.operationsUntilPowerFails = 1 + faultGenerator.below(6)
        case .isolate:
            if place == leaderPlace { coverage.note(.isolatedLeaders) }
            coverage.note(.fullPartitions)
            cut(others(place).flatMap { [(place, $0), ($0, place)] }, for: length)
        case .cutOneWay:
            coverage.note(.oneWayPartitions)
            let inbound = faultGenerator.below(2) == 0
            cut(others(place).map { inbound ? ($0, place) : (place, $0) }, for: length)
        case .cutLink:
            guard let other = drawOther(place) else { return }
            if faultGenerator.below(2) == 0 {
                coverage.note(.oneWayPartitions)
                cut([(place, other)], for: length)
            } else {
                cut([(place, other), (other, place)], for: length)
            }
        case .split:
            coverage.note(.fullPartitions)
            let side = members.indices.map { _ in faultGenerator.below(2) == 0 }
            var links: [(Int, Int)] = []
            for from in members.indices { for to in members.indices where side[from] != side[to] { links.append((from, to)) } }
            cut(links, for: length)
        case .ring:
            // Each hears its neighbours only; of three, two hear but the third.
            guard members.count > 2 else { return }
            coverage.note(.rings)
            var links: [(Int, Int)] = []
            for from in members.indices {
                for to in members.indices where from != to {
                    let distance = (to - from + members.count) % members.count
                    let isNeighbour = members.count > 3 ? distance == 1 || distance == members.count - 1 : from == place || to == place
                    if !isNeighbour { links.append((from, to)) }
                }
            }
            cut(links, for: length)
        case .swizzle:
            // Links get stuck one member after the other, and come loose in another order.
            guard members.count > 1 else { return }
            coverage.note(.swizzles)
            for victim in members.indices where faultGenerator.below(3) != 0 {
                let start = now + faultGenerator.span(upTo: .seconds(1))
                let end = now + .seconds(1) + TimeSpan(nanoseconds: length.nanoseconds / 2) + faultGenerator.span(upTo: length)
                agenda.plan(.faultEnds(.clogs(victim, until: end)), at: start)
            }
        case .resetConnections:
            guard members.count > 1 else { return }
            coverage.note(.connectionsReset)
            for other in others(place) {
                if faultGenerator.below(3) != 0 { network.reset(from: place, to: other) }
                if faultGenerator.below(3) != 0 { network.reset(from: other, to: place) }
            }
        case .degradeLink:
            guard let other = drawOther(place) else { return }
            network.degrade(
                from: place, to: other, lossPerMille: faultGenerator.below(600), delay: .milliseconds(faultGenerator.below(400)))
            agenda.plan(.faultEnds(.clearLink(from: place, to: other)), at: now + length)
        case .pause:
            guard let process = machine.process else { return }
            coverage.note(.pausesOfMembers)
            machine.pausedUntil = max(machine.pausedUntil, now + length)
            agenda.plan(.resume(place, life: process.life.number), at: machine.pausedUntil)
        case .slowDisk:
            coverage.note(.slowDisks)
            machine.extraFlushTime = .milliseconds(1 + faultGenerator.below(300))
            agenda.plan(.faultEnds(.normalDisk(place)), at: now + length)
        case .stallDisk:
            guard let process = machine.process else { return }
            if process.member.raft.role == .leader { coverage.note(.stalledLeaders) }
            machine.diskStallsUntil = now + .milliseconds(500 + faultGenerator.below(2_500))
            // Just when much is written: what waits for the disk is more than the others keep.
            if faultGenerator.below(2) == 0 { planAsking(atMost: 40) }
        case .hangDisk:
            guard let process = machine.process else { return }
            coverage.note(.hungDisks)
            if process.member.raft.role == .leader { coverage.note(.stalledLeaders) }
            machine.diskStallsUntil = now + .seconds(4) + faultGenerator.span(upTo: .seconds(12))
        case .failWrite:
            machine.process?.journal.disk.faults.failingWrites = 1
        case .damageDisk:
            try damage(machine)
        case .rollDiskBack:
            guard let process = machine.process else { return }
            var disk = process.journal.disk
            disk.faults = SimulatedDisk.Faults()
            disk.crash()
            machine.keptDisk = disk
            agenda.plan(.faultEnds(.rollsBack(place)), at: now + length + .seconds(1))
        case .failDisk:
            machine.process?.journal.disk.faults.failingSynchronizations = 1
        case .fillDisk:
            machine.process?.journal.disk.faults.capacityBytes = 0
            agenda.plan(.faultEnds(.emptyDisk(place, life: machine.lives)), at: now + length)
        case .changeRate:
            guard plan.clocks != .exact else { return }
            if machine.isLost { return }
            coverage.note(.rateChanges)
            machine.clock.changeRate(to: drawRate(using: &faultGenerator), at: now)
            if let process = machine.process {
                try observeLease(machine, process)
                // The timer of the loop goes by the changed clock.
                agenda.plan(.tick(place, life: process.life.number), at: process.tickPlannedAt == .never ? now : process.tickPlannedAt)
            }
        case .setWallClock:
            // Somebody sets it by hand, or a machine comes back with an empty battery.
            coverage.note(.wrongCalendars)
            let offsets: [Int64] = [40, -40, 11 + Int64(faultGenerator.below(3_600)), 366 * 86_400, -1_000_000_000]
            machine.clock.setWallClock(off: offsets[Int(faultGenerator.below(UInt64(offsets.count)))])
            checks.soundCalendar.changed(at: now)
            agenda.plan(.faultEnds(.rightCalendar(place)), at: now + length + .seconds(2 + faultGenerator.below(15)))
        case .leaderHearsLate:
            // Every answer arrives when the promise in it is nearly over; then the leader speaks to nobody, goes on hearing answers for a
            // while, and hangs before it notices that they are the last.
            guard let leader = leaderPlace, members.count > 1 else { return }
            coverage.note(.leadersHearingLate)
            let least = TimeSpan.milliseconds(40 + faultGenerator.below(220))
            for other in others(leader) {
                network.degrade(from: other, to: leader, lossPerMille: 0, delay: .milliseconds(20), atLeast: least)
                agenda.plan(.faultEnds(.clearLink(from: other, to: leader)), at: now + .milliseconds(2_500))
            }
            let silence = FaultEnd.silence(leader, life: members[leader].lives, hearsLater: least)
            agenda.plan(.faultEnds(silence), at: now + .milliseconds(300 + faultGenerator.below(1_200)))
        case .drain:
            // As at a planned restart: it hands on what it leads, and is gone a moment later, whether that came to anything or not.
            guard let process = machine.process else { return }
            coverage.note(.drains)
            agenda.plan(.faultEnds(.drained(place, life: machine.lives)), at: now + .milliseconds(100 + faultGenerator.below(900)))
            try give(.event(.drain), to: machine, process)
        case .crashOften:
            // It comes up, asks for a few things, and is gone; answers to one life reach the next.
            coverage.note(.crashLoops)
            agenda.plan(.faultEnds(.crashesOften(place, 3 + Int(faultGenerator.below(5)))), at: now)
        case .leaderWritesAlone:
            // Cut off while many ask it: it comes back with a tail that nobody else has, where the others have forgotten what stands there.
            guard let leader = leaderPlace, members.count > 2 else { return }
            coverage.note(.leadersWritingAlone)
            cut(others(leader).flatMap { [(leader, $0), ($0, leader)] }, for: .milliseconds(1_000 + faultGenerator.below(3_000)))
            planAsking(atMost: 60)
        case .leaderMeetsTrouble:
            // Cut off, and back just when the others may have chosen anew.
            guard let leader = leaderPlace else { return }
            coverage.note(.isolatedLeaders)
            coverage.note(.fullPartitions)
            let hangs = faultGenerator.below(2) == 0
            let length = TimeSpan.milliseconds(hangs ? 700 + faultGenerator.below(900) : 150 + faultGenerator.below(700))
            cut(others(leader).flatMap { [(leader, $0), ($0, leader)] }, for: length + .milliseconds(100))
            if hangs, let process = members[leader].process {
                // It wakes up still cut off, and takes up what lies on its desk as if no time had passed.
                coverage.note(.pausesOfMembers)
                members[leader].pausedUntil = max(members[leader].pausedUntil, now + length)
                agenda.plan(.resume(leader, life: process.life.number), at: members[leader].pausedUntil)
            }
        }
    }

    private func planAsking(atMost limit: UInt64) {
        guard let leader = leaderPlace else { return }
        let asks = FaultEnd.asks(leader, life: members[leader].lives, 10 + Int(faultGenerator.below(limit - 10)))
        agenda.plan(.faultEnds(asks), at: now + .milliseconds(1))
    }

    /// For an entry that changes nothing, wherever it should come to be committed.
    private func ask(_ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        let ticket = Ticket(process.nextTicket)
        process.nextTicket += 1
        let operation = ExclusiveOperation.command(.denyPairing(Reqid(faultGenerator.next())))
        let deadline = machine.clock.instant(at: now) + .milliseconds(150)
        try give(.event(.request(operation, nil, from: .localUser(uid: 999), deadline: deadline, ticket)), to: machine, process)
    }

    private var leaderPlace: Int? {
        var best: (place: Int, term: UInt64)?
        for member in members {
            guard let process = member.process, process.member.raft.role == .leader else { continue }
            let term = process.member.raft.term.number
            if term > best?.term ?? 0 { best = (member.place, term) }
        }
        return best?.place
    }

    private func others(_ place: Int) -> [Int] { members.indices.filter { $0 != place } }

    private func drawOther(_ place: Int) -> Int? {
        let others = others(place)
        return others.isEmpty ? nil : others[Int(faultGenerator.below(UInt64(others.count)))]
    }

    /// Around a promise, around a second, or long.
    private func drawLength() -> TimeSpan {
        let usual: UInt64 =
            switch faultGenerator.below(10) {
            case 0..<4: 50 + faultGenerator.below(550)
            case 4..<8: 300 + faultGenerator.below(1_700)
            default: 1_000 + faultGenerator.below(4_000)
            }
        return .milliseconds(max(1, usual * plan.lengthPercent / 100))
    }

    // MARK: Disks that are lost

    /// One that is lost never comes back under its id, so that a quorum must be left.
    private var mayLoseOne: Bool {
        let isQuiet = !hasGuests || (!membersAreChanging && clients.clients[plan.clients].current == nil)
        let lost = members.count { $0.isLost && votersNow.contains($0.id) }
        return isQuiet && lost + 1 <= votersNow.count - quorumNow
    }

    private func lose(_ machine: SimulatedMember, because reason: String) {
        trace.say(now, "\(machine.id) is lost: \(reason)")
        coverage.note(.membersLost)
        machine.isLost = true
        lastLoss = now
    }

    /// A bit of what was on its disk has turned. The member refuses to begin, and is lost; or the bit was nothing to it (in the remains of a
    /// flush that did not finish), and it goes on.
    private func damage(_ machine: SimulatedMember) throws(Broken) {
        guard machine.process != nil, mayLoseOne else { return }
        try die(machine, losingPower: true)
        var disk = machine.disk
        disk.faults = SimulatedDisk.Faults()
        guard let place = disk.corruptSomewhere() else { return }
        coverage.note(.damagedDisks)
        let opened: OpenedDisk
        do throws(DiskRefusal) { opened = try open(&disk) } catch {
            return lose(machine, because: "a bit turned at \(place): \(error)")
        }
        try recoveredDamaged(machine, opened)
    }

    /// The whole disk is as it was a while ago. No member can see that by itself: all that it reads is whole and was true once. Who does this
    /// must not bring the member back under its old id, and the world does not, unless nothing had changed.
    private func rollBack(_ machine: SimulatedMember) throws(Broken) {
        guard var disk = machine.keptDisk, machine.process != nil, mayLoseOne else { return }
        machine.keptDisk = nil
        try die(machine, losingPower: true)
        coverage.note(.rolledBackDisks)
        let opened: OpenedDisk
        do throws(DiskRefusal) { opened = try open(&disk) } catch {
            throw Broken("JournalRecovery", [machine.id], "what its disk held a while ago is refused: \(error)")
        }
        try recoveredEarlier(machine, opened)
        let recovered = opened.recovered
        var known = machine.known
        let isAsItWas: Void? = try? checks.journalRecovery.recovered(machine.id, recovered, known: &known) { history.prefix(through: $0) }
        if isAsItWas == nil {
            lose(machine, because: "its disk was turned back to term \(recovered.ballot.term), \(recovered.entries.count) entries")
        }
    }

    private func cut(_ links: [(Int, Int)], for length: TimeSpan) {
        for (from, to) in links { network.cut(from: from, to: to) }
        agenda.plan(.faultEnds(.mend(links.map { (from: $0.0, to: $0.1) })), at: now + length)
    }

    func faultEnds(_ end: FaultEnd) throws(Broken) {
        if isHealing {
            switch end {
            case .crashesAgain(let place):
                try die(members[place], losingPower: faultGenerator.below(3) == 0)
                agenda.plan(.faultEnds(end), at: now + .milliseconds(300) + faultGenerator.span(upTo: .seconds(2)))
            // Who was asked to end does, healed or not: a supervisor starts it anew.
            case .drained(let place, let life):
                if members[place].lives == life { try die(members[place], losingPower: false) }
            default: break
            }
            return
        }
        trace.say(now, "fault ends: \(end)")
        switch end {
        case .crashesAgain: break
        case .rollsBack(let place): try rollBack(members[place])
        case .clogs(let place, let end):
            for other in others(place) {
                network.clog(from: place, to: other, until: end)
                network.clog(from: other, to: place, until: end)
            }
        case .mend(let links):
            for link in links { network.mend(from: link.from, to: link.to) }
        case .rightCalendar(let place):
            members[place].clock.setWallClock(off: 0)
            checks.soundCalendar.changed(at: now)
        case .clearLink(let from, let to):
            network.degrade(from: from, to: to, lossPerMille: 0, delay: .zero)
        case .normalDisk(let place):
            members[place].extraFlushTime = .zero
        case .silence(let place, let life, let late):
            guard members[place].process?.life.number == life else { return }
            let length = TimeSpan.milliseconds(500 + faultGenerator.below(900))
            cut(others(place).map { (place, $0) }, for: length)
            guard faultGenerator.below(4) != 0 else { return }
            agenda.plan(.faultEnds(.hang(place, life: life, length)), at: now + late + .milliseconds(10 + faultGenerator.below(30)))
        case .hang(let place, let life, let length):
            guard members[place].process?.life.number == life else { return }
            coverage.note(.pausesOfMembers)
            members[place].pausedUntil = max(members[place].pausedUntil, now + length)
            agenda.plan(.resume(place, life: life), at: members[place].pausedUntil)
        case .losesPower(let place, let life):
            if members[place].lives == life { try die(members[place], losingPower: true) }
        case .drained(let place, let life):
            if members[place].lives == life { try die(members[place], losingPower: false) }
        case .crashesOften(let place, let left):
            // Its supervisor is quick.
            if members[place].process != nil {
                members[place].isRestartPlanned = true
                agenda.plan(.restart(place), at: now + .milliseconds(1) + faultGenerator.span(upTo: .milliseconds(40)))
            }
            try die(members[place], losingPower: faultGenerator.below(4) == 0)
            guard left > 1 else { return }
            agenda.plan(.faultEnds(.crashesOften(place, left - 1)), at: now + .milliseconds(60 + faultGenerator.below(600)))
        case .asks(let place, let life, let left):
            guard let process = members[place].process, process.life.number == life, process.member.raft.role == .leader else { return }
            try ask(members[place], process)
            guard left > 1 else { return }
            agenda.plan(.faultEnds(.asks(place, life: life, left - 1)), at: now + .milliseconds(1 + faultGenerator.below(8)))
        case .emptyDisk(let place, _):
            members[place].disk.faults.capacityBytes = .max
            members[place].process?.journal.disk.faults.capacityBytes = .max
        }
    }
}
