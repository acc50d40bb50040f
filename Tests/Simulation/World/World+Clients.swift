// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How clients live in the world: what they ask, whom, how long they wait, and what they do when nothing comes.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    func wake(client: Int) throws(Broken) {
        guard !clients.isClosing, client < plan.clients, clients.clients[client].current == nil else { return }
        // Sometimes it comes back to what it gave up.
        if clients.chance(150), let place = givenUp(by: client) {
            begin(place, again: true)
            return
        }
        let operation = clients.invent(
            for: client, state: history.state, members: votersNow, mustSee: checks.freshReads.acknowledged, at: now)
        clients.operations.append(operation)
        coverage.note(.requestsAsked)
        begin(clients.operations.count - 1, again: false)
    }

    private func givenUp(by client: Int) -> Int? {
        clients.operations.indices.first { clients.operations[$0].client == client && clients.operations[$0].status == .givenUp }
    }

    func begin(_ place: Int, again: Bool) {
        if again, clients.operations[place].status == .givenUp { clients.operations[place].status = .open }
        clients.clients[clients.operations[place].client].current = place
        agenda.plan(.attempt(operation: place), at: now + TimeSpan(nanoseconds: 1_000))
    }

    func attempt(_ place: Int) throws(Broken) {
        clients.operations[place].attempts += 1
        if clients.operations[place].attempts > 1, clients.operations[place].isRepeatable { coverage.note(.requestsRetried) }
        let client = clients.operations[place].client
        // Through another member than the last time, mostly.
        let places = askedPlaces
        var member = places[Int(clients.below(UInt64(places.count)))]
        if let favourite = clients.clients[client].favourite, clients.operations[place].attempts == 1, places.contains(favourite),
            clients.chance(700)
        {
            member = favourite
        }
        if member == clients.operations[place].lastMember, clients.chance(800) { member = places.first { $0 > member } ?? places[0] }
        clients.operations[place].lastMember = member
        if case .exclusive(.transfer, _) = clients.operations[place].kind { coverage.note(.transfersAsked) }
        // Once all is well, nobody waits long.
        let timeout: TimeSpan =
            isHealing ? .milliseconds(300 + clients.below(300)) : .milliseconds(200 + clients.below(clients.chance(200) ? 5_000 : 1_500))
        clients.calls.append(SimulatedClients.Call(operation: place, member: member, timeout: timeout))
        let call = clients.calls.count - 1
        agenda.plan(.ask(call: call), at: now + clients.pause(.milliseconds(1)))
        // It waits a little longer than it told the member to, or, impatient, less.
        let patience = clients.chance(100) ? clients.pause(.milliseconds(200)) : timeout + timeout + .milliseconds(300)
        agenda.plan(.callTimesOut(call), at: now + patience)
    }

    func ask(_ call: Int) throws(Broken) {
        let place = clients.calls[call].operation
        let machine = members[clients.calls[call].member]
        guard clients.calls[call].isOpen else { return }
        guard let process = machine.process else {
            agenda.plan(.reply(call: call, .connectionRefused), at: now + clients.pause(.milliseconds(1)))
            return
        }
        let ticket = Ticket(process.nextTicket)
        process.nextTicket += 1
        clients.calls[call].ticket = ticket
        clients.calls[call].asked = now
        if clients.operations[place].firstAsked == nil { clients.operations[place].firstAsked = now }
        clients.calls[call].life = process.life.number
        process.callers.append(SimulatedProcess.Caller(ticket: ticket, call: call))
        // The shell computes the deadline from the time that the caller gave it.
        let deadline = machine.clock.instant(at: now) + clients.calls[call].timeout
        let operation = clients.operations[place]
        let event: Event =
            switch operation.kind {
            case .exclusive(let exclusive, let request): .request(exclusive, request, from: operation.principal, deadline: deadline, ticket)
            case .read(let consistency, _): .read(consistency, deadline: deadline, ticket)
            case .reports: .reports(deadline: deadline, ticket)
            }
        trace.mix(UInt64(place))
        trace.say(now, "client \(operation.client) asks \(process.life) in call \(call): \(words(for: operation))")
        try give(.event(event), to: machine, process)
    }

    func answered(_ call: Int, _ answer: SimulatedClients.Answer) throws(Broken) {
        guard clients.calls[call].isOpen else { return }
        clients.calls[call].isOpen = false
        let place = clients.calls[call].operation
        let operation = clients.operations[place]
        switch answer {
        case .connectionRefused:
            tryAgain(place, isUnknown: false)
        case .connectionLost:
            tryAgain(place, isUnknown: true)
        case .reply(let reply, let sees, let seen):
            clients.calls[call].answered = now
            clients.calls[call].seen = seen
            if case .settled(let outcome) = reply { clients.calls[call].told = outcome }
            switch reply {
            case .settled(let outcome):
                if outcome.isPassing {
                    tryAgain(place, isUnknown: false)
                } else {
                    clients.clients[operation.client].favourite = clients.calls[call].member
                    checks.freshReads.known(sees)
                    readElsewhere(than: clients.calls[call].member)
                    settle(place, outcome, sees: sees)
                    switch outcome {
                    case .invited(let id, _): invited(id)
                    case .memberAdmitted(let id, _): try admitted(id)
                    default: break
                    }
                }
            case .noLeader, .overloaded, .notReadable:
                tryAgain(place, isUnknown: true)
            case .transferred:
                coverage.note(.transfersDone)
                close(place, .over)
            case .transferFailed:
                close(place, .over)
            case .readable:
                if case .read(let consistency, _) = operation.kind, consistency != .stale {
                    checks.freshReads.known(sees)
                    readElsewhere(than: clients.calls[call].member)
                }
                close(place, .over)
            case .reports:
                coverage.note(.reportsGathered)
                close(place, .over)
            }
        }
    }

    private func settle(_ place: Int, _ outcome: Outcome, sees: LogIndex) {
        if clients.operations[place].told == nil {
            clients.operations[place].told = outcome
            clients.operations[place].answered = now
        }
        let operation = clients.operations[place]
        if case .exclusive(.command(let command), .some(let request)) = operation.kind, !operation.isReuse, !outcome.isUnrecorded {
            let answer = Acknowledged(principal: operation.principal, request: request, command: command, outcome: outcome)
            if case .settled = operation.status {
            } else {
                checks.durability.acknowledge(answer)
                coverage.note(.requestsSettled)
            }
            if operation.isRepeat { coverage.note(.requestsRepeatedAfterAnswer) }
        }
        if operation.isReuse { coverage.note(.identifiersReused) }
        if case .operatorIssued(let name, let serial) = outcome, clients.chance(80) {
            clients.clients[operation.client].principal = .operatorCertificate(name, serial)
        }
        if outcome == .refused(.notAllowed), case .operatorCertificate = operation.principal {
            coverage.note(.revokedTurnedAway)
            clients.clients[operation.client].principal = clients.clients[operation.client].localPrincipal
        }
        if !isHealing, operation.isRepeatable, !operation.isRepeat, clients.chance(80) {
            // It did not notice that it was answered, or somebody else presses the button again.
            clients.operations[place].status = .settled(outcome)
            clients.operations[place].isRepeat = true
            agenda.plan(.attempt(operation: place), at: now + clients.pause(.milliseconds(400)))
            return
        }
        close(place, .settled(outcome))
    }

    private func close(_ place: Int, _ status: SimulatedClients.Operation.Status) {
        clients.operations[place].status = status
        let client = clients.operations[place].client
        guard clients.clients[client].current == place else { return }
        clients.clients[client].current = nil
        if isHealing {
            finishNext(client)
        } else {
            agenda.plan(.clientWakes(client), at: now + clients.pause(plan.think))
        }
    }

    /// Nothing came of this attempt. `isUnknown`: it may have happened all the same.
    private func tryAgain(_ place: Int, isUnknown: Bool) {
        let operation = clients.operations[place]
        if !operation.isRepeatable {
            // Without an id there is nothing to repeat, except what surely did not happen or changes nothing.
            var isHarmless = !isUnknown
            if case .exclusive = operation.kind {} else { isHarmless = true }
            guard isHarmless, operation.attempts < 3, !isHealing else { return close(place, .over) }
        }
        if case .settled(let outcome) = operation.status, isHealing || operation.attempts > 6 {
            // A repetition of what was answered: not hearing of it again is no loss.
            close(place, .settled(outcome))
            return
        }
        if !isHealing, isUnknown, clients.chance(60) {
            if case .settled(let outcome) = operation.status { return close(place, .settled(outcome)) }
            coverage.note(.requestsGivenUp)
            return close(place, .givenUp)
        }
        agenda.plan(.attempt(operation: place), at: now + clients.pause(.milliseconds(30)))
    }

    func timeOut(_ call: Int) throws(Broken) {
        guard clients.calls[call].isOpen else { return }
        clients.calls[call].isOpen = false
        let place = clients.calls[call].operation
        let machine = members[clients.calls[call].member]
        if let ticket = clients.calls[call].ticket, let process = machine.process, process.life.number == clients.calls[call].life,
            clients.chance(700)
        {
            // It closes its connection; the shell says so, unless it answered meanwhile.
            if let position = process.callers.firstIndex(where: { $0.ticket == ticket }) {
                coverage.note(.callersGone)
                process.callers.remove(at: position)
                process.goneCallers.append(ticket)
                try give(.event(.callerGone(ticket)), to: machine, process)
            }
        }
        tryAgain(place, isUnknown: true)
    }

    // MARK: The end

    /// All faults have ended: no new operations, and everybody finishes what is open.
    func finishOperations() {
        clients.isClosing = true
        for client in clients.clients.indices where clients.clients[client].current == nil { finishNext(client) }
    }

    private func finishNext(_ client: Int) {
        while let place = givenUp(by: client) {
            if clients.operations[place].isRepeatable { return begin(place, again: true) }
            clients.operations[place].status = .over
        }
    }
}
