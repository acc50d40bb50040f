// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The whole member as a synchronous value: consensus, replicated state, the callers who wait, and the leader's duties.
//
// What happens is an event handed in with the moment; what is to be done are effects handed back. No suspension stands between a check
// and the act that it guards, because there is none in here. Clocks, disks, sockets, keys and randomness are the shell's.
//
//     event, moment ──▶ handle ──▶ consensus ──▶ committed entries ──▶ state ──▶ answers, announcements
//                                      └──▶ writes, messages                └──▶ duties of the leader

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct Member: Sendable {
    /// More callers than this are told to come back.
    package static let callLimit = 4096
    /// What a leader turned away, or could not take now, is tried again after so long.
    static let retryInterval = TimeSpan.milliseconds(25)
    /// A forwarded request without an answer is sent again, under the same request id.
    static let resendInterval = TimeSpan.milliseconds(400)

    package internal(set) var state: DispatcherState
    package internal(set) var raft: LeaseRaft
    let settings: MemberSettings

    var calls: [Call] = []
    var hasAnsweredCalls = false
    /// When some call needs attention though nothing happens; zero: now.
    var callsDue = Member.never
    /// How things stood when the calls were last moved along.
    var callsStanding: Standing?
    var reads: [PendingRead] = []
    /// A leader has confirmed one since they were last moved along.
    var hasConfirmedReads = false
    var gatherings: [Gathering] = []
    /// Numbers everything that this member names towards others: forwarded requests, reads, gatherings. Begins somewhere else in every
    /// process, so that an answer which was on its way when the last one died is nobody's.
    var nextNumber: UInt64
    /// Sequence numbers of the request ids that this member minted and that still have a caller, in rising order.
    var mintedOpen: [UInt64] = []
    var mintedNext: UInt64 = 1
    /// Whether the last change of role made this member the leader of its term, able to serve or not yet.
    var wasElected = false
    /// Only while this member leads and may serve.
    var leadership: Leadership?
    /// Set once a leader confirmed how far the log was committed after this process began, and this member has applied that.
    package internal(set) var hasCaughtUp = false
    var isDraining = false
    /// As the shell last said.
    var facts = MemberFacts()
    /// The dispatcher identities that this member can present.
    var held: [SerialNumber]
    /// How far the log went when this process began: what is decided there was news to the one before it.
    let historyEnd: LogIndex
    /// The other members' calendars, as far as this one knows.
    var clocks = PeerClocks()
    /// When they are compared next, and by how much the own was ahead of the monotonic clock then.
    var calendarDue = Instant.zero
    var calendarOrigin: Int64 = 0
    /// The newest version of the state machine that the others said they know; sorted by member.
    var knownVersions: [KnownVersion] = []
    /// Those of them of which the state does not know it yet.
    var unreportedHoldings: [SerialNumber] = []
    /// Where the state stood when that was looked up.
    var holdingsIndex = LogIndex.zero
    /// The journal found no space for what it was last given.
    var isDiskFull = false
    /// This member was removed, and has said so.
    var hasLeft = false
    /// When it asks next whether it is still a member.
    var standingDue = Instant.zero
    /// When the leader is told once more what this member holds, if it does not know.
    var holdingDue = Instant(nanosecondsSinceBoot: 0)
    var snapshots: SnapshotDuty
    /// This member began from a snapshot, and has not looked yet which identities and rules came with it.
    private var mustOpenIdentities: Bool

    /// - Parameter snapshot: the state in the newest snapshot, where there is one.
    package init(
        genesis: GenesisState, configuration: Configuration, recovered: Recovered, snapshot: DispatcherState? = nil,
        settings: MemberSettings, seed: UInt64, now: Moment
    ) {
        precondition(
            (snapshot?.appliedIndex ?? .zero) == (recovered.snapshot?.index ?? .zero), "a member begins from its newest snapshot")
        self.settings = settings
        nextNumber = (settings.session >> 4) + 1
        state = snapshot ?? DispatcherState(genesis: genesis)
        held = [genesis.identity.serial]
        historyEnd = recovered.lastIndex
        snapshots = SnapshotDuty(newest: state.appliedIndex)
        mustOpenIdentities = snapshot != nil
        raft = LeaseRaft(
            id: settings.id, configuration: configuration, recovered: recovered, timing: settings.timing, seed: seed, now: now.instant)
    }

    package mutating func handle(_ event: Event, at now: Moment, into effects: inout [Effect]) {
        var consensus: [ConsensusEffect] = []
        switch event {
        case .tick:
            break
        case .peer(let message, let sender):
            receive(message, from: sender, at: now, consensus: &consensus, into: &effects)
        case .wrote(let write):
            raft.wrote(write, at: now.instant, into: &consensus)
            if isDiskFull { effects.append(Effect(.log(LogRecord(.info, "disk-has-space")))) }
            isDiskFull = false
        case .writeFailed(let failure):
            effects.append(Effect(.stop(.journalFailed(failure))))
        case .diskFull:
            raft.diskIsFull(at: now.instant, into: &consensus)
            if !isDiskFull { effects.append(Effect(.log(LogRecord(.error, "disk-full", [("TRIED", "again until there is space")])))) }
            isDiskFull = true
        case .request(let operation, let request, let principal, let deadline, let ticket):
            begin(operation, request, from: principal, deadline: deadline, ticket, at: now, consensus: &consensus, into: &effects)
        case .read(let consistency, let deadline, let ticket):
            beginRead(consistency, deadline: deadline, ticket, at: now, consensus: &consensus, into: &effects)
        case .reports(let deadline, let ticket):
            gatherReports(deadline: deadline, ticket, at: now, into: &effects)
        case .callerGone(let ticket):
            forget(ticket)
        case .signed(let obligation, let serial, let result):
            signed(obligation, serial, result, at: now, consensus: &consensus, into: &effects)
        case .holding(let serial):
            if !held.contains(serial) { held.append(serial) }
            lookAtHoldings()
        case .agentAnswered(let call, let answer):
            agentAnswered(call, answer, at: now, consensus: &consensus, into: &effects)
        case .observed(let observation):
            observe(observation, at: now, consensus: &consensus, into: &effects)
        case .tagsObserved(let agent, let tags):
            observe(tags, of: agent, at: now, consensus: &consensus, into: &effects)
        case .facts(let facts):
            self.facts = facts
        case .drain:
            isDraining = true
        case .snapshotSaved(let place):
            snapshotSaved(place, at: now, consensus: &consensus, into: &effects)
        case .snapshotNotSaved(let failure):
            snapshotNotSaved(failure, into: &effects)
        case .snapshotFetched(let base, let fetched):
            snapshotFetched(base, fetched, at: now, consensus: &consensus, into: &effects)
        case .snapshotNotFetched(let place, let reason):
            snapshotNotFetched(place, because: reason, at: now, into: &effects)
        }
        raft.tick(at: now.instant, into: &consensus)
        settle(&consensus, at: now, into: &effects)
        tend(at: now, consensus: &consensus, into: &effects)
        settle(&consensus, at: now, into: &effects)
        while hasConfirmedReads {
            // Whoever is a quorum by itself confirms a read as soon as it is asked for.
            advanceReads(at: now, consensus: &consensus, into: &effects)
            settle(&consensus, at: now, into: &effects)
        }
        if mayMoveCalls(at: now) {
            // What the last entries let move.
            advanceCalls(at: now, consensus: &consensus, into: &effects)
            settle(&consensus, at: now, into: &effects)
        }
        tendSnapshots(into: &effects)
    }

    private mutating func mayMoveCalls(at now: Moment) -> Bool {
        if calls.isEmpty {
            // Those that it was due for are gone; `nextDeadline` looks at it.
            callsDue = Member.never
            return false
        }
        return now.instant >= callsDue || standing != callsStanding
    }

    /// When `.tick` is due next.
    package var nextDeadline: Instant {
        var deadline = min(raft.nextDeadline, callsDue)
        for read in reads { deadline = min(deadline, read.nextDeadline) }
        for gathering in gatherings { deadline = min(deadline, gathering.deadline) }
        if !unreportedHoldings.isEmpty { deadline = min(deadline, holdingDue) }
        if let due = nextStandingRequest { deadline = min(deadline, due) }
        if let leadership { deadline = min(deadline, leadership.nextDeadline) }
        return deadline
    }

    /// `/leader`: an established leader under its lease.
    package func holdsLease(at now: Instant) -> Bool { lease(at: now) != nil }

    /// `/ready`: has applied the commit that it first heard of, and heard from a leader within two promises.
    package func isReady(at now: Instant) -> Bool {
        guard hasCaughtUp, let contact = raft.lastLeaderContact else { return false }
        return now.since(contact) <= settings.timing.promise + settings.timing.promise
    }

    /// True once there is nothing to hand over: this member may end without anybody noticing.
    package var hasDrained: Bool { raft.role != .leader || raft.configuration.voters.count == 1 }

    /// It leads, and its term's first entry is committed. Asked at every step, so that nothing is copied for it.
    var isEstablished: Bool { if case .some = leadership { true } else { false } }

    /// The instant to which an established leader may act without another round.
    func lease(at now: Instant) -> Instant? {
        guard isEstablished, let end = raft.lease(at: now), now < end else { return nil }
        return end
    }

    /// An instant that does not come.
    static let never = Instant(nanosecondsSinceBoot: .max)

    /// What calls wait for, apart from time.
    struct Standing: Hashable, Sendable {
        let applied: LogIndex
        let role: Role
        let term: Term
        let leader: MemberID?
        let isEstablished: Bool
    }

    var standing: Standing {
        Standing(
            applied: state.appliedIndex, role: raft.role, term: raft.term, leader: raft.leader, isEstablished: isEstablished)
    }

    mutating func takeNumber() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }

    /// Turns what consensus wants into effects, and applies what it committed, until nothing is left.
    private mutating func settle(_ consensus: inout [ConsensusEffect], at now: Moment, into effects: inout [Effect]) {
        while !consensus.isEmpty {
            let batch = consensus
            consensus.removeAll(keepingCapacity: true)
            for effect in batch {
                switch effect {
                case .write(let write, let id):
                    effects.append(Effect(.write(write, id)))
                case .send(let message, let member, let gate):
                    effects.append(
                        Effect(
                            .send(.consensus(message, SenderNote(calendar: now.wallClock, knows: settings.knows)), to: member), gate: gate))
                case .roleChanged(let role, let term, let leader, let reason):
                    roleChanged(role, term: term, leader: leader, because: reason, at: now, consensus: &consensus, into: &effects)
                case .leadershipEstablished(let term):
                    leadership = Leadership(term: term, clock: LeaderClock(from: state.time, at: now.instant), at: now.instant)
                    effects.append(
                        Effect(.log(LogRecord(.info, "leader-established", [("TERM", "\(term)"), ("INDEX", "\(state.appliedIndex)")]))))
                    advanceCalls(at: now, consensus: &consensus, into: &effects)
                case .commit(let index):
                    apply(through: index, at: now, into: &effects)
                case .readReady(let token, let index):
                    readReady(token, index, at: now)
                case .transferFailed(let target):
                    transferFailed(to: target, into: &effects)
                case .fetchSnapshot(let place, let member, let gate):
                    effects.append(Effect(.fetchSnapshot(place, from: member), gate: gate))
                }
            }
        }
    }

    /// What time makes due: deadlines, retries, reads that became answerable, duties.
    private mutating func tend(at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]) {
        if mustOpenIdentities {
            mustOpenIdentities = false
            openIdentities(into: &effects)
            if !knowsTheRules { effects.append(Effect(.stop(.versionUnknown(state.machineVersion, known: settings.knows)))) }
        }
        if mayMoveCalls(at: now) { advanceCalls(at: now, consensus: &consensus, into: &effects) }
        advanceReads(at: now, consensus: &consensus, into: &effects)
        advanceGatherings(at: now, into: &effects)
        reportHoldings(at: now, consensus: &consensus, into: &effects)
        noteCalendar(at: now, into: &effects)
        askForStanding(at: now, into: &effects)
        // Before the duties: what is handed over in this step may not begin anything in it.
        handOver(at: now, consensus: &consensus, into: &effects)
        performDuties(at: now, consensus: &consensus, into: &effects)
    }

    private mutating func receive(
        _ message: PeerMessage, from sender: MemberID, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard listens(to: sender, saying: message, into: &effects) else { return }
        switch message {
        case .consensus(let message, let note):
            if let transit = raft.transit(of: message, from: sender, at: now.instant), transit <= PeerClocks.longestTransit {
                clocks.note(sender, note.calendar, at: now.instant)
            }
            self.note(note.knows, knownBy: sender)
            // Whoever is about to end does not accept what it would have to hand on.
            if isDraining, case .timeoutNow = message.body { return }
            raft.receive(message, from: sender, at: now.instant, into: &consensus)
        case .forward(let request):
            carry(request, from: sender, at: now, consensus: &consensus, into: &effects)
        case .forwardAnswer(let answer):
            forwardAnswered(answer, from: sender, at: now, into: &effects)
        case .reportRequest(let number):
            effects.append(Effect(.send(.report(number: number, report(at: now)), to: sender)))
        case .report(let number, let report):
            gathered(number, report, from: sender)
        case .holding(let serials):
            note(serials, heldBy: sender, at: now, consensus: &consensus)
        case .observed(let observation):
            if raft.role == .leader { observe(observation, at: now, consensus: &consensus, into: &effects) }
        case .tagsObserved(let agent, let tags):
            if raft.role == .leader { observe(tags, of: agent, at: now, consensus: &consensus, into: &effects) }
        case .standingRequest:
            // Only those who were removed are answered.
            break
        case .removed(let index):
            toldRemoved(at: index, into: &effects)
        }
    }

    private mutating func roleChanged(
        _ role: Role, term: Term, leader: MemberID?, because reason: StepDownReason?, at now: Moment,
        consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        if role != .leader, wasElected {
            effects.append(
                Effect(.log(LogRecord(.warning, "leader-lost", [("TERM", "\(term)"), ("REASON", reason.map { "\($0)" } ?? "unknown")]))))
            leadership = nil
        }
        wasElected = role == .leader
        if role == .follower, let leader {
            effects.append(Effect(.log(LogRecord(.info, "leader-known", [("LEADER", leader.name), ("TERM", "\(term)")]))))
        }
        if role != .leader { releaseProposals(at: now, into: &effects) }
        releaseReads()
        if let leader { transferEnded(with: leader, into: &effects) }
        advanceCalls(at: now, consensus: &consensus, into: &effects)
    }

    /// A member that is to end, or whose calendar is wrong, keeps handing leadership on for as long as it has it: an attempt may fail, and
    /// it may be elected again.
    private mutating func handOver(at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]) {
        let isCalendarOff = leadership?.isCalendarOff ?? false
        guard isDraining || isCalendarOff, raft.role == .leader else { return }
        let target = transferTarget { member in isDraining || isCalendarSound(of: member, at: now) }
        guard let target else { return }
        do {
            try raft.transferLeadership(to: target, at: now.instant, into: &consensus)
            effects.append(Effect(.log(LogRecord(.info, "leader-handover", [("TO", target.name)]))))
        } catch {
            // One is under way; if nothing comes of it, the next event tries again.
        }
    }

    /// The other voter that is furthest along and was heard of last, of those that are `suitable`; nil if there is none.
    func transferTarget(where suitable: (MemberID) -> Bool = { _ in true }) -> MemberID? {
        var best: (member: MemberID, match: LogIndex, answer: Instant)?
        for member in raft.configuration.voters where member != settings.id && suitable(member) {
            guard let progress = raft.progress(of: member), let answer = progress.lastAnswer else { continue }
            if let current = best, (current.match, current.answer) >= (progress.match, answer) { continue }
            best = (member, progress.match, answer)
        }
        return best?.member
    }
}
