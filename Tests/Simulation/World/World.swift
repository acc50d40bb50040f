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
    /// Boxed where it is large: the agenda moves it about.
    enum Occurrence {
        indirect case arrival(to: Int, from: Int, PeerMessage, bytes: [UInt8]?, sentTo: Int, connection: UInt64)
        case tick(Int, life: Int)
        case resume(Int, life: Int)
        case flushed(Int, life: Int)
        case triesJournalAgain(Int, life: Int)
        indirect case signed(Int, life: Int, ObligationID, SerialNumber, Swift.Result<SignedCertificate, SigningFailure>)
        case restart(Int)
        case clientWakes(Int)
        case attempt(operation: Int)
        case ask(call: Int)
        indirect case reply(call: Int, SimulatedClients.Answer)
        case callTimesOut(Int)
        indirect case callArrives(Int, life: Int, AgentCall)
        case reads(Int, life: Int, mustSee: LogIndex)
        case snapshotEncoded(Int, life: Int)
        case snapshotPart(Int, life: Int)
        case probe
        case administrate
        case guestJoins(Int, isThief: Bool)
        case fault
        indirect case faultEnds(FaultEnd)
        case safetyPhaseEnds
        case leaderIsDue
        case agreementIsDue
    }

    /// A seed in which less was committed has shown nothing.
    package static let leastCommits: UInt64 = 50

    package let seed: UInt64
    package let plan: FaultPlan
    var snapshotPlan: SnapshotPlan
    var snapshotGenerator: SeededGenerator
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
    /// What came out of the snapshots that were read last.
    var restoredBefore: [(snapshot: Snapshot, state: DispatcherState)] = []
    let genesis: GenesisState
    let genesisPayload: [UInt8]
    let configuration: Configuration
    let layout: JournalLayout
    let timing: Timing
    /// False in the class of seeds whose clocks keep no bound: there a lease and a promise prove nothing, and what is checked is what rule 3
    /// of the architecture promises all the same.
    let trustsClocks: Bool
    /// For the shells: delays, pauses, crashes.
    var shellGenerator: SeededGenerator
    /// For the schedule of faults.
    var faultGenerator: SeededGenerator
    /// For what a member of a broken release would say.
    var forgeryGenerator: SeededGenerator
    /// For members that come and go.
    var memberGenerator: SeededGenerator
    var votersBefore: Int
    /// When a disk was lost last: for a while its member seems to be there.
    var lastLoss = TrueTime.zero
    var nextJob: UInt64 = 1
    /// All faults have ended.
    var isHealing = false
    /// The instant from which on the chosen quorum has no faults.
    var healedAt = TrueTime.zero
    var isOver = false
    var steps: UInt64 = 0
    var failure: Broken?
    /// For a person; nil unless somebody asked for it.
    package internal(set) var picture: Picture?

    /// `follow` is given every line as it is made; the newest lines are kept if `recording`. A shorter safety phase than the one that the seed
    /// draws is for places where time is short; nothing else changes by it until it ends.
    package init(
        seed: UInt64, safetyPhase: TimeSpan? = nil, limits: Limits = Limits(), recording: Bool = false, drawing: Bool = false,
        follow: ((String) -> Void)? = nil
    ) {
        self.seed = seed
        var root = SeededGenerator(seed: mixed(seed, 0x5eed))
        var planGenerator = SeededGenerator(seed: root.next())
        var plan = FaultPlan(using: &planGenerator)
        plan.safetyPhase = safetyPhase ?? plan.safetyPhase
        memberGenerator = SeededGenerator(seed: mixed(seed, 0x6e57))
        plan.drawGuests(using: &memberGenerator)
        votersBefore = plan.members
        limits.restrict(&plan)
        self.plan = plan
        snapshotGenerator = SeededGenerator(seed: mixed(seed, 0x5a95))
        snapshotPlan = SnapshotPlan(using: &snapshotGenerator)
        trace = Trace(recording: recording || follow != nil, follow: follow)
        let genesis = SimulatedCluster.genesis(members: plan.members, using: &planGenerator)
        self.genesis = genesis
        genesisPayload = genesis.encoded()
        let ids = (0..<plan.members).map(SimulatedCluster.memberID)
        guard let configuration = Configuration(voters: ids) else { preconditionFailure("one to five members vote") }
        self.configuration = configuration
        layout = JournalLayout(segmentBytes: plan.segmentBytes)
        history = CommittedHistory(genesis: genesis)
        timing = Timing(heartbeat: plan.heartbeat)
        checks = Invariants(genesis: genesis, timing: timing, looksAtEveryPart: seed % 4 == 0)
        trustsClocks = plan.clocks != .beyond
        network = SimulatedNetwork(
            members: plan.members + plan.guests, weather: plan.weather, generator: SeededGenerator(seed: root.next()))
        clients = SimulatedClients(count: plan.clients, generator: SeededGenerator(seed: root.next()))
        shellGenerator = SeededGenerator(seed: root.next())
        faultGenerator = SeededGenerator(seed: root.next())
        var machines = SeededGenerator(seed: root.next())
        agentGenerator = SeededGenerator(seed: root.next())
        forgeryGenerator = SeededGenerator(seed: root.next())
        for (place, id) in ids.enumerated() {
            let clock = SimulatedClock(
                reading: machines.below(1 << 50), rate: drawRate(using: &machines),
                wallOffset: Int64(machines.below(5)) - 2, at: .zero)
            members.append(SimulatedMember(id: id, place: place, clock: clock, disk: SimulatedDisk(seed: machines.next())))
        }
        for place in plan.members..<(plan.members + plan.guests) {
            let clock = SimulatedClock(
                reading: memberGenerator.below(1 << 50), rate: drawRate(using: &memberGenerator),
                wallOffset: Int64(memberGenerator.below(5)) - 2, at: .zero)
            let guest = SimulatedMember(
                id: SimulatedCluster.memberID(place), place: place, clock: clock, disk: SimulatedDisk(seed: memberGenerator.next()))
            guest.isAbsent = true
            members.append(guest)
        }
        if plan.guests > 0 { clients.addAdministrator(guests: plan.guests) }
        if drawing { picture = Picture(members: members.map(\.id.name)) }
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
            picture?.fails(at: now, error)
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
        for member in members where !member.isAbsent {
            let genesis = Genesis(member: member.id, configuration: configuration, payload: genesisPayload)
            do throws(DiskFailure) {
                try Journal.create(on: &member.disk, genesis: genesis, layout: layout)
            } catch {
                throw Broken("JournalRecovery", [member.id], "its journal cannot be made: \(error)")
            }
            try checks.noSecretInTheClear.leaves(member.id, genesisPayload, as: "its genesis file")
            agenda.plan(.restart(member.place), at: now + shellGenerator.span(upTo: .milliseconds(50)))
            member.isRestartPlanned = true
        }
        for client in 0..<plan.clients { agenda.plan(.clientWakes(client), at: now + .milliseconds(500) + clients.pause(plan.think)) }
        agenda.plan(.probe, at: now + .milliseconds(700))
        if hasGuests { agenda.plan(.administrate, at: now + .milliseconds(900)) }
        agenda.plan(.fault, at: now + .milliseconds(1_500) + faultGenerator.span(upTo: plan.faultGap))
        agenda.plan(.safetyPhaseEnds, at: now + plan.safetyPhase)
    }

    private func happen(_ occurrence: Occurrence) throws(Broken) {
        trace.mix(now.nanoseconds)
        switch occurrence {
        case .arrival(let place, let sender, let message, let bytes, let lives, let connection):
            try arrive(at: members[place], from: sender, message, bytes, sentTo: lives, connection: connection)
        case .tick(let place, let life):
            try tickIsDue(members[place], life)
        case .resume(let place, let life):
            try resume(members[place], life)
        case .flushed(let place, let life):
            try finishFlush(members[place], life)
        case .triesJournalAgain(let place, let life):
            try tryJournalAgain(members[place], life)
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
        case .reads(let place, let life, let mustSee):
            try read(at: members[place], life, mustSee: mustSee)
        case .snapshotEncoded(let place, let life):
            try snapshotEncoded(members[place], life)
        case .snapshotPart(let place, let life):
            try fetchPart(members[place], life)
        case .probe:
            try probe()
        case .administrate:
            try administrate()
        case .guestJoins(let place, let isThief):
            guestJoins(place, isThief: isThief)
        case .fault:
            try fault()
        case .faultEnds(let end):
            try faultEnds(end)
        case .safetyPhaseEnds:
            try endSafetyPhase()
        case .leaderIsDue:
            try lookForLeader()
        case .agreementIsDue:
            lookForAgreement()
        }
    }

    /// What the clients of this seed asked and were told so far.
    package var clientHistory: ClientHistory { ClientHistory(clients) }

    func drawRate(using generator: inout SeededGenerator) -> UInt64 {
        let bound = SimulatedClock.exact * timing.clockRateBoundPerMille / 1000
        switch plan.clocks {
        case .exact: return SimulatedClock.exact
        case .drawn: return SimulatedClock.exact - bound + generator.below(2 * bound + 1)
        case .beyond:
            // Up to two and a half times too fast, or at two fifths of the speed; some are fine.
            if isHealing || generator.below(3) == 0 { return SimulatedClock.exact - bound + generator.below(2 * bound + 1) }
            coverage.note(.clocksBeyondTheBound)
            return generator.below(2) == 0
                ? SimulatedClock.exact * 4 / 10 + generator.below(bound * 4) : SimulatedClock.exact + bound + generator.below(bound * 14)
        case .extreme: return generator.below(2) == 0 ? SimulatedClock.exact - bound : SimulatedClock.exact + bound
        }
    }
}
