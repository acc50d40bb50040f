// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A network of `LeaseRaft` values for the tests beside it: virtual time, messages that the test may hold, drop and replay, writes that
// complete when the test says so. After every step it checks each member's invariants and what must hold between members.

import Consensus

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func member(_ name: String) -> MemberID { MemberID(name)! }

let a = member("a")
let b = member("b")
let c = member("c")
let d = member("d")
let e = member("e")

/// One member with its disk and what it was seen to do.
struct Node {
    var raft: LeaseRaft
    var isUp = true
    /// When false, writes stay pending until `finishWrites`.
    var writesAtOnce = true
    var pendingWrites: [(write: JournalWrite, id: WriteID)] = []
    var heldSends: [(message: Message, to: MemberID, write: WriteID)] = []
    var durableWrite = WriteID.zero
    /// What the disk holds.
    var disk = Recovered.nothing
    var starts: UInt64 = 0

    var applied: [Entry] = []
    var established: [Term] = []
    var steppedDown: [StepDownReason] = []
    var failedTransfers: [MemberID] = []
    var reads: [(token: ReadToken, index: LogIndex?)] = []
    /// How fast this member's clock runs, in thousandths of true time.
    var clockRate: UInt64 = 1000
    /// What had been applied anywhere when each read was asked for.
    var readFloors: [(token: ReadToken, floor: Int)] = []
    /// The log as this member sees it: what is on the disk and what is on its way.
    var log: [Entry] {
        var seen = disk
        for pending in pendingWrites { seen.apply(pending.write) }
        return seen.entries
    }
}

struct InFlightMessage {
    let message: Message
    let from: MemberID
    let to: MemberID
}

struct RaftCluster {
    let configuration: Configuration
    let timing: Timing
    let seed: UInt64
    /// True time.
    var now = Instant.zero + .seconds(1000)
    var nodes: [Node] = []
    let ids: [MemberID]
    /// In the order in which they were sent.
    var network: [InFlightMessage] = []
    /// Messages for which this is true vanish.
    var drops: (InFlightMessage) -> Bool = { _ in false }
    /// Everything that was ever sent through its gate.
    var sent: [InFlightMessage] = []
    var keepsSent = false
    private var leaderOfTerm: [(term: Term, leader: MemberID)] = []
    /// The log that was committed anywhere.
    private(set) var committed: [Entry] = []

    /// - Parameter outsiders: members that run and stand in no configuration yet.
    init(voters: [MemberID], learners: [MemberID] = [], outsiders: [MemberID] = [], timing: Timing = Timing(), seed: UInt64 = 1) {
        configuration = Configuration(voters: voters, learners: learners)!
        self.timing = timing
        self.seed = seed
        ids = configuration.members + outsiders
        for id in ids {
            let raft = LeaseRaft(
                id: id, configuration: configuration, recovered: .nothing, timing: timing, seed: RaftCluster.seed(seed, id, 0), now: now)
            nodes.append(Node(raft: raft))
        }
    }

    private static func seed(_ seed: UInt64, _ id: MemberID, _ start: UInt64) -> UInt64 {
        seed &* 1_000_003 &+ UInt64(id.name.utf8.first!) &* 7919 &+ start
    }

    /// What the member's own clock shows.
    func clock(_ id: MemberID) -> Instant {
        let rate = self[id].clockRate
        return Instant(nanosecondsSinceBoot: rate == 1000 ? now.nanosecondsSinceBoot : now.nanosecondsSinceBoot / 1000 * rate)
    }

    func position(_ id: MemberID) -> Int { ids.firstIndex(of: id)! }

    subscript(id: MemberID) -> Node {
        get { nodes[position(id)] }
        set { nodes[position(id)] = newValue }
    }

    var leader: MemberID? {
        ids.filter { self[$0].isUp && self[$0].raft.role == .leader }.max { self[$0].raft.term < self[$1].raft.term }
    }

    // MARK: Steps

    /// Runs one step of a member and carries out what it asks for.
    @discardableResult
    mutating func step<Result>(
        _ id: MemberID, _ body: (inout LeaseRaft, Instant, inout [ConsensusEffect]) throws -> Result
    ) throws -> Result {
        var effects: [ConsensusEffect] = []
        let position = position(id)
        let result = try body(&nodes[position].raft, clock(id), &effects)
        try carryOut(effects, of: position)
        try check(position)
        if nodes[position].writesAtOnce { try finishWrites(id) }
        return result
    }

    mutating func tick(_ id: MemberID) throws { try step(id) { $0.tick(at: $1, into: &$2) } }

    @discardableResult
    mutating func propose(_ text: String, at id: MemberID) throws -> LogIndex {
        try step(id) { try $0.propose(Array(text.utf8), at: $1, into: &$2).index }
    }

    @discardableResult
    mutating func change(to voters: [MemberID], learners: [MemberID] = [], at id: MemberID) throws -> LogIndex {
        let configuration = Configuration(voters: voters, learners: learners)!
        return try step(id) { try $0.propose([], changing: configuration, at: $1, into: &$2).index }
    }

    mutating func transfer(from: MemberID, to: MemberID) throws {
        try step(from) { try $0.transferLeadership(to: to, at: $1, into: &$2) }
    }

    mutating func read(_ number: UInt64, at id: MemberID) throws {
        nodes[position(id)].readFloors.append((ReadToken(number), committed.count))
        try step(id) { $0.requestRead(ReadToken(number), at: $1, into: &$2) }
    }

    /// The oldest `count` pending writes reach the disk (all, without a count); what they gated leaves.
    mutating func finishWrites(_ id: MemberID, count: Int = .max) throws {
        let position = position(id)
        var left = count
        while left > 0, nodes[position].isUp, !nodes[position].pendingWrites.isEmpty {
            left -= 1
            let (write, writeID) = nodes[position].pendingWrites.removeFirst()
            nodes[position].disk.apply(write)
            nodes[position].durableWrite = writeID
            let ready = nodes[position].heldSends.filter { $0.write <= writeID }
            nodes[position].heldSends.removeAll { $0.write <= writeID }
            for held in ready { post(InFlightMessage(message: held.message, from: id, to: held.to)) }
            var effects: [ConsensusEffect] = []
            nodes[position].raft.wrote(writeID, at: clock(id), into: &effects)
            try carryOut(effects, of: position)
            try check(position)
        }
    }

    mutating func deliver(_ message: InFlightMessage) throws {
        guard self[message.to].isUp else { return }
        try step(message.to) { $0.receive(message.message, from: message.from, at: $1, into: &$2) }
    }

    /// Delivers what is on the network until nothing is.
    mutating func settle() throws {
        var steps = 0
        while !network.isEmpty {
            steps += 1
            if steps > 100_000 { throw Failure("messages never end") }
            try deliver(network.removeFirst())
        }
    }

    /// Lets time pass, ticking every member when it is due and delivering at once.
    mutating func run(for span: TimeSpan) throws { try run(for: span) { _ in false } }

    mutating func run(for span: TimeSpan, until done: (RaftCluster) -> Bool) throws {
        let end = now + span
        var overdue = 0
        try settle()
        while !done(self) {
            guard let due = ids.filter({ self[$0].isUp }).map({ self[$0].raft.nextDeadline }).min(), due <= end else {
                now = max(now, end)
                return
            }
            overdue = due <= now ? overdue + 1 : 0
            if overdue > 10 { throw Failure("a tick at the deadline makes no progress") }
            now = max(now, due)
            for id in ids where self[id].isUp && self[id].raft.nextDeadline <= now { try tick(id) }
            try settle()
        }
    }

    @discardableResult
    mutating func elect() throws -> MemberID {
        try run(for: .seconds(20)) { cluster in
            guard let leader = cluster.leader else { return false }
            return cluster[leader].established.contains(cluster[leader].raft.term)
        }
        guard let leader else { throw Failure("nobody was elected") }
        return leader
    }

    /// Cuts a member off in both directions.
    mutating func isolate(_ ids: MemberID...) {
        drops = { ids.contains($0.from) != ids.contains($0.to) }
    }
    mutating func heal() { drops = { _ in false } }

    mutating func crash(_ id: MemberID) {
        let position = position(id)
        nodes[position].isUp = false
        nodes[position].pendingWrites = []
        nodes[position].heldSends = []
        nodes[position].readFloors = []
    }

    mutating func restart(_ id: MemberID) {
        let position = position(id)
        nodes[position].isUp = true
        nodes[position].starts += 1
        nodes[position].applied = []
        nodes[position].durableWrite = .zero
        nodes[position].raft = LeaseRaft(
            id: id, configuration: configuration, recovered: nodes[position].disk, timing: timing,
            seed: RaftCluster.seed(seed, id, nodes[position].starts), now: clock(id))
    }

    // MARK: Effects

    private mutating func post(_ message: InFlightMessage) {
        if keepsSent { sent.append(message) }
        if !drops(message) { network.append(message) }
    }

    private mutating func carryOut(_ effects: [ConsensusEffect], of position: Int) throws {
        let id = ids[position]
        for effect in effects {
            switch effect {
            case .write(let write, let writeID):
                nodes[position].pendingWrites.append((write, writeID))
            case .send(let message, let to, let gate):
                if case .durable(let write) = gate, write > nodes[position].durableWrite {
                    nodes[position].heldSends.append((message, to, write))
                } else {
                    post(InFlightMessage(message: message, from: id, to: to))
                }
            case .roleChanged(let role, let term, _, let reason):
                if let reason { nodes[position].steppedDown.append(reason) }
                if role == .leader { try electionSafety(term: term, leader: id) }
            case .leadershipEstablished(let term):
                guard let last = nodes[position].applied.last, last.term == term else {
                    throw Failure("\(id) is established without an applied entry of term \(term)")
                }
                nodes[position].established.append(term)
            case .commit(let through):
                let after = LogIndex(UInt64(nodes[position].applied.count))
                let entries = Array(nodes[position].raft.committedEntries(after: after, through: through))
                nodes[position].applied += entries
                for entry in entries { try stateMachineSafety(entry, at: id) }
                if nodes[position].disk.entries.count < Int(through.position) { throw Failure("\(id) applies beyond its disk") }
            case .readReady(let token, let index):
                nodes[position].reads.append((token, index))
                guard let asked = nodes[position].readFloors.firstIndex(where: { $0.token == token }) else {
                    throw Failure("\(id) answers a read that nobody asked for")
                }
                let floor = nodes[position].readFloors.remove(at: asked).floor
                if let index, index.position < UInt64(floor) { throw Failure("\(id) answers a read at \(index), behind \(floor)") }
            case .transferFailed(let target): nodes[position].failedTransfers.append(target)
            case .fetchSnapshot(let place, _, _): throw Failure("\(id) wants the snapshot behind \(place), and nobody has any")
            }
        }
    }

    // MARK: What must hold between members

    /// At most one leader in a term (paper, figure 3).
    private mutating func electionSafety(term: Term, leader: MemberID) throws {
        if let other = leaderOfTerm.first(where: { $0.term == term })?.leader, other != leader {
            throw Failure("\(other) and \(leader) both lead term \(term)")
        }
        leaderOfTerm.append((term, leader))
        // Leader completeness: what was committed stands in the log of every later leader.
        guard self[leader].log.starts(with: committed) else { throw Failure("\(leader) leads term \(term) without what was committed") }
    }

    private mutating func stateMachineSafety(_ entry: Entry, at id: MemberID) throws {
        let offset = Int(entry.index.position) - 1
        if offset < committed.count {
            guard committed[offset] == entry else { throw Failure("\(id) applies another entry at \(entry.index)") }
        } else {
            guard offset == committed.count else { throw Failure("\(id) skips entries before \(entry.index)") }
            committed.append(entry)
        }
    }

    private mutating func check(_ position: Int) throws {
        if let violation = nodes[position].raft.invariantViolation() { throw Failure("\(ids[position]): \(violation)") }
        // An effect may leave up to `effectAge` after the instant for which the lease was asked.
        let holders = ids.filter {
            let age = timing.effectAge.nanoseconds / 1000 * self[$0].clockRate
            return self[$0].isUp && self[$0].raft.lease(at: Instant(nanosecondsSinceBoot: clock($0).nanosecondsSinceBoot - age)) != nil
        }
        if holders.count > 1 { throw Failure("\(holders) hold a lease at once") }
    }

    /// Two logs that hold an entry of the same index and term are equal up to it (paper, section 5.3).
    func checkLogMatching() throws {
        for left in nodes {
            for right in nodes {
                let count = min(left.disk.entries.count, right.disk.entries.count)
                var agree = false
                for offset in (0..<count).reversed() {
                    if left.disk.entries[offset].term == right.disk.entries[offset].term { agree = true }
                    if agree, left.disk.entries[offset] != right.disk.entries[offset] { throw Failure("logs differ at \(offset + 1)") }
                }
            }
        }
    }
}

extension Recovered {
    mutating func apply(_ write: JournalWrite) {
        ballot = write.ballot ?? ballot
        longestPromise = write.longestPromise ?? longestPromise
        if let from = write.truncateFrom { entries.removeLast(entries.count - Int(from.position) + 1) }
        entries += write.entries
    }
}
