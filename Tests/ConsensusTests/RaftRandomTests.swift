// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Seeded runs in which everything goes wrong that may: loss, duplication, reordering, partitions, crashes that lose what was not synced,
// slow disks, clocks at the ends of their bound, transfers. `RaftCluster` checks after every step; at the end all heals and must converge.

import Consensus
import Testing

@Suite("Raft: whatever happens")
struct RaftRandomTests {
    /// What happened in some runs, so that runs in which nothing happens cannot pass for a proof.
    struct Tally {
        var committed = 0
        var established = 0
        var lostLeaders = 0
        var transfers = 0
        var crashes: UInt64 = 0
        var reads = 0
        var changes = 0
        var removedLeaders = 0
    }

    @Test("one leader a term, one log, one lease, nothing committed is lost", arguments: [1...10, 11...20, 21...30, 31...40])
    func holds(seeds: ClosedRange<UInt64>) throws {
        var tally = Tally()
        for seed in seeds {
            do { try run(seed, &tally) } catch { throw Failure("seed \(seed): \(error)") }
        }
        #expect(tally.committed > 500)
        #expect(tally.established > 50)
        #expect(tally.lostLeaders > 20)
        #expect(tally.transfers > 5)
        #expect(tally.crashes > 100)
        #expect(tally.reads > 100)
    }

    @Test("the same while members come and go", arguments: [1...10, 11...20, 21...30, 31...40])
    func holdsWithChanges(seeds: ClosedRange<UInt64>) throws {
        var tally = Tally()
        for seed in seeds {
            do { try run(seed, changingMembers: true, &tally) } catch { throw Failure("seed \(seed): \(error)") }
        }
        #expect(tally.committed > 500)
        #expect(tally.changes > 100)
        #expect(tally.removedLeaders > 3)
        #expect(tally.established > 50)
        #expect(tally.crashes > 100)
        #expect(tally.reads > 100)
    }

    /// Another member or one fewer, a learner made a voter or a voter a learner.
    private func change(of current: Configuration, among ids: [MemberID], _ random: inout SeededGenerator) -> Configuration? {
        let id = ids[Int(random.below(UInt64(ids.count)))]
        let (voters, learners) = (current.voters.filter { $0 != id }, current.learners.filter { $0 != id })
        if current.isVoter(id) { return Configuration(voters: voters, learners: random.below(3) == 0 ? learners + [id] : learners) }
        let isLearner = current.learners.contains(id)
        return Configuration(
            voters: isLearner || random.below(4) == 0 ? voters + [id] : voters,
            learners: isLearner || random.below(4) != 0 ? learners : learners + [id])
    }

    private func run(_ seed: UInt64, changingMembers: Bool = false, _ tally: inout Tally) throws {
        var random = SeededGenerator(seed: seed)
        let names = [a, b, c, d, e]
        let voters = Array(names.prefix(1 + Int(random.below(5))))
        let learners = voters.count < 5 && random.below(3) == 0 ? [names[voters.count]] : []
        let outsiders = changingMembers ? names.filter { !voters.contains($0) && !learners.contains($0) } : []
        var cluster = RaftCluster(voters: voters, learners: learners, outsiders: outsiders, seed: seed)
        for id in cluster.ids {
            // The bound, its opposite, or anything between; set before the first reading matters.
            cluster[id].clockRate = [900, 1000, 1100, 900 + random.below(201)][Int(random.below(4))]
            cluster[id].writesAtOnce = random.below(2) == 0
            cluster.restart(id)
        }
        // Some runs on a slow network, where answers are old when they arrive; some where members hardly ever stay up.
        let deliveries = 3 + random.below(8)
        let pace = TimeSpan.milliseconds(2 + random.below(16))
        let crashes = 1 + random.below(4)
        var proposed = 0
        var reads: UInt64 = 0
        for _ in 0..<10_000 {
            let id = cluster.ids[Int(random.below(UInt64(cluster.ids.count)))]
            switch random.below(100) {
            case 0..<40: try deliverSome(&cluster, upTo: deliveries, &random)
            case 40..<60: try pass(random.span(upTo: pace), &cluster)
            case 60..<78: try cluster.finishWrites(id, count: 1 + Int(random.below(3)))
            case 78..<86:
                guard let leader = cluster.leader else { continue }
                do {
                    if changingMembers, random.below(4) == 0,
                        let change = change(of: cluster[leader].raft.configuration, among: cluster.ids, &random)
                    {
                        try cluster.change(to: change.voters, learners: change.learners, at: leader)
                        tally.changes += 1
                        continue
                    }
                    try cluster.propose("\(proposed)", at: leader)
                    proposed += 1
                } catch is ProposeFailure { continue }
            case 86..<89:
                guard cluster[id].isUp else { continue }
                reads += 1
                try cluster.read(reads, at: id)
            case 89: if random.below(4) < crashes { cluster.crash(id) }
            case 90..<94: if !cluster[id].isUp { cluster.restart(id) }
            case 94: partition(&cluster, &random)
            case 95..<98: cluster.heal()
            default:
                guard let leader = cluster.leader else { continue }
                do { try cluster.transfer(from: leader, to: id) } catch is ProposeFailure { continue }
            }
        }
        // All heals: it must converge and go on.
        cluster.heal()
        for id in cluster.ids {
            if !cluster[id].isUp { cluster.restart(id) }
            cluster[id].writesAtOnce = true
            try cluster.finishWrites(id)
        }
        let end = cluster.now + .seconds(10)
        while cluster.now < end {
            try pass(.milliseconds(5), &cluster)
            try cluster.settle()
        }
        guard let leader = cluster.leader else { throw Failure("nobody leads after all has healed") }
        let index = try cluster.propose("the last", at: leader)
        try cluster.settle()
        for id in cluster[leader].raft.configuration.members where cluster[id].applied.last?.index != index {
            throw Failure("\(id) did not catch up")
        }
        try cluster.checkLogMatching()
        tally.committed += cluster.committed.count
        for node in cluster.nodes {
            tally.established += node.established.count
            tally.lostLeaders += node.steppedDown.count
            tally.removedLeaders += node.steppedDown.count { $0 == .removed }
            tally.transfers += node.steppedDown.count { $0 == .transferred }
            tally.crashes += node.starts
            tally.reads += node.reads.count { $0.index != nil }
        }
    }

    private func deliverSome(_ cluster: inout RaftCluster, upTo count: UInt64, _ random: inout SeededGenerator) throws {
        for _ in 0..<random.below(count) where !cluster.network.isEmpty {
            // Mostly in order, sometimes from anywhere.
            let bound = random.below(4) == 0 ? cluster.network.count : min(3, cluster.network.count)
            let position = Int(random.below(UInt64(bound)))
            let message = random.below(20) == 0 ? cluster.network[position] : cluster.network.remove(at: position)
            if random.below(20) == 0 { continue }
            try cluster.deliver(message)
        }
        if cluster.network.count > 400 { cluster.network.removeFirst(cluster.network.count - 400) }
    }

    private func pass(_ span: TimeSpan, _ cluster: inout RaftCluster) throws {
        cluster.now = cluster.now + span
        for id in cluster.ids where cluster[id].isUp && cluster[id].raft.nextDeadline <= cluster.clock(id) { try cluster.tick(id) }
    }

    private func partition(_ cluster: inout RaftCluster, _ random: inout SeededGenerator) {
        let cut = cluster.ids.filter { _ in random.below(3) == 0 }
        let isOneWay = random.below(3) == 0
        cluster.drops = { message in
            isOneWay ? cut.contains(message.from) && !cut.contains(message.to) : cut.contains(message.from) != cut.contains(message.to)
        }
    }
}
