// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How the world runs a member's effects, as the real shell does: one loop that reads the clock when it has an event's bytes, a journal's
// thread that flushes together what waits together, gates, the lease's end, a signer. Between any two of these it may pause or die.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    // MARK: The loop

    func give(_ input: SimulatedProcess.Input, to machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        process.inputs.append(input)
        if !process.isBusy { try proceed(machine, process) }
    }

    private func isCurrent(_ process: SimulatedProcess, _ machine: SimulatedMember) -> Bool { machine.process === process }

    /// Goes on until there is nothing to do, the process pauses, or it is dead.
    func proceed(_ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        guard now >= machine.pausedUntil else { return }
        while isCurrent(process, machine) {
            switch process.stage {
            case .idle:
                guard let input = process.takeInput() else {
                    planTick(machine, process)
                    return
                }
                switch input {
                case .flushed(let writes):
                    hear(writes, process)
                case .gatesOpen(let write):
                    openGates(process, through: write)
                case .event(let event):
                    // The bytes are here; now the clock is read.
                    let moment = machine.clock.moment(at: now)
                    if isStruck(machine, plan.pauseBeforeStepPerMillion) {
                        process.stage = .beforeStep(event, moment, readAt: now)
                        coverage.note(.pausesBeforeSteps)
                        return pause(machine, process, for: shellGenerator.span(upTo: plan.pause))
                    }
                    process.stage = .effects
                    try step(machine, process, event, moment, readAt: now)
                }
            case .beforeStep(let event, let moment, let readAt):
                process.stage = .effects
                try step(machine, process, event, moment, readAt: readAt)
            case .effects:
                guard process.firstEffect < process.effects.count else {
                    _ = process.takeEffect()
                    process.stage = .idle
                    continue
                }
                var often = plan.pauseBeforeEffectPerMillion
                // Between the permission and the act: where a pause does most.
                if case .sign = process.effects[process.firstEffect].action { often *= 100 }
                if isStruck(machine, often) {
                    coverage.note(.pausesBeforeEffects)
                    return pause(machine, process, for: shellGenerator.span(upTo: plan.pause))
                }
                if isStruck(machine, plan.crashPerMillion) { return try die(machine, losingPower: shellGenerator.below(4) != 0) }
                guard let effect = process.takeEffect() else { continue }
                try run(effect, machine, process)
            }
        }
    }

    /// Draws whether something happens now that happens so often in a million times.
    private func isStruck(_ machine: SimulatedMember, _ perMillion: UInt64) -> Bool {
        perMillion > 0 && !machine.isSound && shellGenerator.below(1_000_000) < perMillion
    }

    private func pause(_ machine: SimulatedMember, _ process: SimulatedProcess, for span: TimeSpan) {
        trace.say(now, "\(process.life) pauses for \(span.milliseconds) ms within a step")
        process.isBusy = true
        machine.pausedUntil = max(machine.pausedUntil, now + span)
        agenda.plan(.resume(machine.place, life: process.life.number), at: machine.pausedUntil)
    }

    func resume(_ machine: SimulatedMember, _ life: Int) throws(Broken) {
        guard let process = machine.process, process.life.number == life, now >= machine.pausedUntil else { return }
        process.isBusy = false
        try proceed(machine, process)
    }

    func planTick(_ machine: SimulatedMember, _ process: SimulatedProcess) {
        let due = machine.clock.time(of: process.nextDeadline)
        // A timer is late by a little; nothing is ever due twice at one instant.
        let late = TimeSpan(nanoseconds: 1_000 + shellGenerator.below(200_000))
        let time = max(due, now) + late
        guard due != .never, time < process.tickPlannedAt || process.tickPlannedAt <= now else { return }
        process.tickPlannedAt = time
        agenda.plan(.tick(machine.place, life: process.life.number), at: time)
    }

    func tickIsDue(_ machine: SimulatedMember, _ life: Int) throws(Broken) {
        guard let process = machine.process, process.life.number == life, process.tickPlannedAt == now else { return }
        process.tickPlannedAt = .never
        if process.isBusy || now < machine.pausedUntil {
            process.inputs.append(.event(.tick))
        } else if machine.clock.instant(at: now) >= process.nextDeadline {
            try give(.event(.tick), to: machine, process)
        } else {
            planTick(machine, process)
        }
    }

    private func step(
        _ machine: SimulatedMember, _ process: SimulatedProcess, _ event: Event, _ moment: Moment, readAt: TrueTime
    ) throws(Broken) {
        steps += 1
        process.steps += 1
        // Whatever the last step wanted is done: there are no others.
        process.member.handle(event, at: moment, into: &process.effects)
        try observe(machine, process, event, moment, readAt: readAt, process.effects)
    }

    // MARK: Effects

    /// Through its gate, and not past the end of its lease.
    private func run(_ effect: Effect, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        if case .durable(let write) = effect.gate, write > process.durable {
            process.held.append(SimulatedProcess.Held(effect: effect, write: write))
            return
        }
        if let notAfter = effect.notAfter, machine.clock.instant(at: now) > notAfter {
            coverage.note(.effectsPastTheirLease)
            if case .sign(let job) = effect.action {
                coverage.note(.signaturesDropped)
                process.inputs.append(.event(.signed(job.obligation.id, job.obligation.serial, .failure(.dropped))))
            }
            if case .call(let call) = effect.action {
                process.inputs.append(.event(.agentAnswered(call: call.number, AgentTaskAnswer(.dropped))))
            }
            if case .reply(_, let ticket) = effect.action { try reply(.notReadable, ticket, machine, process) }
            return
        }
        switch effect.action {
        case .write(let write, let id):
            process.queue.append((write, id))
            try startFlush(machine, process)
        case .send(let message, let target):
            try send(message, to: target, machine, process)
        case .reply(let reply, let ticket):
            try self.reply(reply, ticket, machine, process)
        case .sign(let job):
            try sign(job, machine, process)
        case .hold(let identity):
            process.inputs.append(.event(.holding(identity.serial)))
        case .call(let agentCall):
            call(agentCall, machine, process)
        case .announce(let decision):
            try checks.pairingDecidedOnce.announces(machine.id, decision)
            if case .approved(let certificate) = decision.verdict {
                let certified = SimulatedCertificate(bytes: certificate)
                guard let serial = certified?.serial else {
                    throw Broken("UniqueSerials", [machine.id], "it announces bytes that no signer made")
                }
                try checks.uniqueSerials.releases(serial, certificate, certified: serial)
            }
        case .project:
            // Files that nobody reads here; what they would contain is a pure function with tests of its own.
            break
        case .log(let record):
            for field in record.fields {
                try checks.noSecretInTheClear.leaves(machine.id, Array(field.value.utf8), as: "its log")
            }
            if record.action == "clock-off" { coverage.note(.leadersOffTheCalendar) }
            trace.say(now, "\(process.life) logs \(record.action) \(record.fields.map { "\($0.key)=\($0.value)" }.joined(separator: " "))")
        case .takeSnapshot(let base, let state):
            try takeSnapshot(base, state, machine, process)
        case .fetchSnapshot(let place, let source):
            try fetchSnapshot(place, from: source, machine, process)
        case .leave(let index):
            try leaves(machine, process, since: index)
        case .stop(let reason):
            trace.say(now, "\(process.life) stops: \(reason)")
            if case .invariantBroken(let what) = reason { throw Broken("CoreInvariant", [machine.id], what) }
            if case .versionUnknown(let needed, let known) = reason {
                try checks.versionsKnown.stops(machine.id, needing: needed, said: known, known: machine.knows)
                // Whoever put the old release back is told to install the new one again.
                coverage.note(.membersTooOld)
                machine.knows = .newest
            }
            try die(machine, losingPower: process.journal.disk.faults.operationsUntilPowerFails == 0)
        }
    }

    private func send(_ message: PeerMessage, to target: MemberID, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        try observeSent(message, to: target, machine, process)
        guard let place = members.firstIndex(where: { $0.id == target }) else {
            throw Broken("CoreInvariant", [machine.id], "it sends to \(target), which is no member")
        }
        var bytes: [UInt8]?
        switch checks.messageFidelity.parcel(of: message) {
        case .bytes(let written):
            bytes = written
            trace.mix(written)
            try checks.noSecretInTheClear.leaves(machine.id, written, as: "a message to \(target)")
        case .numbers(let numbers):
            for number in numbers { trace.mix(number) }
        }
        var arrivals = network.arrivals(from: machine.place, to: place, at: now, coverage: &coverage)
        // What hands leadership over is late now and then, by more than its sender waits: then that goes on, and takes its lease up again.
        if case .consensus(let message, _) = message, case .timeoutNow = message.body, !machine.isSound, shellGenerator.below(4) == 0 {
            coverage.note(.handoversLate)
            arrivals = arrivals.map { $0 + .milliseconds(150 + shellGenerator.below(300)) }
        }
        if case .forward(let request) = message { forge(request, from: machine, to: place) }
        trace.say(now, "\(process.life) → \(target)\(arrivals.isEmpty ? " (lost)" : ""): \(words(for: message))")
        picture?.says(machine.place, to: place, at: now, arrives: arrivals, words(for: message))
        let connection = network.connection(from: machine.place, to: place)
        for arrival in arrivals {
            agenda.plan(
                .arrival(to: place, from: machine.place, message, bytes: bytes, sentTo: members[place].lives, connection: connection),
                at: arrival)
        }
    }

    /// Now and then a carrier of a broken release asks, beside what it was asked for, for what only a leader finds to do by itself.
    private func forge(_ request: ForwardedRequest, from machine: SimulatedMember, to place: Int) {
        guard !machine.isSound, forgeryGenerator.below(10) == 0 else { return }
        coverage.note(.leadersWorkForged)
        let forged = ForwardedRequest(
            number: request.number | 1 << 63, operation: .command(.expire), principal: .leader,
            request: .minted(session: forgeryGenerator.next(), sequence: 1, answeredThrough: 0),
            remainingMilliseconds: request.remainingMilliseconds, believedTerm: request.believedTerm)
        let message = PeerMessage.forward(forged)
        trace.say(now, "\(machine.life) → \(members[place].id), forged: \(words(for: message))")
        let connection = network.connection(from: machine.place, to: place)
        agenda.plan(
            .arrival(
                to: place, from: machine.place, message, bytes: message.encoded(), sentTo: members[place].lives, connection: connection),
            at: now + forgeryGenerator.span(upTo: .milliseconds(20)))
    }

    func arrive(
        at machine: SimulatedMember, from sender: Int, _ sent: PeerMessage, _ bytes: [UInt8]?, sentTo lives: Int, connection: UInt64
    ) throws(Broken) {
        guard let process = machine.process else { return }
        guard connection == network.connection(from: sender, to: machine.place) else { return coverage.note(.lostMessages) }
        var message = sent
        if let bytes { message = try checks.messageFidelity.reads(bytes, sent: sent, by: members[sender].id) }
        if lives != machine.lives { coverage.note(.staleMessages) }
        try give(.event(.peer(message, from: members[sender].id)), to: machine, process)
    }

    private func sign(_ job: SigningJob, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        let obligation = job.obligation
        if trustsClocks { try checks.leaseExclusivity.acts(process.life, "a signature", at: now) }
        try observeDating(machine, process)
        try checks.uniqueSerials.signs(
            process.life, obligation.serial, UniqueSerials.Reservation(obligation: obligation.id, term: obligation.term))
        var span = plan.signing + shellGenerator.span(upTo: plan.signing)
        if shellGenerator.below(1000) < plan.slowSigningPerMille, !machine.isSound { span = span + shellGenerator.span(upTo: .seconds(4)) }
        let result: Swift.Result<SignedCertificate, SigningFailure>
        if SimulatedSigningRequest.isImpossible(obligation.signingRequest) {
            coverage.note(.signaturesImpossible)
            result = .failure(.impossible("the request's own signature does not verify"))
        } else {
            let certificate = SimulatedCertificate(
                serial: obligation.serial, obligation: obligation.id, job: nextJob,
                purpose: SimulatedCertificate.purpose(obligation.purpose))
            nextJob += 1
            var key: SealedKey?
            if case .dispatcherIdentity = obligation.purpose {
                key = SealedKey(
                    name: "dispatcher-\(obligation.serial)", keyVersion: 1,
                    bytes: NoSecretInTheClear.sealed(NoSecretInTheClear.secret("\(nextJob)")))
            }
            result = .success(SignedCertificate(der: certificate.bytes, notAfter: job.validity.notAfter, key: key))
        }
        trace.say(now, "\(process.life) signs \(obligation.serial) for obligation \(obligation.id.index)")
        agenda.plan(.signed(machine.place, life: process.life.number, obligation.id, obligation.serial, result), at: now + span)
    }

    private func reply(_ reply: Reply, _ ticket: Ticket, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        let isGone = process.goneCallers.contains(ticket)
        try checks.oneAnswerPerCaller.answers(process.life, ticket, isGone: isGone)
        guard let place = process.callers.firstIndex(where: { $0.ticket == ticket }) else {
            return try readerHears(reply, ticket, machine, process)
        }
        let call = process.callers.remove(at: place).call
        try observeReply(reply, call, machine, process)
        trace.mix(UInt64(call))
        if case .settled(let outcome) = reply { trace.mix(outcome == .pairingClosed ? 1 : 2) }
        trace.say(now, "\(process.life) answers call \(call): \(words(for: reply))")
        var seen: Seen?
        if reply == .readable, case .read(let consistency, let sight) = clients.operation(ofCall: call).kind,
            consistency == .linearizable || (consistency == .lease && trustsClocks)
        {
            seen = Seen(sight, in: process.member.state)
        }
        let answer = SimulatedClients.Answer.reply(reply, sees: process.member.state.appliedIndex, seen)
        agenda.plan(.reply(call: call, answer), at: now + clients.pause(.milliseconds(2)))
    }

    // MARK: The journal's thread

    private func startFlush(_ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        guard process.flushing.isEmpty, !process.hasFailed, !process.isDiskFull, !process.queue.isEmpty else { return }
        let batch = process.queue
        process.queue.removeAll(keepingCapacity: true)
        var taken = 0
        do throws(DiskFailure) {
            do throws(DiskFailure) {
                for item in batch {
                    try process.journal.append(item.write)
                    taken += 1
                }
            } catch .full {
                process.isDiskFull = true
                process.queue = Array(batch[taken...])
            }
            try process.journal.write()
        } catch {
            return try journalFailed(machine, process, error)
        }
        process.flushing = batch[..<taken].map(\.id)
        if process.isDiskFull {
            coverage.note(.fullDisks)
            trace.say(now, "\(process.life): no space on the disk for the next writes")
            agenda.plan(.triesJournalAgain(machine.place, life: process.life.number), at: now + .milliseconds(500))
            try give(.event(.diskFull), to: machine, process)
            guard isCurrent(process, machine), !process.flushing.isEmpty else { return }
        }
        if machine.diesAtNextFlush, !machine.isSound {
            machine.diesAtNextFlush = false
            machine.losesPowerAfterRestart = true
            coverage.note(.killsWithinFlushes)
            return try die(machine, losingPower: false)
        }
        if isStruck(machine, plan.crashPerMillion) { return try die(machine, losingPower: true) }
        agenda.plan(
            .flushed(machine.place, life: process.life.number),
            at: now + plan.flush + shellGenerator.span(upTo: plan.flushJitter) + shellGenerator.span(upTo: machine.extraFlushTime))
    }

    func finishFlush(_ machine: SimulatedMember, _ life: Int) throws(Broken) {
        guard let process = machine.process, process.life.number == life, let last = process.flushing.last else { return }
        if now < machine.diskStallsUntil {
            agenda.plan(.flushed(machine.place, life: life), at: machine.diskStallsUntil)
            return
        }
        do throws(DiskFailure) { try process.journal.flush() } catch { return try journalFailed(machine, process, error) }
        machine.known.flushed(through: last)
        let writes = process.flushing
        process.flushing = []
        trace.mix(last.number)
        if isStruck(machine, plan.crashPerMillion) { return try die(machine, losingPower: true) }
        try give(.flushed(writes), to: machine, process)
        if isCurrent(process, machine) { try startFlush(machine, process) }
    }

    func tryJournalAgain(_ machine: SimulatedMember, _ life: Int) throws(Broken) {
        guard let process = machine.process, process.life.number == life else { return }
        process.isDiskFull = false
        try startFlush(machine, process)
    }

    private func journalFailed(_ machine: SimulatedMember, _ process: SimulatedProcess, _ failure: DiskFailure) throws(Broken) {
        process.hasFailed = true
        process.flushing = []
        trace.say(now, "\(process.life): the journal failed: \(failure)")
        if process.journal.disk.faults.operationsUntilPowerFails == 0 { return try die(machine, losingPower: true) }
        coverage.note(.diskFailures)
        try give(.event(.writeFailed(failure)), to: machine, process)
    }

    /// The loop hears that these writes are on disk: the member is told, and their gates open, before or after that.
    private func hear(_ writes: [WriteID], _ process: SimulatedProcess) {
        guard let last = writes.last else { return }
        let told = writes.map { SimulatedProcess.Input.event(.wrote($0)) }
        let rest = Array(process.inputs[process.firstInput...])
        process.firstInput = 0
        process.inputs = told + (plan.gatesOpenFirst ? [] : [.gatesOpen(through: last)]) + rest
        if plan.gatesOpenFirst { openGates(process, through: last) }
    }

    private func openGates(_ process: SimulatedProcess, through write: WriteID) {
        process.durable = max(process.durable, write)
        let ready = process.held.filter { $0.write <= process.durable }.map(\.effect)
        guard !ready.isEmpty else { return }
        process.held.removeAll { $0.write <= process.durable }
        process.effects.append(contentsOf: ready)
        process.stage = .effects
    }
}
