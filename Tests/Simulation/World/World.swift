// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A cluster in a box: whole members over their real journals, on simulated disks, clocks and networks, with clients, under faults that end
// after a while. One generator's seed decides everything; a run of the same seed repeats itself step by step.
//
//     agenda ──▶ World ──▶ shell of a member ──▶ Member.handle ──▶ invariants ──▶ effects ──▶ network, journal, signer, clients ──▶ agenda
//
// Every source of chance and order: numbers come from `SeededGenerator`s split from the seed; simultaneous things happen in the order in which
// they were planned; dictionaries are only looked up, never gone through; no clock of the machine is read.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

package final class World {
    enum Occurrence {
        case arrival(to: Int, from: Int, [UInt8], sentTo: Int)
        case tick(Int, life: Int)
        case resume(Int, life: Int)
        case flushed(Int, life: Int)
        case signed(Int, life: Int, ObligationID, SerialNumber, Swift.Result<SignedCertificate, SigningFailure>)
        case restart(Int)
        case clientWakes(Int)
        case attempt(operation: Int)
        case ask(call: Int)
        case reply(call: Int, SimulatedClients.Answer)
        case callTimesOut(Int)
        case callArrives(Int, life: Int, AgentCall)
        case probe
        case fault
        case faultEnds(FaultEnd)
        case safetyPhaseEnds
        case leaderIsDue
        case agreementIsDue
    }

    /// How long after the end of all faults somebody must lead, and how long until all is settled.
    package static let leaderBound = TimeSpan.seconds(3)
    package static let agreementBound = TimeSpan.seconds(12)
    /// The first look; no later one is beyond the bound.
    private static let agreementLook = TimeSpan.seconds(11)
    /// A seed in which less was committed has shown nothing.
    package static let leastCommits: UInt64 = 50

    package let seed: UInt64
    package let plan: FaultPlan
    package internal(set) var now = TrueTime.zero
    package internal(set) var coverage = Coverage()
    package internal(set) var trace: Trace
    var agenda = Agenda<Occurrence>()
    var members: [SimulatedMember] = []
    var network: SimulatedNetwork
    var clients: SimulatedClients
    var agents = SimulatedAgents()
    var agentGenerator: SeededGenerator
    var history: CommittedHistory
    var checks: Invariants
    let genesis: GenesisState
    let genesisPayload: [UInt8]
    let configuration: Configuration
    let layout: JournalLayout
    let timing = Timing()
    /// For the shells: delays, pauses, crashes.
    var shellGenerator: SeededGenerator
    /// For the schedule of faults.
    var faultGenerator: SeededGenerator
    var nextJob: UInt64 = 1
    /// All faults have ended.
    var isHealing = false
    /// The last instant at which all must agree.
    private var agreementEnd = TrueTime.zero
    var isOver = false
    var steps: UInt64 = 0
    var failure: Broken?

    /// `follow` is given every line as it is made; the newest lines are kept if `recording`. A shorter safety phase than the one that the seed
    /// draws is for places where time is short; nothing else changes by it until it ends.
    package init(seed: UInt64, safetyPhase: TimeSpan? = nil, recording: Bool = false, follow: ((String) -> Void)? = nil) {
        self.seed = seed
        var root = SeededGenerator(seed: mixed(seed, 0x5eed))
        var planGenerator = SeededGenerator(seed: root.next())
        var plan = FaultPlan(using: &planGenerator)
        plan.safetyPhase = safetyPhase ?? plan.safetyPhase
        self.plan = plan
        trace = Trace(recording: recording || follow != nil, follow: follow)
        let genesis = SimulatedCluster.genesis(members: plan.members, using: &planGenerator)
        self.genesis = genesis
        genesisPayload = genesis.encoded()
        let ids = (0..<plan.members).map(SimulatedCluster.memberID)
        guard let configuration = Configuration(voters: ids) else { preconditionFailure("one to five members vote") }
        self.configuration = configuration
        layout = JournalLayout(segmentBytes: plan.segmentBytes)
        history = CommittedHistory(genesis: genesis)
        checks = Invariants(genesis: genesis, timing: timing)
        network = SimulatedNetwork(members: plan.members, weather: plan.weather, generator: SeededGenerator(seed: root.next()))
        clients = SimulatedClients(count: plan.clients, generator: SeededGenerator(seed: root.next()))
        shellGenerator = SeededGenerator(seed: root.next())
        faultGenerator = SeededGenerator(seed: root.next())
        var machines = SeededGenerator(seed: root.next())
        agentGenerator = SeededGenerator(seed: root.next())
        for (place, id) in ids.enumerated() {
            let clock = SimulatedClock(
                reading: machines.below(1 << 50), rate: drawRate(using: &machines),
                wallOffset: Int64(machines.below(5)) - 2, at: .zero)
            members.append(SimulatedMember(id: id, place: place, clock: clock, disk: SimulatedDisk(seed: machines.next())))
        }
    }

    package struct Result: Sendable {
        package let seed: UInt64
        package let hash: UInt64
        package let simulated: TimeSpan
        package let steps: UInt64
        package let coverage: Coverage
        package let failure: Failure?
    }

    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let seed: UInt64
        package let time: TrueTime
        package let broken: Broken
        package let lastLines: [String]
        package var description: String {
            """
            seed \(seed), at \(time) s: \(broken)
            \(lastLines.joined(separator: "\n"))
            to repeat it: make simulate SEED=\(seed)
            """
        }
    }

    /// Runs the seed to its end or to the first invariant that does not hold.
    package func run() -> Result {
        do throws(Broken) {
            try begin()
            while !isOver, let (time, occurrence) = agenda.takeFirst() {
                now = time
                try happen(occurrence)
            }
            try end()
        } catch {
            failure = error
            trace.say(now, "*** \(error)")
        }
        return Result(
            seed: seed, hash: trace.hash, simulated: now.since(.zero), steps: steps, coverage: coverage,
            failure: failure.map { Failure(seed: seed, time: now, broken: $0, lastLines: trace.lastLines) })
    }

    private func begin() throws(Broken) {
        trace.say(
            now,
            "seed \(seed): \(plan.members) members, \(plan.clients) clients, faults \(plan.kinds.map { "\($0)" }.joined(separator: " "))")
        for member in members {
            let genesis = Genesis(member: member.id, configuration: configuration, payload: genesisPayload)
            do throws(DiskFailure) {
                try Journal.create(on: &member.disk, genesis: genesis, layout: layout)
            } catch {
                throw Broken("JournalRecovery", [member.id], "its journal cannot be made: \(error)")
            }
            agenda.plan(.restart(member.place), at: now + shellGenerator.span(upTo: .milliseconds(50)))
            member.isRestartPlanned = true
        }
        for client in 0..<plan.clients { agenda.plan(.clientWakes(client), at: now + .milliseconds(500) + clients.pause(plan.think)) }
        agenda.plan(.probe, at: now + .milliseconds(700))
        agenda.plan(.fault, at: now + .milliseconds(1_500) + faultGenerator.span(upTo: plan.faultGap))
        agenda.plan(.safetyPhaseEnds, at: now + plan.safetyPhase)
    }

    private func happen(_ occurrence: Occurrence) throws(Broken) {
        trace.mix(now.nanoseconds)
        switch occurrence {
        case .arrival(let place, let sender, let bytes, let lives):
            try arrive(at: members[place], from: sender, bytes, sentTo: lives)
        case .tick(let place, let life):
            try tickIsDue(members[place], life)
        case .resume(let place, let life):
            try resume(members[place], life)
        case .flushed(let place, let life):
            try finishFlush(members[place], life)
        case .signed(let place, let life, let obligation, let serial, let result):
            guard let process = members[place].process, process.life.number == life else { return }
            if !process.member.state.obligations.contains(where: { $0.id == obligation && $0.serial == serial }) {
                coverage.note(.lateSignatures)
            }
            try give(.event(.signed(obligation, serial, result)), to: members[place], process)
        case .restart(let place):
            try restart(members[place])
        case .clientWakes(let client):
            try wake(client: client)
        case .attempt(let operation):
            try attempt(operation)
        case .ask(let call):
            try ask(call)
        case .reply(let call, let answer):
            try answered(call, answer)
        case .callTimesOut(let call):
            try timeOut(call)
        case .callArrives(let place, let life, let call):
            try callArrives(place, life, call)
        case .probe:
            try probe()
        case .fault:
            try fault()
        case .faultEnds(let end):
            try faultEnds(end)
        case .safetyPhaseEnds:
            try heal()
        case .leaderIsDue:
            try checks.convergence.mustHaveLeader(views, after: World.leaderBound)
        case .agreementIsDue:
            // Duties go on, so that an entry may be on its way at the instant of one look: there are some, and the last is at the bound.
            let views = views
            let agree =
                clients.openOperations.isEmpty && views.count == members.count
                && views.allSatisfy { $0.applied == views[0].applied && $0.hash == views[0].hash }
            if agree || now >= agreementEnd {
                isOver = true
            } else {
                agenda.plan(.agreementIsDue, at: min(now + .milliseconds(50), agreementEnd))
            }
        }
    }

    /// True once nothing is left to wait for; the agenda goes on for a moment, so that nobody is caught between two messages.
    var isSettled: Bool {
        guard clients.isIdle, let first = views.first, views.count == members.count else { return false }
        return views.allSatisfy { $0.applied == first.applied } && history.state.obligations.isEmpty
    }

    var views: [Convergence.View] {
        members.compactMap { member in
            guard let process = member.process else { return nil }
            let raft = process.member.raft
            return Convergence.View(
                member: member.id, isLeader: raft.role == .leader, term: raft.term, applied: process.member.state.appliedIndex,
                hash: process.member.state.fullStateHash())
        }
    }

    private func end() throws(Broken) {
        let open = clients.openOperations
        try checks.convergence.mustAgree(views, openRequests: open, after: World.agreementBound)
        for member in members {
            guard let process = member.process else {
                throw Broken("Convergence", [member.id], "it is not running \(World.agreementBound.milliseconds) ms after the last fault")
            }
            try checks.durability.mustHold(member.id) {
                process.member.state.outcome(of: $0.request, by: $0.principal, command: $0.command)
            }
        }
        coverage[.historiesJudged] += try clientHistory.judge()
        // A phase that was shortened by hand is not asked for as much.
        guard coverage[.commits] >= World.leastCommits || plan.safetyPhase < .seconds(20) else {
            throw Broken(
                "EnoughHappened", [], "only \(coverage[.commits]) entries were committed, where \(World.leastCommits) are the least")
        }
    }

    /// What the clients of this seed asked and were told so far.
    package var clientHistory: ClientHistory { ClientHistory(clients) }

    private func heal() throws(Broken) {
        trace.say(now, "all faults end")
        isHealing = true
        network.heal()
        checks.soundCalendar.changed(at: now)
        for member in members {
            member.pausedUntil = now
            member.clock.setWallClock(off: 0)
            member.extraFlushTime = .zero
            member.diskStallsUntil = now
            member.disk.faults = SimulatedDisk.Faults()
            if let process = member.process {
                process.journal.disk.faults = SimulatedDisk.Faults()
                agenda.plan(.resume(member.place, life: process.life.number), at: now)
                if !process.flushing.isEmpty { agenda.plan(.flushed(member.place, life: process.life.number), at: now + .milliseconds(5)) }
            } else {
                member.isRestartPlanned = true
                agenda.plan(.restart(member.place), at: now + .milliseconds(5))
            }
        }
        finishOperations()
        agenda.plan(.leaderIsDue, at: now + World.leaderBound)
        agreementEnd = now + World.agreementBound
        agenda.plan(.agreementIsDue, at: now + World.agreementLook)
    }

    func drawRate(using generator: inout SeededGenerator) -> UInt64 {
        let bound = SimulatedClock.exact * timing.clockRateBoundPerMille / 1000
        switch plan.clocks {
        case .exact: return SimulatedClock.exact
        case .drawn: return SimulatedClock.exact - bound + generator.below(2 * bound + 1)
        case .extreme: return generator.below(2) == 0 ? SimulatedClock.exact - bound : SimulatedClock.exact + bound
        }
    }
}
