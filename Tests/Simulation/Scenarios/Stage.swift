// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Three members for a play that somebody wrote: whole members over their real journals on simulated disks, all clocks equal. Nothing happens
// by chance. A message arrives at once and a write is durable at once, unless the play holds it; time moves when the play says so. What
// matters of what happens is noted, line by line, and what must always hold is checked after each step.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

@testable import Simulation

/// The play went otherwise than written, or something does not hold.
struct StageProblem: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

final class Stage {
    struct Envelope {
        let from: Int
        let to: Int
        let message: PeerMessage
    }

    final class Machine {
        let id: MemberID
        var disk: SimulatedDisk
        var journal: Journal<SimulatedDisk>?
        /// Its disk is the journal's.
        var snapshots: SnapshotStore<SimulatedDisk>?
        /// Nil while it is down.
        var member: Member?
        var lives: UInt64 = 0
        var durable = WriteID.zero
        var unflushed: [WriteID] = []
        var gated: [(write: WriteID, effect: Effect)] = []
        var holdsWrites = false
        /// Its timers are not looked at.
        var isStill = false
        /// The members of whom its host was told when it joined.
        var contacts: [MemberID] = []
        init(id: MemberID, disk: SimulatedDisk) {
            self.id = id
            self.disk = disk
        }
    }

    static let step = TimeSpan.milliseconds(5)
    static let start = Instant(nanosecondsSinceBoot: 1_000_000_000)
    static let timing = Timing()
    let layout = JournalLayout(segmentBytes: 1 << 16)

    let machines: [Machine]
    private let genesis: GenesisState
    private let founders: Configuration
    private(set) var now = Stage.start
    /// What the play shows.
    private(set) var lines: [String] = []
    private var mail: [Envelope] = []
    /// Held by the play.
    private(set) var kept: [Envelope] = []
    /// What is held is not lost when somebody dies.
    var heldKinds: [String] = []
    var cut: [(from: Int, to: Int)] = []
    var holdsSignatures = false
    var holdsCalls = false
    var holdsFetches = false
    private var fetches: [(machine: Int, life: UInt64, place: SnapshotPlace, source: Int)] = []
    /// They end once everything else is done.
    private var leaving: [Int] = []
    private let snapshotPolicy: SnapshotPolicy?
    /// Plays in which nobody comes or goes stay under the first rules.
    private let rules: MachineVersion
    private var jobs: [(machine: Int, life: UInt64, job: SigningJob)] = []
    private var calls: [(machine: Int, life: UInt64, call: AgentCall)] = []
    var agents: [SimulatedAgent] = []
    private var nextJob: UInt64 = 1
    /// Of every request that was made, under which ticket, and what came back.
    private var tickets: [(name: String, ticket: Ticket)] = []
    private(set) var replies: [(name: String, words: String)] = []
    /// By index: the state's hash after it, wherever it was applied first.
    private var hashes: [UInt64: UInt64] = [:]
    private var committed = LogIndex.zero

    /// - Parameter guests: machines that have no member before it joins.
    init(members: Int, guests: Int = 0, snapshotEntries: UInt64? = nil) throws {
        rules = guests == 0 ? .first : .newest
        snapshotPolicy = snapshotEntries.map {
            SnapshotPolicy(entries: $0, bytes: 1 << 20, margin: 0, keptForOthers: RetentionLimit(entries: 0, bytes: 0))
        }
        var generator = SeededGenerator(seed: 8)
        genesis = SimulatedCluster.genesis(members: members, using: &generator)
        machines = (0..<members + guests).map { Machine(id: SimulatedCluster.memberID($0), disk: SimulatedDisk(seed: UInt64($0) + 1)) }
        guard let configuration = Configuration(voters: machines.prefix(members).map(\.id)) else {
            throw StageProblem("one to five members vote")
        }
        founders = configuration
        for machine in machines.prefix(members) { try found(machine) }
        for place in 0..<members { try begin(place) }
    }

    private func found(_ machine: Machine) throws {
        let born = Genesis(member: machine.id, configuration: founders, payload: genesis.encoded())
        try Journal.create(on: &machine.disk, genesis: born, layout: layout)
    }

    /// The host has its certificate, and the member on it begins.
    func join(_ place: Int) throws {
        let machine = machines[place]
        let states = machines.compactMap(\.member).map(\.state).sorted { $0.appliedIndex > $1.appliedIndex }
        guard let state = states.first, state.member(machine.id) != nil else { throw StageProblem("\(machine.id) has no certificate") }
        machine.contacts = state.members.map(\.id).filter { $0 != machine.id }
        try found(machine)
        try begin(place)
    }

    func note(_ line: String) {
        let milliseconds = now.since(Stage.start).milliseconds
        lines.append("\(milliseconds / 1000).\(String(milliseconds % 1000 + 1000).dropFirst())  \(line)")
    }

    func show(command: String) { lines.append("> \(command)") }

    // MARK: Life and death

    func begin(_ place: Int) throws {
        let machine = machines[place]
        guard machine.member == nil else { throw StageProblem("\(machine.id) is running") }
        let (store, newest) = try SnapshotStore.open(on: &machine.disk)
        let opened: (journal: Journal<SimulatedDisk>, genesis: Genesis, recovered: Recovered)
        do throws(JournalRefusal) { opened = try Journal.open(on: &machine.disk, behind: newest?.base, layout: layout) } catch {
            note("\(machine.id) does not start: \(error)")
            return
        }
        let restored = try newest.map { try DispatcherState(genesis: genesis, image: StateImage(decoding: $0.body)) }
        machine.snapshots = store
        machine.lives += 1
        machine.journal = opened.journal
        machine.durable = .zero
        let settings = MemberSettings(
            id: machine.id, version: "staged", timing: Stage.timing, knows: rules, session: UInt64(place + 1) << 32 | machine.lives << 8,
            snapshots: snapshotPolicy, contacts: machine.contacts)
        machine.member = Member(
            genesis: genesis, configuration: opened.genesis.configuration, recovered: opened.recovered, snapshot: restored,
            settings: settings, seed: UInt64(place) * 1_000 + machine.lives, now: moment)
        let begin =
            opened.recovered.snapshot.map { " behind \(opened.recovered.base?.index ?? .zero), the snapshot behind \($0.index)" } ?? ""
        note("\(machine.id) starts: term \(opened.recovered.ballot.term), \(opened.recovered.entries.count) entries\(begin)")
    }

    func end(_ place: Int, losingPower: Bool) throws {
        let machine = machines[place]
        guard let journal = machine.journal, let member = machine.member else { throw StageProblem("\(machine.id) is not running") }
        note("\(machine.id) dies as \(member.raft.role) of term \(member.raft.term)")
        machine.disk = journal.disk
        if losingPower { machine.disk.crash() }
        machine.member = nil
        machine.journal = nil
        machine.snapshots = nil
        fetches.removeAll { $0.machine == place }
        machine.gated = []
        machine.unflushed = []
        mail.removeAll { $0.to == place }
        jobs.removeAll { $0.machine == place }
        calls.removeAll { $0.machine == place }
    }

    func loseDisk(_ place: Int) throws {
        if machines[place].member != nil { try end(place, losingPower: true) }
        machines[place].disk = SimulatedDisk(seed: 99)
        note("the disk of \(machines[place].id) is lost")
    }

    // MARK: Time

    private var moment: Moment {
        Moment(instant: now, wallClock: WallClock(secondsSince1970: 1_700_000_000 + Int64(now.nanosecondsSinceBoot / 1_000_000_000)))
    }

    func pass(_ span: TimeSpan, until isDone: () -> Bool = { false }) throws -> Bool {
        let end = now + span
        try settle()
        while now < end {
            if isDone() { return true }
            now = now + Stage.step
            for place in machines.indices where !machines[place].isStill { try give(.tick, to: place) }
            try settle()
        }
        return isDone()
    }

    /// Everything that is on its way and not held arrives.
    func settle() throws {
        while true {
            if !mail.isEmpty {
                let envelope = mail.removeFirst()
                try give(.peer(envelope.message, from: machines[envelope.from].id), to: envelope.to)
            } else if !holdsSignatures, !jobs.isEmpty {
                let (place, life, job) = jobs.removeFirst()
                if machines[place].lives == life { try sign(job, by: place) }
            } else if !holdsCalls, !calls.isEmpty {
                let (place, life, call) = calls.removeFirst()
                if machines[place].lives == life { try reach(call, from: place, isAnswerLost: false) }
            } else if !holdsFetches, let (place, _, wanted, source) = fetches.first {
                fetches.removeFirst()
                try fetch(wanted, from: source, to: place)
            } else if let place = leaving.first {
                leaving.removeFirst()
                if machines[place].member != nil { try end(place, losingPower: false) }
            } else {
                return
            }
        }
    }

    // MARK: What the play does

    func ask(_ name: String, _ operation: ExclusiveOperation, at place: Int, as principal: Principal = .localUser(uid: 0)) throws {
        let ticket = Ticket(UInt64(tickets.count) + 1)
        tickets.append((name, ticket))
        let deadline = now + .seconds(5)
        try give(.request(operation, RequestID(client: name), from: principal, deadline: deadline, ticket), to: place)
        try settle()
    }

    func read(_ name: String, _ consistency: ReadConsistency, at place: Int) throws {
        let ticket = Ticket(UInt64(tickets.count) + 1)
        tickets.append((name, ticket))
        try give(.read(consistency, deadline: now + .seconds(5), ticket), to: place)
        try settle()
    }

    func release(_ kind: String) throws {
        heldKinds.removeAll { $0 == kind }
        let free = kept.filter { $0.message.kindName == kind }
        kept.removeAll { $0.message.kindName == kind }
        for envelope in free { note("released: \(machines[envelope.from].id) → \(machines[envelope.to].id) \(kind)") }
        mail += free
        try settle()
    }

    func drop(_ kind: String) {
        heldKinds.removeAll { $0 == kind }
        kept.removeAll { $0.message.kindName == kind }
    }

    func releaseWrites(_ place: Int) throws {
        machines[place].holdsWrites = false
        try flush(place)
        try settle()
    }

    /// The calls that wait reach their agents, and what these say does not come back.
    func loseAnswers() throws {
        let waiting = calls
        calls = []
        for (place, _, call) in waiting { try reach(call, from: place, isAnswerLost: true) }
    }

    var hasWaitingCalls: Bool { !calls.isEmpty }
    var hasWaitingJobs: Bool { !jobs.isEmpty }
    var hasWaitingFetches: Bool { !fetches.isEmpty }

    // MARK: A step

    func give(_ event: Event, to place: Int) throws {
        let machine = machines[place]
        guard var member = machine.member else { return }
        machine.member = nil
        let before = (role: member.raft.role, term: member.raft.term, applied: member.state.appliedIndex)
        let (counted, countedSince) = (member.raft.configuration, member.raft.configurationIndex)
        var effects: [Effect] = []
        member.handle(event, at: moment, into: &effects)
        machine.member = member
        if let problem = member.raft.invariantViolation() { throw StageProblem("CoreInvariant does not hold at \(machine.id): \(problem)") }
        if member.raft.configuration != counted {
            let isUndone = member.raft.configurationIndex < countedSince
            note("\(machine.id) counts \(member.raft.configuration.words)\(isUndone ? " again" : "")")
        }
        try noteCommits(member)
        try check(member, at: machine)
        if before.role == .leader, member.raft.role != .leader || member.raft.term != before.term {
            note("\(machine.id) leads no more; its term is \(member.raft.term)")
        }
        if member.raft.role == .leader, before.role != .leader || member.raft.term != before.term {
            note("\(machine.id) is elected for term \(member.raft.term)")
        }
        try run(effects, of: place)
        try flush(place)
    }

    private func noteCommits(_ member: Member) throws {
        guard member.raft.commitIndex > committed else { return }
        for entry in member.raft.committedEntries(after: committed, through: member.raft.commitIndex) {
            let what = entry.payload.isEmpty ? "a term begins" : ((try? Proposal(decoding: entry.payload))?.command.label ?? "unreadable")
            note("committed \(entry.index) of term \(entry.term): \(what)")
        }
        committed = member.raft.commitIndex
    }

    private func check(_ member: Member, at machine: Machine) throws {
        let index = member.state.appliedIndex.position
        if index > 0 {
            let hash = member.state.stateHash
            if let known = hashes[index], known != hash {
                throw StageProblem("StateMachineSafety does not hold: \(machine.id) has another state at \(index) than somebody else")
            }
            hashes[index] = hash
        }
        let holders = machines.filter { $0.member?.holdsLease(at: now) == true }
        if holders.count > 1 { throw StageProblem("LeaseExclusivity does not hold: \(holders.map(\.id)) hold a lease at once") }
    }

    private func run(_ effects: [Effect], of place: Int) throws {
        let machine = machines[place]
        for effect in effects {
            if case .durable(let write) = effect.gate, write > machine.durable {
                machine.gated.append((write, effect))
                continue
            }
            switch effect.action {
            case .write(let write, let id):
                if let from = write.truncateFrom { note("\(machine.id) cuts off its log from \(from)") }
                if let base = write.base { note("\(machine.id) begins anew behind \(base.place)") }
                if let index = write.forgetThrough { note("\(machine.id) forgets its log up to \(index)") }
                try machine.journal?.append(write)
                machine.unflushed.append(id)
            case .send(let message, let target):
                guard let to = machines.firstIndex(where: { $0.id == target }) else { continue }
                post(Envelope(from: place, to: to, message: message))
            case .reply(let reply, let ticket): noteReply(reply, to: ticket, by: machine)
            case .sign(let job):
                note("\(machine.id) is to sign \(job.obligation.serial)")
                jobs.append((place, machine.lives, job))
            case .hold(let identity): try give(.holding(identity.serial), to: place)
            case .call(let call):
                note("\(machine.id) calls \(call.agent.name): \(call.task.label)")
                calls.append((place, machine.lives, call))
            case .announce(let decision):
                if case .approved(let certificate) = decision.verdict, let serial = SimulatedCertificate(bytes: certificate)?.serial {
                    note("\(machine.id) hands out \(serial)")
                }
            case .project, .log: break
            case .takeSnapshot(let base, let state):
                let snapshot = Snapshot(place: base.place, configuration: base.configuration, body: try state.image().encoded())
                try save(snapshot, at: machine)
                try give(.snapshotSaved(base.place), to: place)
            case .fetchSnapshot(let wanted, let member):
                guard let source = machines.firstIndex(where: { $0.id == member }) else { throw StageProblem("\(member) is no member") }
                note("\(machine.id) fetches the snapshot behind \(wanted) from \(member)")
                fetches.append((place, machine.lives, wanted, source))
            case .leave(let index):
                note("\(machine.id) is told that it is no member since entry \(index)")
                leaving.append(place)
            case .stop(let reason): throw StageProblem("\(machine.id) stops: \(reason)")
            }
        }
    }

    // MARK: Snapshots

    private func save(_ snapshot: Snapshot, at machine: Machine) throws {
        guard var store = machine.snapshots, var journal = machine.journal else { throw StageProblem("\(machine.id) is not running") }
        store.disk = journal.disk
        try store.save(snapshot)
        journal.disk = store.disk
        machine.snapshots = store
        machine.journal = journal
        note("\(machine.id) has the snapshot behind \(snapshot.place) on disk")
    }

    /// Nil: it is not there any more.
    private func snapshot(_ place: SnapshotPlace, of source: Int) throws -> Snapshot? {
        guard var store = machines[source].snapshots, let journal = machines[source].journal else { return nil }
        store.disk = journal.disk
        guard let size = try store.size(of: place), let bytes = try store.read(place, at: 0, count: Int(size)) else { return nil }
        return try SnapshotFile.decode(bytes)
    }

    private func fetch(_ wanted: SnapshotPlace, from source: Int, to place: Int) throws {
        guard let snapshot = try snapshot(wanted, of: source) else {
            note("\(machines[source].id) has it no more")
            return try give(.snapshotNotFetched(wanted, reason: "it is gone"), to: place)
        }
        try save(snapshot, at: machines[place])
        let state = try DispatcherState(genesis: genesis, image: StateImage(decoding: snapshot.body))
        try give(.snapshotFetched(snapshot.base, state), to: place)
    }

    /// What it fetches is on its disk, and it is not told.
    func saveFetched(_ place: Int) throws {
        guard let position = fetches.firstIndex(where: { $0.machine == place }) else { throw StageProblem("it fetches nothing") }
        let (_, _, wanted, source) = fetches.remove(at: position)
        guard let snapshot = try snapshot(wanted, of: source) else { throw StageProblem("the snapshot is gone") }
        try save(snapshot, at: machines[place])
    }

    private func post(_ envelope: Envelope) {
        if cut.contains(where: { $0.from == envelope.from && $0.to == envelope.to }) { return }
        guard heldKinds.contains(envelope.message.kindName) else { return mail.append(envelope) }
        note("held: \(machines[envelope.from].id) → \(machines[envelope.to].id) \(envelope.message.kindName)")
        kept.append(envelope)
    }

    private func flush(_ place: Int) throws {
        let machine = machines[place]
        guard !machine.holdsWrites, let last = machine.unflushed.last, machine.member != nil else { return }
        try machine.journal?.flush()
        machine.durable = last
        let written = machine.unflushed
        machine.unflushed = []
        for write in written { try give(.wrote(write), to: place) }
        let free = machine.gated.filter { $0.write <= last }.map(\.effect)
        machine.gated.removeAll { $0.write <= last }
        try run(free, of: place)
    }

    private func noteReply(_ reply: Reply, to ticket: Ticket, by machine: Machine) {
        guard let name = tickets.first(where: { $0.ticket == ticket })?.name else { return }
        let words: String =
            switch reply {
            case .settled(let outcome): outcome.label
            case .transferred(let target): "transferred to \(target)"
            default: String(describing: reply).prefixLabel
            }
        replies.append((name, words))
        note("\(machine.id) answers \(name): \(words)")
    }

    private func sign(_ job: SigningJob, by place: Int) throws {
        let obligation = job.obligation
        let certificate = SimulatedCertificate(
            serial: obligation.serial, obligation: obligation.id, job: nextJob, purpose: SimulatedCertificate.purpose(obligation.purpose))
        nextJob += 1
        var key: SealedKey?
        if case .dispatcherIdentity = obligation.purpose {
            key = SealedKey(name: "dispatcher-\(obligation.serial)", keyVersion: 1, bytes: Array("sealed".utf8))
        }
        note("\(machines[place].id) has signed \(obligation.serial)")
        let signed = SignedCertificate(der: certificate.bytes, notAfter: job.validity.notAfter, key: key)
        try give(.signed(obligation.id, obligation.serial, .success(signed)), to: place)
    }

    private func reach(_ call: AgentCall, from place: Int, isAnswerLost: Bool) throws {
        guard let position = agents.firstIndex(where: { $0.key == call.agent.key }) else {
            return try give(.agentAnswered(call: call.number, AgentTaskAnswer(.unreachable("nobody there"))), to: place)
        }
        let answer = agents[position].answer(call)
        note(
            "\(call.agent.name), told \(call.task.label): \(String(describing: answer.result).prefixLabel)\(isAnswerLost ? ", and the answer is lost" : "")"
        )
        if !isAnswerLost { try give(.agentAnswered(call: call.number, answer), to: place) }
    }
}

extension Configuration {
    /// `a b c`, and whoever learns.
    var words: String {
        let voting = voters.map(\.name).joined(separator: " ")
        return learners.isEmpty ? voting : "\(voting) learner \(learners.map(\.name).joined(separator: " "))"
    }
}

extension String {
    /// The name of a case, without what it carries.
    var prefixLabel: String { String(prefix { $0 != "(" }) }
}

extension Command { var label: String { String(describing: self).prefixLabel } }
extension AgentTask { var label: String { String(describing: self).prefixLabel } }

extension Outcome {
    var label: String {
        if case .refused(let refusal) = self { return "refused: " + String(describing: refusal).prefixLabel }
        return String(describing: self).prefixLabel
    }
}

extension PeerMessage {
    /// As plays call it.
    var kindName: String {
        switch self {
        case .consensus(let message, _):
            switch message.body {
            case .heartbeat: "heartbeat"
            case .heartbeatAnswer: "heartbeat-answer"
            case .append: "append"
            case .appendAnswer: "append-answer"
            case .offer: "offer"
            case .voteRequest(let request): request.isPreVote ? "pre-vote-request" : "vote-request"
            case .voteAnswer(let answer): answer.isPreVote ? "pre-vote-answer" : "vote-answer"
            case .timeoutNow: "timeout-now"
            case .readIndexRequest: "read-request"
            case .readIndexAnswer: "read-answer"
            }
        case .forward: "forward"
        case .forwardAnswer: "forward-answer"
        default: "other"
        }
    }
}
