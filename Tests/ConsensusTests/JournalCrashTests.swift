// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Power cuts at every operation of a journal's life, with whatever had not been synchronized lost, torn and reordered by the seed.

import Consensus
import Simulation
import Testing

@Suite("A journal after a power cut")
struct JournalCrashTests {
    /// What a journal must give back (`acknowledged`), and what it may have been on the way to (`attempted`).
    private struct Expectation {
        var states: [Recovered] = [.nothing]
        /// The place in `states` of what was flushed last.
        var acknowledged = 0
    }

    /// Does the same things in every life with the same seed, until the power fails. The writes draw on `seed`.
    private func live(on disk: inout SimulatedDisk, seed: UInt64) throws -> Expectation {
        var expectation = Expectation()
        var generator = SeededGenerator(seed: seed)
        var journal = try Journal.open(on: disk, layout: JournalFixture.layout).journal
        var state = Recovered.nothing
        defer { disk = journal.disk }
        for round in 1...14 as ClosedRange<UInt64> {
            for _ in 0...generator.below(3) {
                let write = Self.write(after: state, round: round, using: &generator)
                do { try journal.append(write) } catch { return Self.adding(write, to: state, expectation) }
                state = Self.applying(write, to: state)
                expectation.states.append(state)
                // Now and then a write reaches the disk ahead of its flush.
                if generator.below(4) == 0 {
                    do { try journal.write() } catch { return expectation }
                }
            }
            do {
                try journal.flush()
                if generator.below(4) == 0 {
                    expectation.acknowledged = expectation.states.count - 1
                    try journal.settle()
                }
            } catch { return expectation }
            expectation.acknowledged = expectation.states.count - 1
        }
        return expectation
    }

    private static func adding(_ write: JournalWrite, to state: Recovered, _ expectation: Expectation) -> Expectation {
        var expectation = expectation
        expectation.states.append(applying(write, to: state))
        return expectation
    }

    private static func write(after state: Recovered, round: UInt64, using generator: inout SeededGenerator) -> JournalWrite {
        var write = JournalWrite()
        if generator.below(3) == 0 {
            write.ballot = Ballot(term: Term(round), vote: generator.below(2) == 0 ? nil : JournalFixture.genesis.member)
        }
        if generator.below(5) == 0 { write.longestPromise = .milliseconds(100 * round) }
        var next = UInt64(state.entries.count) + 1
        if next > 3, generator.below(4) == 0 {
            next -= 1 + generator.below(2)
            write.truncateFrom = LogIndex(next)
        }
        let count = generator.below(4)
        if count > 0 {
            write.entries = JournalFixture.entries(next...next + count - 1, term: round, payloadBytes: Int(generator.below(700)))
        }
        return write
    }

    private static func applying(_ write: JournalWrite, to state: Recovered) -> Recovered {
        var state = state
        if let ballot = write.ballot { state.ballot = ballot }
        if let promise = write.longestPromise { state.longestPromise = promise }
        if let index = write.truncateFrom { state.entries.removeSubrange(Int(index.position) - 1..<state.entries.count) }
        state.entries += write.entries
        return state
    }

    /// Operations of one whole life.
    private func operations(seed: UInt64) throws -> UInt64 {
        var disk = try Journal.create(on: SimulatedDisk(seed: seed), genesis: JournalFixture.genesis, layout: JournalFixture.layout)
        let before = disk.counts.operations
        _ = try live(on: &disk, seed: seed)
        return disk.counts.operations - before
    }

    @Test("gives back all that was flushed, and of the rest whole writes only", arguments: 1...40 as ClosedRange<UInt64>)
    func crashAtEveryOperation(seed: UInt64) throws {
        let total = try operations(seed: seed)
        var counts = SimulatedDisk.Counts()
        // Every fourth operation in each seed, beginning elsewhere in each: all of them over four seeds.
        for operation in stride(from: 20 + seed % 4, through: total, by: 4) {
            var disk = try Journal.create(
                on: SimulatedDisk(seed: seed &* 7919 &+ operation), genesis: JournalFixture.genesis, layout: JournalFixture.layout)
            disk.faults.operationsUntilPowerFails = operation
            let expectation = try live(on: &disk, seed: seed)
            disk.crash()

            // The power may fail again while the journal is being opened, and again.
            for interruption in 1...2 as ClosedRange<UInt64> {
                disk.faults.operationsUntilPowerFails = 8 + interruption * (operation % 5)
                do throws(JournalRefusal) { _ = try Journal.open(on: &disk, layout: JournalFixture.layout) } catch {
                    guard case .disk = error else {
                        Issue.record("seed \(seed), operation \(operation): refused after a power cut: \(error)")
                        return
                    }
                }
                disk.crash()
            }

            var opened = try Journal.open(on: disk, layout: JournalFixture.layout)
            let place = expectation.states[expectation.acknowledged...].firstIndex(of: opened.recovered)
            #expect(
                place != nil,
                "seed \(seed), operation \(operation): what came back is no state between what was flushed and what was appended")

            // And it goes on from there.
            let next = UInt64(opened.recovered.entries.count) + 1
            let more = JournalFixture.entries(next...next + 2, term: 99)
            try opened.journal.append(JournalWrite(entries: more))
            try opened.journal.flush()
            disk = opened.journal.disk
            disk.crash()
            let again = try Journal.open(on: disk, layout: JournalFixture.layout)
            #expect(again.recovered.entries == opened.recovered.entries + more, "seed \(seed), operation \(operation)")
            counts.lossyCrashes += disk.counts.lossyCrashes
            counts.tornSectors += disk.counts.tornSectors
            counts.namesUndone += disk.counts.namesUndone
        }
        #expect(counts.lossyCrashes > 0 && counts.tornSectors > 0, "the crashes were to tear something: \(counts)")
    }

    @Test("while it was being made is none, or whole", arguments: 1...60 as ClosedRange<UInt64>)
    func crashDuringCreation(seed: UInt64) throws {
        var operation: UInt64 = 0
        var created = false
        while !created {
            operation += 1
            var disk = SimulatedDisk(seed: seed &* 104_729 &+ operation)
            disk.faults.operationsUntilPowerFails = operation
            do throws(DiskFailure) {
                try Journal.create(on: &disk, genesis: JournalFixture.genesis, layout: JournalFixture.layout)
                created = true
            } catch {}
            disk.crash()
            do throws(JournalRefusal) {
                #expect(try Journal.open(on: disk, layout: JournalFixture.layout).recovered == .nothing)
            } catch {
                #expect(error == .missing, "operation \(operation)")
                #expect(!created, "operation \(operation)")
                try Journal.create(on: &disk, genesis: JournalFixture.genesis, layout: JournalFixture.layout)
                #expect(try Journal.open(on: disk, layout: JournalFixture.layout).recovered == .nothing)
            }
        }
        #expect(operation > 10)
    }

    @Test("of its process alone counts what the process had written as durable only after synchronizing it")
    func killedProcess() throws {
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(entries: JournalFixture.entries(1...5, term: 1, payloadBytes: 200)))
        try journal.write()
        #expect(journal.disk.hasUnsynchronized)
        let opened = try JournalFixture.reopen(journal)
        #expect(opened.recovered.entries.count == 5)
        #expect(!opened.journal.disk.hasUnsynchronized)
    }
}
