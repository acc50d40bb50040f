// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One state of the explored cluster, and what may happen in it: any message may arrive, any write may become durable, any due timer may be
// looked at, anybody may die or come back, half a promise may pass; somebody may forget his log behind a snapshot, and one that was offered may
// arrive. Time stands still between these, and all clocks agree: what clocks that disagree may do is in the lengths of lease and promise, and
// the simulator's to try. A snapshot is on disk whole or not at all, and whoever fetches one gets it or dies first.

import Consensus

/// What may happen next.
package enum Step: Hashable, Sendable {
    case deliver(Int)
    case finishWrite(Int)
    case tick(Int)
    case propose(Int)
    case transfer(from: Int, to: Int)
    case crash(Int)
    case restart(Int)
    /// It puts what it has applied into a snapshot, and forgets the log up to there.
    case snapshot(Int)
    /// The snapshot that it fetches is on its disk.
    case install(Int)
    case pass
}

/// How much may still happen; so the search has an end.
package struct Budget: Hashable, Sendable {
    package var proposals = 0
    package var transfers = 0
    package var crashes = 0
    /// Halves of a promise.
    package var passes = 0
    package var snapshots = 0
    package var lastTerm = Term(2)
    package var packets = 5
    package init(
        proposals: Int = 0, transfers: Int = 0, crashes: Int = 0, passes: Int = 0, snapshots: Int = 0, lastTerm: UInt64 = 2,
        packets: Int = 5
    ) {
        self.proposals = proposals
        self.transfers = transfers
        self.crashes = crashes
        self.passes = passes
        self.snapshots = snapshots
        self.lastTerm = Term(lastTerm)
        self.packets = packets
    }
}

package struct Cluster {
    /// No jitter: whoever may act acts when the search lets it. The stall of a journal is out of reach.
    static let timing = Timing(
        promise: .milliseconds(300), heartbeat: halfPromise, electionJitter: .zero, journalStall: .seconds(1_000_000),
        retransmit: halfPromise, electionRetry: halfPromise)
    static let halfPromise = TimeSpan.milliseconds(150)
    static let ids = ["a", "b", "c"].compactMap { MemberID($0) }
    static let configuration: Configuration = {
        guard let configuration = Configuration(voters: ids) else { preconditionFailure("three members are a configuration") }
        return configuration
    }()

    private(set) var nodes: [Node]
    private(set) var network: [Packet] = []
    private(set) var now = Instant.zero + .seconds(1_000)
    private(set) var history: History
    package var budget: Budget

    package init(budget: Budget) {
        self.budget = budget
        history = History(members: Cluster.ids.count)
        nodes = []
        for id in Cluster.ids {
            let raft = LeaseRaft(
                id: id, configuration: Cluster.configuration, recovered: .nothing, timing: Cluster.timing, seed: 1, now: now)
            let node = Node(raft: raft)
            node.takeFingerprint(at: now)
            nodes.append(node)
        }
    }

    /// Two states with the same fingerprint have the same future.
    package var fingerprint: UInt64 {
        var fingerprint = CoreFingerprint()
        for node in nodes { fingerprint.add(node.fingerprint) }
        var sum: UInt64 = 0
        for packet in network { sum &+= packet.fingerprint }
        fingerprint.add(sum)
        for count in [budget.proposals, budget.transfers, budget.crashes, budget.passes, budget.snapshots] {
            fingerprint.add(UInt64(count))
        }
        history.add(at: now, to: &fingerprint)
        return fingerprint.value
    }

    // MARK: What may happen

    package func steps() -> [Step] {
        var steps: [Step] = []
        for place in network.indices where nodes[network[place].to].raft != nil { steps.append(.deliver(place)) }
        for (member, node) in nodes.enumerated() {
            guard let raft = node.raft else {
                steps.append(.restart(member))
                continue
            }
            if !node.pending.isEmpty { steps.append(.finishWrite(member)) }
            if raft.nextDeadline <= now { steps.append(.tick(member)) }
            if budget.crashes > 0 { steps.append(.crash(member)) }
            if budget.snapshots > 0, node.applied > node.disk.snapshot?.index ?? .zero { steps.append(.snapshot(member)) }
            if let fetch = node.fetch, fetch.write <= node.durableWrite { steps.append(.install(member)) }
            guard raft.role == .leader else { continue }
            if budget.proposals > 0 { steps.append(.propose(member)) }
            if budget.transfers > 0 {
                for other in nodes.indices where other != member { steps.append(.transfer(from: member, to: other)) }
            }
        }
        if budget.passes > 0 { steps.append(.pass) }
        return steps
    }

    /// Whether the search goes on from here.
    package var isWithinBounds: Bool {
        network.count <= budget.packets && nodes.allSatisfy { $0.raft.map { $0.term <= budget.lastTerm } ?? true }
    }

    package mutating func take(_ step: Step) throws(Broken) {
        switch step {
        case .deliver(let place):
            let packet = network.remove(at: place)
            try change(packet.to, hearing: packet) { raft, now, effects in
                raft.receive(packet.message, from: Cluster.ids[packet.from], at: now, into: &effects)
            }
        case .finishWrite(let member): try finishWrite(member)
        case .tick(let member): try change(member) { raft, now, effects in raft.tick(at: now, into: &effects) }
        case .propose(let member):
            budget.proposals -= 1
            let payload = [UInt8(budget.proposals + 1)]
            try change(member) { raft, now, effects in _ = try? raft.propose(payload, at: now, into: &effects) }
        case .transfer(let member, let target):
            budget.transfers -= 1
            try change(member) { raft, now, effects in
                try? raft.transferLeadership(to: Cluster.ids[target], at: now, into: &effects)
            }
        case .crash(let member):
            budget.crashes -= 1
            let node = nodes[member].copy()
            node.raft = nil
            node.pending = []
            node.held = []
            node.fetch = nil
            node.log = node.durableLog(history.committed)
            node.takeFingerprint(at: now)
            nodes[member] = node
            history.restarts(member)
        case .restart(let member):
            let node = nodes[member].copy()
            node.durableWrite = .zero
            if let snapshot = node.disk.snapshot { try history.stands(snapshot, at: member) }
            node.raft = LeaseRaft(
                id: Cluster.ids[member], configuration: Cluster.configuration, recovered: node.recover(history.committed),
                timing: Cluster.timing, seed: 1, now: now)
            node.applied = node.disk.snapshot?.index ?? .zero
            node.takeFingerprint(at: now)
            nodes[member] = node
        case .snapshot(let member):
            budget.snapshots -= 1
            guard let base = nodes[member].raft?.base(at: nodes[member].applied) else { return }
            try history.stands(base.place, at: member)
            try change(member, saving: base.place) { raft, now, effects in
                raft.snapshotWasTaken(base.place)
                raft.forget(through: base.index, keepingForOthers: RetentionLimit(entries: 0, bytes: 0), at: now, into: &effects)
            }
        case .install(let member):
            guard let fetch = nodes[member].fetch else { return }
            let base = LogBase(place: fetch.place, configuration: Cluster.configuration)
            try change(member, saving: fetch.place) { raft, now, effects in
                _ = raft.snapshotIsDurable(base, at: now, into: &effects)
            }
        case .pass:
            budget.passes -= 1
            now = now + Cluster.halfPromise
            nodes = nodes.map { $0.copy() }
            for node in nodes { node.takeFingerprint(at: now) }
            try checkLeases()
        }
    }

    /// What is lost on the way.
    mutating func lose(where isLost: (Packet) -> Bool) { network.removeAll(where: isLost) }

    // MARK: A step of a member

    private mutating func change(
        _ member: Int, hearing packet: Packet? = nil, saving snapshot: SnapshotPlace? = nil,
        _ body: (inout LeaseRaft, Instant, inout [ConsensusEffect]) -> Void
    ) throws(Broken) {
        let node = nodes[member].copy()
        guard var raft = node.raft else { return }
        if let snapshot {
            if node.disk.snapshot.map({ $0 < snapshot }) ?? true { node.disk.snapshot = snapshot }
            if node.fetch?.place == snapshot { node.fetch = nil }
        }
        node.raft = nil
        let before = (role: raft.role, term: raft.term, commit: raft.commitIndex)
        var effects: [ConsensusEffect] = []
        body(&raft, now, &effects)
        node.raft = raft
        nodes[member] = node
        try heard(packet, by: member, raft)
        for effect in effects { try carryOut(effect, of: member, node, answering: packet) }
        node.takeFingerprint(at: now)

        if let problem = raft.invariantViolation() { throw Broken("CoreInvariant", "member \(member): \(problem)") }
        if raft.role == .leader, before.role != .leader || before.term != raft.term {
            try history.leads(member, in: raft.term, log: node.log)
        }
        if raft.commitIndex > before.commit {
            try history.commits(
                member, raft.committedEntries(after: raft.logBase.index, through: raft.commitIndex), disks: disks,
                quorum: Cluster.configuration.quorum)
        }
        for (other, otherNode) in nodes.enumerated() where other != member { try Pairwise.logsMatch(node.log, otherNode.log) }
        try checkLeases()
    }

    private mutating func finishWrite(_ member: Int) throws(Broken) {
        let node = nodes[member].copy()
        let (write, id) = node.pending.removeFirst()
        node.disk.apply(write, history.committed)
        node.durableWrite = id
        nodes[member] = node
        let ready = node.held.filter { $0.write <= id }
        node.held.removeAll { $0.write <= id }
        for (packet, _) in ready { try post(packet) }
        try history.stays(disks: disks, quorum: Cluster.configuration.quorum)
        try change(member) { raft, now, effects in raft.wrote(id, at: now, into: &effects) }
    }

    private mutating func heard(_ packet: Packet?, by member: Int, _ raft: LeaseRaft) throws(Broken) {
        guard let packet, raft.term == packet.message.term, raft.leader == Cluster.ids[packet.from] else { return }
        let promise: TimeSpan
        switch packet.message.body {
        case .heartbeat(let heartbeat): promise = heartbeat.promise
        case .append(let append): promise = append.heartbeat.promise
        case .offer(let offer): promise = offer.heartbeat.promise
        default: return
        }
        history.promises(member, to: packet.from, until: now + promise)
    }

    private mutating func carryOut(_ effect: ConsensusEffect, of member: Int, _ node: Node, answering packet: Packet?) throws(Broken) {
        switch effect {
        case .write(let write, let id):
            if let base = write.base {
                try history.stands(base.place, at: member)
                node.applied = base.index
            }
            node.log.apply(write, history.committed)
            node.pending.append((write, id))
        case .send(let message, let to, let gate):
            guard let target = Cluster.ids.firstIndex(of: to) else { return }
            let sent = Packet(from: member, to: target, message: message)
            try judge(sent, answering: packet)
            if case .durable(let write) = gate, write > node.durableWrite {
                node.held.append((sent, write))
            } else {
                try post(sent)
            }
        case .commit(let index): node.applied = index
        case .fetchSnapshot(let place, _, let gate):
            try history.stands(place, at: member)
            if case .durable(let write) = gate { node.fetch = (place, write) } else { node.fetch = (place, node.durableWrite) }
        case .roleChanged, .leadershipEstablished, .readReady, .transferFailed: break
        }
    }

    /// Decided now, whenever it leaves.
    private mutating func judge(_ sent: Packet, answering packet: Packet?) throws(Broken) {
        switch sent.message.body {
        case .heartbeat(let heartbeat): history.promises(sent.from, to: sent.from, until: now + heartbeat.promise)
        case .append(let append): history.promises(sent.from, to: sent.from, until: now + append.heartbeat.promise)
        case .offer(let offer): history.promises(sent.from, to: sent.from, until: now + offer.heartbeat.promise)
        case .voteAnswer(let answer) where answer.granted:
            if case .voteRequest(let request)? = packet?.message.body, request.transfer != nil { return }
            try history.helps(sent.from, sent.to, at: now)
        case .voteRequest(let request) where request.transfer == nil: try history.helps(sent.from, sent.from, at: now)
        default: break
        }
    }

    private mutating func post(_ packet: Packet) throws(Broken) {
        try history.sends(packet)
        network.removeAll { packet.replaces($0) }
        network.append(packet)
    }

    /// The logs that the members would start with, whole.
    private var disks: [[Entry]] { nodes.map { $0.durableLog(history.committed) } }

    private func checkLeases() throws(Broken) {
        var holder: Int?
        for (member, node) in nodes.enumerated() where node.raft?.lease(at: now) != nil {
            if let holder { throw Broken("LeaseExclusivity", "members \(holder) and \(member) hold a lease at once") }
            holder = member
        }
        guard let holder, let term = nodes[holder].raft?.term else { return }
        for (member, node) in nodes.enumerated() where member != holder {
            if let raft = node.raft, raft.role == .leader, raft.term > term {
                throw Broken(
                    "LeaseExclusivity", "member \(member) leads term \(raft.term) while member \(holder) holds the lease of term \(term)")
            }
        }
    }

    // MARK: Words

    package func words(for step: Step) -> String {
        switch step {
        case .deliver(let place): "\(network[place].from) → \(network[place].to): \(network[place].message.words)"
        case .finishWrite(let member): "a write of \(member) is durable"
        case .tick(let member): "\(member) looks at its timer"
        case .propose(let member): "\(member) is given a proposal"
        case .transfer(let member, let target): "\(member) is to hand leadership to \(target)"
        case .crash(let member): "\(member) dies"
        case .restart(let member): "\(member) starts again"
        case .snapshot(let member): "\(member) has a snapshot behind \(nodes[member].applied), and forgets its log up to there"
        case .install(let member): "\(member) has the snapshot behind \(nodes[member].fetch.map { "\($0.place)" } ?? "nothing") on disk"
        case .pass: "half a promise passes"
        }
    }

    /// A line that says how all stand.
    package var summary: String {
        nodes.map { node in
            guard let raft = node.raft else { return "down (\(node.disk.ballot.term)/\(node.disk.entries.count))" }
            let base = raft.logBase.index > .zero ? " base \(raft.logBase.index)" : ""
            return
                "\(raft.role) t\(raft.term) log \(node.log.map { "\($0.term)" }.joined(separator: ",")) commit \(raft.commitIndex)\(base)"
        }.joined(separator: " | ")
    }
}
