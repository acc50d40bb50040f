// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Members side by side without faults: writes are durable when the test says so, messages arrive at once unless a link is cut, and time
// moves only when it is told to. The world of faults is the simulator's.

import Consensus
import CtrlExec
import DispatcherState
import Wire

@testable import CoordinatorCore

/// What cannot be made in a test's fixture is a mistake of the test.
func must<Value>(_ value: Value?) -> Value {
    guard let value else { preconditionFailure("the test's own fixture is invalid") }
    return value
}

final class SmallCluster {
    private(set) var names: [MemberID]
    private let founders: [MemberID]
    var members: [Member]
    var alive: [Bool]
    var now = Instant(nanosecondsSinceBoot: 1_000_000_000)
    var replies: [(ticket: UInt64, reply: Reply)] = []
    var announced: [(member: MemberID, decision: PairingDecision)] = []
    var projected: [(MemberID, ProjectionChange)] = []
    var logged: [(member: MemberID, record: LogRecord)] = []
    /// Calendar time is so many seconds ahead, everywhere …
    var wallOffset: Int64 = 0
    /// … and at single members so many more.
    var calendarErrors: [Int: Int64] = [:]
    /// Calls to agents that were started, and by whom; answered by the test.
    var agentCalls: [(Int, AgentCall)] = []
    /// Signing jobs that were started, and by whom; answered by `sign`.
    var jobs: [(member: Int, job: SigningJob)] = []
    /// Members that ended themselves, and why.
    var stopped: [(member: Int, reason: StopReason)] = []
    /// Members that were removed, and since when.
    var left: [(member: Int, index: LogIndex)] = []
    /// Messages between these are lost.
    var cut: [(MemberID, MemberID)] = []
    /// Members that do not hear when leadership is handed to them.
    var deaf: Set<Int> = []
    var signsAtOnce = true
    /// The newest that each has.
    var snapshots: [(base: LogBase, state: DispatcherState)?]
    /// Fetches that were asked for; done by `fetch`.
    var fetches: [(member: Int, place: SnapshotPlace, from: MemberID)] = []
    private var inbox: [(to: Int, from: MemberID, message: PeerMessage)] = []
    private var held: [[(WriteID, Effect)]]
    private var durable: [WriteID]

    static func genesis(_ names: [MemberID]) -> GenesisState {
        let key = SealedKey(name: "key", keyVersion: 1, bytes: [1, 2, 3])
        let authority = CertificateAuthority(certificate: [0x30], key: key)
        let incarnation = Incarnation(counter: 1, random: 0x1122_3344_5566_7788)
        let identity = Identity(
            serial: serialNumber(incarnation: incarnation, counter: 9), certificate: [0x30], key: key,
            notAfter: WallClock(secondsSince1970: 4_000_000_000), phase: .current)
        return GenesisState(
            cluster: must(ClusterID(bytes: [UInt8](repeating: 7, count: 16))), incarnation: incarnation,
            dispatcherID: must(DispatcherID("test")),
            members: names.enumerated().map {
                MemberRecord(
                    id: $1, address: "127.0.0.1:\(7446 + $0)",
                    certificateSerial: serialNumber(incarnation: incarnation, counter: UInt64($0) + 1))
            }, fleetCA: authority, clusterCA: authority, identity: identity, nextSerialCounter: 10)
    }

    /// - Parameter knows: what each member's release knows; the newest where nothing is said.
    init(_ count: Int = 3, knows: [Int: MachineVersion] = [:], snapshots policy: SnapshotPolicy? = nil) {
        let names = ["a", "b", "c", "d", "e"].prefix(count).map { must(MemberID($0)) }
        self.names = names
        founders = names
        let now = now
        members = names.enumerated().map { number, name in
            Member(
                genesis: SmallCluster.genesis(names), configuration: must(Configuration(voters: names)), recovered: .nothing,
                settings: MemberSettings(
                    id: name, version: "test", knows: knows[number] ?? .newest, session: UInt64(number) + 100, snapshots: policy),
                seed: UInt64(number) + 1,
                now: Moment(instant: now, wallClock: WallClock(secondsSince1970: 1_800_000_000)))
        }
        alive = [Bool](repeating: true, count: count)
        snapshots = [(base: LogBase, state: DispatcherState)?](repeating: nil, count: count)
        held = [[(WriteID, Effect)]](repeating: [], count: count)
        durable = [WriteID](repeating: .zero, count: count)
    }

    func moment(of member: Int) -> Moment {
        let seconds = 1_800_000_000 + wallOffset + (calendarErrors[member] ?? 0) + Int64(now.nanosecondsSinceBoot / 1_000_000_000)
        return Moment(instant: now, wallClock: WallClock(secondsSince1970: seconds))
    }

    func give(_ event: Event, to member: Int) {
        guard alive[member] else { return }
        var effects: [Effect] = []
        members[member].handle(event, at: moment(of: member), into: &effects)
        // A shell that is asked for a tick in the past runs nothing else any more.
        precondition(members[member].nextDeadline > now, "a tick in the past is asked for after \(event)")
        run(effects, of: member)
    }

    private func run(_ effects: [Effect], of member: Int) {
        var written: [WriteID] = []
        for effect in effects {
            if case .durable(let write) = effect.gate, write > durable[member] {
                held[member].append((write, effect))
                continue
            }
            switch effect.action {
            case .write(_, let id): written.append(id)
            case .send(let message, let target):
                guard let position = names.firstIndex(of: target), !cut.contains(where: { $0 == (names[member], target) }) else { continue }
                inbox.append((position, names[member], message))
            case .reply(let reply, let ticket): replies.append((ticket.number, reply))
            case .sign(let job): jobs.append((member, job))
            case .hold(let identity): give(.holding(identity.serial), to: member)
            case .call(let call): agentCalls.append((member, call))
            case .announce(let decision): announced.append((names[member], decision))
            case .project(let change): projected.append((names[member], change))
            case .log(let record): logged.append((names[member], record))
            case .takeSnapshot(let base, let state):
                snapshots[member] = (base, state)
                give(.snapshotSaved(base.place), to: member)
            case .fetchSnapshot(let place, let source): fetches.append((member, place, source))
            case .leave(let index): left.append((member, index))
            case .stop(let reason):
                guard case .versionUnknown = reason else { preconditionFailure("a member stopped: \(reason)") }
                alive[member] = false
                stopped.append((member, reason))
            }
        }
        guard let last = written.last else { return }
        durable[member] = last
        give(.wrote(last), to: member)
        let free = held[member].filter { $0.0 <= last }.map(\.1)
        held[member].removeAll { $0.0 <= last }
        run(free, of: member)
    }

    /// Delivers what is on its way until nothing is, signing what is asked for.
    func deliver() {
        while !inbox.isEmpty || (signsAtOnce && !jobs.isEmpty) {
            if inbox.isEmpty {
                let (member, job) = jobs.removeFirst()
                sign(job, by: member)
                continue
            }
            let (to, from, message) = inbox.removeFirst()
            if deaf.contains(to), case .consensus(let message, _) = message, case .timeoutNow = message.body { continue }
            give(.peer(message, from: from), to: to)
        }
    }

    /// One that was let in begins, with an empty journal.
    func add(_ name: String) {
        let contacts = names
        names.append(must(MemberID(name)))
        alive.append(true)
        held.append([])
        durable.append(.zero)
        snapshots.append(nil)
        let number = names.count - 1
        members.append(
            Member(
                genesis: SmallCluster.genesis(founders), configuration: must(Configuration(voters: founders)), recovered: .nothing,
                settings: MemberSettings(id: names[number], version: "test", session: UInt64(number) + 900, contacts: contacts),
                seed: UInt64(number) + 70, now: moment(of: number)))
    }

    /// The process ends and another begins with its journal, of which everything that it knew to be committed is durable.
    func restart(_ member: Int, knows: MachineVersion = .newest) {
        let former = members[member]
        let snapshot = snapshots[member]
        let recovered = Recovered(
            ballot: Ballot(term: former.raft.term, vote: nil), longestPromise: former.settings.timing.promise, base: snapshot?.base,
            entries: Array(former.raft.committedEntries(after: snapshot?.base.index ?? .zero, through: former.raft.commitIndex)),
            snapshot: snapshot?.base.place)
        members[member] = Member(
            genesis: SmallCluster.genesis(founders), configuration: must(Configuration(voters: founders)), recovered: recovered,
            snapshot: snapshot?.state,
            settings: MemberSettings(
                id: names[member], version: "test", knows: knows, session: former.settings.session + 1_000,
                snapshots: former.settings.snapshots),
            seed: UInt64(member) + 50,
            now: moment(of: member))
        held[member] = []
        durable[member] = .zero
        alive[member] = true
    }

    /// Brings every snapshot that was asked for, if whoever offered it still has it.
    func fetch() {
        while !fetches.isEmpty {
            let (member, place, source) = fetches.removeFirst()
            if let found = snapshots[must(names.firstIndex(of: source))], found.base.place == place {
                snapshots[member] = found
                give(.snapshotFetched(found.base, found.state), to: member)
            } else {
                give(.snapshotNotFetched(place, reason: "it is not there"), to: member)
            }
            deliver()
        }
    }

    func sign(_ job: SigningJob, by member: Int) {
        var key: SealedKey?
        if case .dispatcherIdentity = job.obligation.purpose { key = SealedKey(name: "dispatcher", keyVersion: 1, bytes: [1]) }
        let certificate = SignedCertificate(der: [0x30] + job.obligation.serial.bytes, notAfter: job.validity.notAfter, key: key)
        give(.signed(job.obligation.id, job.obligation.serial, .success(certificate)), to: member)
    }

    /// Lets time pass in steps of five milliseconds until the condition holds; false if it never did.
    @discardableResult
    func pass(_ milliseconds: UInt64, until condition: () -> Bool = { false }) -> Bool {
        for _ in 0..<(milliseconds / 5) {
            if condition() { return true }
            now = now + .milliseconds(5)
            for member in members.indices { give(.tick, to: member) }
            deliver()
        }
        return condition()
    }

    var leader: Int? { members.indices.first { alive[$0] && members[$0].holdsLease(at: now) } }

    /// A cluster with an established leader that everybody knows; gives its position and those of the others.
    func elect() -> (leader: Int, others: [Int]) {
        pass(3000) { self.leader != nil && members.indices.allSatisfy { members[$0].isReady(at: now) } }
        let leader = must(self.leader)
        return (leader, members.indices.filter { $0 != leader })
    }

    func reply(to ticket: UInt64) -> Reply? { replies.first { $0.ticket == ticket }?.reply }

    func ask(
        _ operation: ExclusiveOperation, of member: Int, ticket: UInt64, id: String?, milliseconds: UInt64 = 5000,
        principal: Principal = .localUser(uid: 0)
    ) {
        give(
            .request(
                operation, id.flatMap(RequestID.init(client:)), from: principal, deadline: now + .milliseconds(milliseconds), Ticket(ticket)
            ),
            to: member)
        deliver()
    }

    static func issue(_ name: String) -> ExclusiveOperation {
        .command(.issueOperator(must(OperatorName(name)), signingRequest: SigningRequest(der: [0x30, 0x01])))
    }
}
