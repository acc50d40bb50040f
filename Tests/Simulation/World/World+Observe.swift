// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the invariants are told, and when: after every step of a member, whenever something leaves it, and whenever a caller hears from it.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

/// All of them.
struct Invariants {
    var electionSafety = ElectionSafety()
    var logMatching = LogMatching()
    var leaderCompleteness = LeaderCompleteness()
    var committedStays = CommittedStays()
    var stateMachineSafety = StateMachineSafety()
    var imageFidelity: ImageFidelity
    var snapshotSafety = SnapshotSafety()
    var durability = Durability()
    var exactlyOnce = ExactlyOnce()
    var monotoneCounters = MonotoneCounters()
    var leaseExclusivity: LeaseExclusivity
    var uniqueSerials: UniqueSerials
    var durableBeforeVisible = DurableBeforeVisible()
    var oneVotePerTerm = OneVotePerTerm()
    var promiseKept: PromiseKept
    var consentBeforeTerm = ConsentBeforeTerm()
    var leadersKnowTheirQuorum: LeadersKnowTheirQuorum
    var leadersCanWrite: LeadersCanWrite
    var journalRecovery = JournalRecovery()
    var freshReads = FreshReads()
    var oneAnswerPerCaller = OneAnswerPerCaller()
    var pairingDecidedOnce = PairingDecidedOnce()
    var convergence = Convergence()
    var timersMoveOn = TimersMoveOn()
    var agentsAcceptMembers = AgentsAcceptMembers()
    var soundCalendar = SoundCalendar()
    var revokedStaysOut = RevokedStaysOut()
    var forwarding = Forwarding(leastInterval: .milliseconds(25))
    var fencingTokens = FencingTokens()
    var noSecretInTheClear = NoSecretInTheClear()
    var applyIsTotal = ApplyIsTotal()
    var changesKeepAQuorum: ChangesKeepAQuorum
    let oneChangeAtATime = OneChangeAtATime()
    var removedStaysOut = RemovedStaysOut()
    var tokenOnce = TokenOnce()
    let versionsKnown = VersionsKnown()
    var messageFidelity = MessageFidelity()

    init(genesis: GenesisState, timing: Timing, looksAtEveryPart: Bool) {
        imageFidelity = ImageFidelity(looksAtEveryPart: looksAtEveryPart)
        leaseExclusivity = LeaseExclusivity(effectAge: timing.effectAge)
        changesKeepAQuorum = ChangesKeepAQuorum(timing: timing)
        uniqueSerials = UniqueSerials(usedBefore: genesis.members.map(\.certificateSerial) + [genesis.identity.serial])
        promiseKept = PromiseKept(rateBoundPerMille: timing.clockRateBoundPerMille)
        leadersKnowTheirQuorum = LeadersKnowTheirQuorum(timing: timing)
        leadersCanWrite = LeadersCanWrite(timing: timing)
    }
}

/// What every step is asked. A member is handed over as `inout`, not to be changed, but so that nothing of it is copied: it has many parts,
/// and each would be counted up and down at every question.
private struct AfterStep {
    let appliedIndex: LogIndex
    let stateHash: UInt64
    let time: ClusterTime
    let serialCounter: UInt64
    let nextDeadline: Instant
    let hasFormerMembers: Bool
    /// As the member sees it.
    let waitingProblem: String?
    let raft: AfterStepOfRaft

    init(_ member: inout Member) {
        appliedIndex = member.state.appliedIndex
        stateHash = member.state.stateHash
        time = member.state.time
        serialCounter = member.state.nextSerialCounter
        nextDeadline = member.nextDeadline
        hasFormerMembers = !member.state.formerMembers.isEmpty
        waitingProblem = member.waitingViolation()
        raft = AfterStepOfRaft(member.raft)
    }
}

/// What the core of consensus says of itself after the step; handed over once, for all that is asked.
private struct AfterStepOfRaft {
    let role: Role
    let term: Term
    let commitIndex: LogIndex
    let leader: MemberID?
    let configuration: Configuration
    let configurationIndex: LogIndex
    let logBase: LogBase
    let lastLogIndex: LogIndex
    /// As the core sees it.
    let problem: String?

    init(_ raft: borrowing LeaseRaft) {
        role = raft.role
        term = raft.term
        commitIndex = raft.commitIndex
        leader = raft.leader
        configuration = raft.configuration
        configurationIndex = raft.configurationIndex
        logBase = raft.logBase
        lastLogIndex = raft.lastLogIndex
        problem = raft.invariantViolation()
    }
}

/// The end of the lease that the member takes itself to hold at this reading of its clock; nil if it leads nobody.
private func heldLease(_ member: inout Member, at reading: Instant) -> Instant? {
    member.raft.role == .leader && member.holdsLease(at: reading) ? member.raft.lease(at: reading) : nil
}

/// The entry by which that member was removed; nil: it was not.
private func removal(of id: MemberID, in member: inout Member) -> LogIndex? { member.state.formerMember(id)?.index }

extension World {
    // MARK: After a step

    func observe(
        _ machine: SimulatedMember, _ process: SimulatedProcess, _ event: Event, _ moment: Moment, readAt: TrueTime, _ effects: [Effect]
    ) throws(Broken) {
        let (life, id) = (process.life, machine.id)
        let after = AfterStep(&process.member)
        let (role, term, commitIndex, appliedIndex) = (after.raft.role, after.raft.term, after.raft.commitIndex, after.appliedIndex)

        observeHeard(machine, process, event, moment, readAt: readAt, after)
        if trustsClocks, term > process.lastTerm { try observeNewTerm(machine, event, readAt: readAt) }
        try observeEffects(machine, process, event, effects, moment, readAt: readAt)

        try observeLog(machine, process, base: after.raft.logBase, last: after.raft.lastLogIndex)
        let isLeader = role == .leader
        let isElected = isLeader && !(process.wasLeader && process.lastTerm == term)
        if isElected {
            coverage.note(.elections)
            trace.mix(term.number)
            trace.say(now, "\(life) is elected for term \(term)")
            try checks.electionSafety.leads(life, in: term)
            try checks.removedStaysOut.leads(id, knowingCommitted: commitIndex)
            try checks.leaderCompleteness.leads(id, in: term) { machine.known.written.mark(at: $0) }
            if trustsClocks { try checks.leaseExclusivity.elected(id, term: term, at: now) }
            checks.leadersKnowTheirQuorum.elected(life, term: term, at: moment.instant)
            planRead(at: machine)
        }
        if process.wasLeader, !isLeader { trace.say(now, "\(life) leads no more; its term is \(term)") }

        if commitIndex > process.lastCommit { try observeCommit(machine, process, through: commitIndex, term: term, isLeader: isLeader) }
        if appliedIndex > process.lastApplied {
            trace.mix(after.stateHash)
            try checks.stateMachineSafety.isDurable(id, applied: appliedIndex, durable: machine.known.durable.last)
            try checks.stateMachineSafety.applied(id, through: appliedIndex, hash: after.stateHash)
            if appliedIndex.position % 32 == 0 {
                try checks.stateMachineSafety.appliedWhole(id, through: appliedIndex, hash: process.member.state.fullStateHash())
            }
        }
        try checks.monotoneCounters.observe(
            life,
            MonotoneCounters.Reading(
                term: term, commit: commitIndex, applied: appliedIndex, time: after.time, serialCounter: after.serialCounter))

        try observeLease(machine, process)

        if isLeader, history.mark(at: appliedIndex)?.term == term, process.servedTerm != term {
            process.servedTerm = term
            try checks.durability.mustHold(id) { process.member.state.outcome(of: $0.request, by: $0.principal, command: $0.command) }
            let late = process.member.state.obligations.filter { $0.term < term }
            coverage[.obligationsResumed] += UInt64(late.count)
        }
        if case .tick = event {
            if isLeader {
                try checks.leadersKnowTheirQuorum.leads(
                    life, term: term, voters: after.raft.configuration.voters, quorum: after.raft.configuration.quorum, at: moment.instant)
                try checks.leadersCanWrite.leads(life, at: moment.instant)
            }
            let answered = effects.compactMap { if case .reply(_, let ticket) = $0.action { ticket } else { nil } }
            try checks.oneAnswerPerCaller.ticked(life, at: moment.instant, grace: .milliseconds(200), answering: answered)
        }
        if let problem = after.raft.problem ?? after.waitingProblem { throw Broken("CoreInvariant", [id], problem) }
        process.nextDeadline = after.nextDeadline
        try checks.timersMoveOn.stepped(id, at: moment.instant, nextDeadline: process.nextDeadline)

        if !process.hasBeenReady, process.member.isReady(at: moment.instant) { process.hasBeenReady = true }
        picture?.becomes(machine.place, "\(role) t\(term)", at: now)
        process.wasLeader = isLeader
        process.lastTerm = term
        process.lastConfiguration = after.raft.configuration
        process.lastConfigurationIndex = after.raft.configurationIndex
        process.lastCommit = commitIndex
        process.lastApplied = appliedIndex
    }

    /// Asked at an instant of true time, as a caller of `/leader` would.
    func observeLease(_ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        guard trustsClocks else { return }
        let term = process.member.raft.term
        guard let lease = heldLease(&process.member, at: machine.clock.instant(at: now)) else {
            picture?.holds(machine.place, term: term, to: nil, at: now)
            return checks.leaseExclusivity.ends(machine.id, at: now)
        }
        let end = machine.clock.time(of: lease)
        picture?.holds(machine.place, term: term, to: end, at: now)
        try checks.leaseExclusivity.observe(process.life, term: term, end: end, at: now)
    }

    /// What the event told the member, where an invariant keeps book of it.
    private func observeHeard(
        _ machine: SimulatedMember, _ process: SimulatedProcess, _ event: Event, _ moment: Moment, readAt: TrueTime, _ after: AfterStep
    ) {
        if case .request(let operation, _, let principal, let deadline, _) = event {
            let span = deadline.since(moment.instant) + .milliseconds(1)
            checks.forwarding.asks(process.life, operation, as: principal, within: span)
        }
        switch event {
        case .request(_, _, _, let deadline, let ticket), .read(_, let deadline, let ticket), .reports(let deadline, let ticket):
            checks.oneAnswerPerCaller.asks(process.life, ticket, deadline: deadline)
        case .callerGone(let ticket):
            checks.oneAnswerPerCaller.goes(process.life, ticket)
        case .wrote(let write):
            checks.leadersCanWrite.wrote(process.life, through: write, at: moment.instant)
        case .peer(.consensus(let message, _), let sender):
            observeMessage(message, from: sender, machine, process, moment, readAt: readAt, after)
        default:
            break
        }
    }

    private func observeMessage(
        _ message: Message, from sender: MemberID, _ machine: SimulatedMember, _ process: SimulatedProcess, _ moment: Moment,
        readAt: TrueTime, _ after: AfterStep
    ) {
        // What one says that was known to be removed is not listened to, and binds nobody.
        if after.hasFormerMembers, let removed = removal(of: sender, in: &process.member), removed <= process.lastApplied { return }
        let term = after.raft.term
        if let heartbeat = message.heartbeat, term == message.term, after.raft.leader == sender {
            checks.promiseKept.promises(machine.id, to: sender, heartbeat.promise, at: readAt)
        }
        if message.answersHeartbeat, term == message.term {
            let before = process.answers[sender]
            let isPaused = before.map { moment.instant.since($0.last) > .seconds(1) } ?? true
            process.answers[sender] = (isPaused ? moment.instant : before?.since ?? moment.instant, moment.instant)
            checks.leadersKnowTheirQuorum.answered(process.life, term: message.term, by: sender, at: moment.instant)
            if hasGuests { checks.changesKeepAQuorum.answered(process.life, by: sender, at: moment.instant) }
        }
        switch message.body {
        case .voteAnswer(let answer) where answer.isPreVote && answer.granted:
            checks.consentBeforeTerm.consents(sender, to: process.life, in: answer.campaignTerm)
        case .timeoutNow:
            checks.consentBeforeTerm.isTold(process.life, in: message.term)
        default:
            break
        }
    }

    /// The step took the member to another term: if it was a candidate who told it of that, a promise may have stood against it.
    private func observeNewTerm(_ machine: SimulatedMember, _ event: Event, readAt: TrueTime) throws(Broken) {
        guard case .peer(.consensus(let message, _), let sender) = event, case .voteRequest(let request) = message.body else { return }
        try checks.promiseKept.follows(machine.id, sender, to: message.term, isTransfer: request.transfer != nil, at: readAt)
    }

    /// What the member wants done: judged when it wants it where the decision counts, and when it leaves where the leaving does.
    private func observeEffects(
        _ machine: SimulatedMember, _ process: SimulatedProcess, _ event: Event, _ effects: [Effect], _ moment: Moment, readAt: TrueTime
    ) throws(Broken) {
        var isTransfer = false
        if case .peer(.consensus(let message, _), _) = event, case .voteRequest(let request) = message.body {
            isTransfer = request.transfer != nil
        }
        for effect in effects {
            switch effect.action {
            case .write(let write, let id):
                checks.leadersCanWrite.writes(process.life, id, at: moment.instant)
                if process.member.raft.role == .leader || process.wasLeader {
                    for entry in write.entries {
                        guard let configuration = entry.configuration, entry.term == process.member.raft.term else { continue }
                        try observeChange(configuration, at: entry.index, machine, process, moment.instant)
                        checks.leadersKnowTheirQuorum.reconfigured(process.life, at: moment.instant)
                    }
                }
                try observeWrite(write, id, machine, process)
            case .log(let record) where record.action == "clock-off" || record.action == "clock-agrees":
                checks.soundCalendar.says(process.life, in: process.member.raft.term, isOff: record.action == "clock-off")
            case .sign:
                try checks.soundCalendar.wantsSigned(process.life, in: process.member.raft.term)
            case .send(.forward(let request), _):
                var heard: ForwardedRequest?
                if case .peer(.forward(let request), _) = event { heard = request }
                try checks.forwarding.sends(process.life, request, hears: heard)
            case .send(.consensus(let message, _), let target):
                if let heartbeat = message.heartbeat {
                    checks.promiseKept.promises(machine.id, to: machine.id, heartbeat.promise, at: readAt)
                }
                switch message.body {
                case .voteAnswer(let answer) where answer.granted && trustsClocks:
                    try checks.promiseKept.helps(machine.id, target, isTransfer: isTransfer, at: readAt)
                case .voteRequest(let request) where trustsClocks:
                    try checks.promiseKept.helps(machine.id, machine.id, isTransfer: request.transfer != nil, at: readAt)
                default:
                    break
                }
            default:
                break
            }
        }
    }

    private func observeWrite(
        _ write: JournalWrite, _ id: WriteID, _ machine: SimulatedMember, _ process: SimulatedProcess
    ) throws(Broken) {
        if let from = write.truncateFrom {
            coverage.note(.truncatedLogs)
            trace.say(now, "\(process.life) cuts off its log from \(from)")
            try checks.committedStays.truncates(machine.id, from: from, machine.known.written.mark(at: from))
        }
        if let ballot = write.ballot, ballot.vote == machine.id, ballot.term > machine.known.written.ballot.term {
            // One that does not vote needs a quorum without itself.
            let counting = process.member.raft.configuration
            try checks.consentBeforeTerm.begins(
                process.life, ballot.term, quorum: counting.quorum + (counting.isVoter(machine.id) ? 0 : 1))
        }
        if let base = write.base {
            coverage.note(.snapshotsInstalled)
            trace.say(now, "\(process.life) begins anew behind \(base.place)")
            try checks.snapshotSafety.beginsAnew(machine.id, behind: base.place, durable: machine.known.snapshot)
            try checks.snapshotSafety.stands(
                machine.id, behind: base.place, base.configuration, committed: history.mark(at: base.index),
                inForce: history.configuration(at: base.index) ?? configuration)
        }
        if let index = write.forgetThrough {
            try checks.snapshotSafety.forgets(machine.id, through: index, durable: machine.known.snapshot)
        }
        machine.known.write(write, id, prefix: write.base.map { history.prefix(through: $0.index) } ?? [])
        for entry in write.entries {
            try checks.noSecretInTheClear.leaves(machine.id, entry.payload, as: "entry \(entry.index) of its journal")
            guard let mark = machine.known.written.mark(at: entry.index), mark.term == entry.term else {
                throw Broken(
                    "LogMatching", [machine.id], "it writes entry \(entry.index) where its log ends at \(machine.known.written.last)")
            }
            try checks.logMatching.wrote(machine.id, at: entry.index, mark)
        }
    }

    /// A certificate is about to be dated. Whoever hung a while ago may have heard old answers last; and the first answer after a silence says
    /// nothing of a calendar, since nobody knows how long it was under way.
    func observeDating(_ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        guard trustsClocks, now.since(machine.pausedUntil) > .seconds(6) else { return }
        let reading = machine.clock.instant(at: now)
        let others = members.filter { other in
            guard other.id != machine.id, process.member.raft.configuration.isVoter(other.id),
                let answers = process.answers[other.id]
            else { return false }
            return reading.since(answers.last) < .seconds(1) && reading.since(answers.since) > .milliseconds(500)
        }
        try checks.soundCalendar.dates(
            process.life, own: machine.clock.wallOffset, others: others.map(\.clock.wallOffset), at: now)
    }

    // MARK: When something leaves

    func observeSent(
        _ message: PeerMessage, to target: MemberID, _ machine: SimulatedMember, _ process: SimulatedProcess
    ) throws(Broken) {
        switch message {
        case .forward: coverage.note(.requestsForwarded)
        case .consensus(let message, _):
            try checks.durableBeforeVisible.sends(machine.id, message, to: target, durable: machine.known.durable)
            var isPreVote = false
            if message.answersHeartbeat { checks.promiseKept.answers(machine.id) }
            switch message.body {
            case .voteRequest(let request):
                isPreVote = request.isPreVote
                if !isPreVote { try checks.oneVotePerTerm.votes(machine.id, in: message.term, for: machine.id) }
            case .voteAnswer(let answer):
                if answer.granted, !answer.isPreVote { try checks.oneVotePerTerm.votes(machine.id, in: message.term, for: target) }
            default: break
            }
            if !isPreVote { checks.monotoneCounters.said(machine.id, message.term) }
        case .forwardAnswer, .reportRequest, .report, .holding, .observed, .tagsObserved, .standingRequest, .removed: break
        }
    }

    func observeReply(_ reply: Reply, _ call: Int, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        let operation = clients.operation(ofCall: call)
        switch (reply, operation.kind) {
        case (.settled(let outcome), .exclusive(.command(let command), let request)):
            // Most are turned away at once, and make no entry.
            if outcome.refusesToken { coverage.note(.tokensRefused) }
            guard let request, !outcome.isPassing, !outcome.isUnrecorded else { return }
            if operation.isReuse {
                guard outcome == .refused(.requestIDReused) else {
                    throw Broken(
                        "ExactlyOnce", [machine.id], "\(request) was used for another request before, and is answered with \(outcome)")
                }
                return
            }
            try checks.exactlyOnce.answered(machine.id, operation.principal, request, outcome)
            let stored = process.member.state.outcome(of: request, by: operation.principal, command: command)
            guard stored == outcome else {
                throw Broken(
                    "Durability", [machine.id],
                    "it answers \(request) with \(outcome); its own state says \(stored.map { "\($0)" } ?? "nothing")")
            }
            try observeReleased(outcome, process, machine)
        case (.readable, .read(let consistency, _)):
            let isLeader = process.member.raft.role == .leader
            switch consistency {
            case .linearizable: coverage.note(isLeader ? .readsLinearizable : .readsAtFollowers)
            case .lease:
                coverage.note(.readsUnderTheLease)
                if !trustsClocks { return }
            case .stale: return
            }
            try checks.freshReads.reads(
                machine.id, consistency.rawValue, mustSee: operation.mustSee, sees: process.member.state.appliedIndex)
        default:
            break
        }
    }

    /// The certificate that belongs to the outcome is handed out with the reply, from the state that this member has.
    private func observeReleased(_ outcome: Outcome, _ process: SimulatedProcess, _ machine: SimulatedMember) throws(Broken) {
        guard case .operatorIssued(let name, let serial) = outcome else { return }
        if process.member.state.revocation(of: serial) != nil { return }
        guard let record = process.member.state.operatorRecord(named: name, serial: serial) else {
            throw Broken("Durability", [machine.id], "it says that \(serial) was issued to \(name), and has no such certificate")
        }
        try checks.uniqueSerials.releases(serial, record.certificate, certified: SimulatedCertificate(bytes: record.certificate)?.serial)
    }
}

extension Outcome {
    /// Said by whoever was asked, and kept nowhere: the next one asked may say otherwise.
    var isUnrecorded: Bool {
        switch self {
        case .refused(.rulesTooOld), .refused(.membershipRefused), .refused(.invitationUnknown), .refused(.invitationUsed): true
        default: false
        }
    }

    /// Says only that nothing can be done now: not an outcome of the request.
    var isPassing: Bool {
        switch self {
        case .refused(.requestTableFull), .refused(.tooMany): true
        default: false
        }
    }
}

extension Message {
    fileprivate var heartbeat: Heartbeat? {
        switch body {
        case .heartbeat(let heartbeat): heartbeat
        case .append(let append): append.heartbeat
        case .offer(let offer): offer.heartbeat
        default: nil
        }
    }
    /// Not a refusal.
    fileprivate var answersHeartbeat: Bool {
        switch body {
        case .heartbeatAnswer(let answer): answer.number > .zero
        case .appendAnswer(let answer): answer.number > .zero
        default: false
        }
    }
}
