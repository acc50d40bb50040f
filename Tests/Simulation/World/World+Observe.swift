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
    var tokenOnce = TokenOnce()

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
    let role: Role
    let term: Term
    let commitIndex: LogIndex
    let appliedIndex: LogIndex
    let stateHash: UInt64
    let time: ClusterTime
    let serialCounter: UInt64
    let nextDeadline: Instant
    let leader: MemberID?
    let configuration: Configuration
    let configurationIndex: LogIndex
    let logBase: LogBase
    let lastLogIndex: LogIndex
    let hasFormerMembers: Bool
    /// As the core sees it.
    let problem: String?

    init(_ member: inout Member) {
        role = member.raft.role
        term = member.raft.term
        commitIndex = member.raft.commitIndex
        appliedIndex = member.state.appliedIndex
        stateHash = member.state.stateHash
        time = member.state.time
        serialCounter = member.state.nextSerialCounter
        nextDeadline = member.nextDeadline
        leader = member.raft.leader
        configuration = member.raft.configuration
        configurationIndex = member.raft.configurationIndex
        logBase = member.raft.logBase
        lastLogIndex = member.raft.lastLogIndex
        hasFormerMembers = !member.state.formerMembers.isEmpty
        problem = member.raft.invariantViolation()
    }
}

/// The end of the lease that the member takes itself to hold at this reading of its clock; nil if it leads nobody.
private func heldLease(_ member: inout Member, at reading: Instant) -> Instant? {
    member.raft.role == .leader && member.holdsLease(at: reading) ? member.raft.lease(at: reading) : nil
}

extension World {
    // MARK: After a step

    func observe(
        _ machine: SimulatedMember, _ process: SimulatedProcess, _ event: Event, _ moment: Moment, readAt: TrueTime, _ effects: [Effect]
    ) throws(Broken) {
        let (life, id) = (process.life, machine.id)
        let after = AfterStep(&process.member)
        let (role, term, commitIndex, appliedIndex) = (after.role, after.term, after.commitIndex, after.appliedIndex)

        observeHeard(machine, process, event, moment, readAt: readAt, after)
        if trustsClocks, term > process.lastTerm { try observeNewTerm(machine, event, readAt: readAt) }
        try observeEffects(machine, process, event, effects, moment, readAt: readAt)

        try observeLog(machine, process, base: after.logBase, last: after.lastLogIndex)
        let isLeader = role == .leader
        let isElected = isLeader && !(process.wasLeader && process.lastTerm == term)
        if isElected {
            coverage.note(.elections)
            trace.mix(term.number)
            trace.say(now, "\(life) is elected for term \(term)")
            try checks.electionSafety.leads(life, in: term)
            try checks.tokenOnce.leads(id, knowingCommitted: commitIndex)
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
                    life, term: term, voters: after.configuration.voters, quorum: after.configuration.quorum, at: moment.instant)
                try checks.leadersCanWrite.leads(life, at: moment.instant)
            }
            let answered = effects.compactMap { if case .reply(_, let ticket) = $0.action { ticket } else { nil } }
            try checks.oneAnswerPerCaller.ticked(life, at: moment.instant, grace: .milliseconds(200), answering: answered)
        }
        if let problem = after.problem { throw Broken("CoreInvariant", [id], problem) }
        process.nextDeadline = after.nextDeadline
        try checks.timersMoveOn.stepped(id, at: moment.instant, nextDeadline: process.nextDeadline)

        if !process.hasBeenReady, process.member.isReady(at: moment.instant) { process.hasBeenReady = true }
        picture?.becomes(machine.place, "\(role) t\(term)", at: now)
        process.wasLeader = isLeader
        process.lastTerm = term
        process.lastConfiguration = after.configuration
        process.lastConfigurationIndex = after.configurationIndex
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
        if after.hasFormerMembers, let former = process.member.state.formerMember(sender), former.index <= process.lastApplied { return }
        let term = after.term
        if let heartbeat = message.heartbeat, term == message.term, after.leader == sender {
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

    private func observeCommit(
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

    // MARK: Words for the trace

    func words(for message: PeerMessage) -> String {
        switch message {
        case .consensus(let message, _):
            switch message.body {
            case .append(let append):
                "t\(message.term) append #\(append.heartbeat.number.number) after \(append.previousIndex)/t\(append.previousTerm) ×\(append.entries.count) commit \(append.heartbeat.commit)"
            case .heartbeat(let heartbeat): "t\(message.term) heartbeat #\(heartbeat.number.number) commit \(heartbeat.commit)"
            case .heartbeatAnswer(let answer): "t\(message.term) heartbeat answer #\(answer.number.number)"
            case .appendAnswer(let answer): "t\(message.term) append answer #\(answer.number.number) \(answer.result)"
            case .offer(let offer): "t\(message.term) offer #\(offer.heartbeat.number.number) of the snapshot behind \(offer.place)"
            case .voteRequest(let request):
                "t\(message.term) \(request.isPreVote ? "pre-vote" : "vote") request, log \(request.lastLogIndex)/t\(request.lastLogTerm)\(request.transfer == nil ? "" : ", transfer")"
            case .voteAnswer(let answer):
                "t\(message.term) \(answer.isPreVote ? "pre-vote" : "vote") \(answer.granted ? "granted" : "refused") for t\(answer.campaignTerm)"
            case .timeoutNow(let number): "t\(message.term) timeout now after #\(number.number)"
            case .readIndexRequest(let token): "t\(message.term) read index request \(token.number)"
            case .readIndexAnswer(let token, let index):
                "t\(message.term) read index answer \(token.number): \(index.map { "\($0)" } ?? "none")"
            }
        case .forward(let request): "forward \(request.number): \(request.request)"
        case .forwardAnswer(let answer): "forward answer \(answer.number): \(answer.result)"
        case .reportRequest(let number): "report request \(number)"
        case .report(let number, _): "report \(number)"
        case .holding(let serials): "holding \(serials)"
        case .tagsObserved(let agent, let tags): "\(agent.name) has tags \(tags.json.canonicalText)"
        case .standingRequest: "asks whether it is a member"
        case .removed(let index): "it is removed since \(index)"
        case .observed(let observation): "observed \(observation.agent.name) accept \(observation.accepted), refuse \(observation.refused)"
        }
    }

    func words(for reply: Reply) -> String {
        if case .reports(let reports) = reply { "reports of \(reports.map(\.member.name))" } else { "\(reply)" }
    }

    func words(for command: Command) -> String {
        switch command {
        case .issueOperator(let name, _): "issue operator \(name)"
        case .openPairing(let milliseconds): "open pairing for \(milliseconds) ms"
        case .closePairing: "close pairing"
        case .submitPairing(let submission): "submit pairing \(submission.reqid) of \(submission.hostname)"
        case .approvePairing(let reqid, _): "approve \(reqid)"
        case .denyPairing(let reqid): "deny \(reqid)"
        case .unpair(let name): "unpair \(name)"
        case .editAgent(let name, _): "edit \(name)"
        case .reserveAnew(let id): "reserve anew for \(id.index)"
        case .recordCertificate(let id, let serial, _, _): "record \(serial) for \(id.index)"
        case .signingFailed(let id, let serial, _): "signing \(serial) failed for \(id.index)"
        case .expire: "expire"
        case .raiseVersion(let version): "raise the version to \(version)"
        case .beginRotation(let overlap, let isCompromised, _):
            "begin rotation, overlap \(overlap) ms\(isCompromised ? ", compromised" : "")"
        case .abortRotation: "abort rotation"
        case .revoke(let target, _): "revoke \(target)"
        case .recordIdentity(let id, let serial, _, _, _): "record identity \(serial) for \(id.index)"
        case .memberHolds(let member, let serial): "\(member) holds \(serial)"
        case .identityConfirmed(let agent, let serial, let refused): "\(agent.name) confirmed \(serial), refused \(refused)"
        case .identityRemoved(let agent, let serial): "\(agent.name) forgot \(serial)"
        case .dialectLearned(let agent, let dialect): "\(agent.name) speaks \(dialect.rawValue)"
        case .tagsLearned(let agent, let tags): "\(agent.name) has tags \(tags.json.canonicalText)"
        case .activate(let serial): "activate \(serial)"
        case .retire(let serial): "retire \(serial)"
        case .invite(let id, _, _): "invite \(id)"
        case .admit(let join): "admit \(join.member)"
        case .removeMember(let id): "remove \(id)"
        case .setMemberAddress(let id, let address): "\(id) is at \(address)"
        case .reconfigure(let configuration):
            "members \(configuration.voters.map(\.name).joined(separator: " "))"
                + (configuration.learners.isEmpty ? "" : ", learning \(configuration.learners.map(\.name).joined(separator: " "))")
        }
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
