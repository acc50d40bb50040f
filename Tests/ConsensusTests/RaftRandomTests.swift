// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Seeded runs in which everything goes wrong that may: loss, duplication, reordering, partitions, crashes that lose what was not synced,
// slow disks, clocks at the ends of their bound, transfers. `RaftCluster` checks after every step; at the end all heals and must converge.

import Consensus
import Testing

@Suite("Raft: whatever happens")
struct RaftRandomTests {
    @Test("one leader a term, one log, one lease, nothing committed is lost", arguments: 1...40 as ClosedRange<UInt64>)
    func holds(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let names = [a, b, c, d, e]
        let voters = Array(names.prefix(1 + Int(random.below(5))))
        let learners = voters.count < 5 && random.below(3) == 0 ? [names[voters.count]] : []
        var cluster = RaftCluster(voters: voters, learners: learners, seed: seed)
        for id in cluster.ids {
            // The bound, its opposite, or anything between; set before the first reading matters.
            cluster[id].clockRate = [900, 1000, 1100, 900 + random.below(201)][Int(random.below(4))]
            cluster[id].writesAtOnce = random.below(2) == 0
            cluster.restart(id)
        }
        var proposed = 0
        var reads: UInt64 = 0
        for _ in 0..<4000 {
            let id = cluster.ids[Int(random.below(UInt64(cluster.ids.count)))]
            switch random.below(100) {
            case 0..<45: try deliverSome(&cluster, &random)
            case 45..<70: try pass(random.span(upTo: .milliseconds(8)), &cluster)
            case 70..<80: try cluster.finishWrites(id, count: 1 + Int(random.below(3)))
            case 80..<90:
                guard let leader = cluster.leader else { continue }
                do {
                    try cluster.propose("\(proposed)", at: leader)
                    proposed += 1
                } catch is ProposeFailure { continue }
            case 90..<93:
                guard cluster[id].isUp else { continue }
                reads += 1
                try cluster.read(reads, at: id)
            case 93: if random.below(4) == 0 { cluster.crash(id) }
            case 94..<97: if !cluster[id].isUp { cluster.restart(id) }
            case 97: partition(&cluster, &random)
            case 98: cluster.heal()
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
        let leader = try #require(cluster.leader, "nobody leads after all has healed")
        let index = try cluster.propose("the last", at: leader)
        try cluster.settle()
        for id in cluster.ids { #expect(cluster[id].applied.last?.index == index) }
        try cluster.checkLogMatching()
        #expect(cluster.committed.count > 20, "a run without commits proves nothing")
    }

    private func deliverSome(_ cluster: inout RaftCluster, _ random: inout SeededGenerator) throws {
        for _ in 0..<random.below(8) where !cluster.network.isEmpty {
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
