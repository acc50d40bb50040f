// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The journal's promises when the disk is well: what was flushed comes back, in order, across segments; and what it refuses to open.

import Consensus
import Simulation
import Testing

@Suite("The journal")
struct JournalTests {
    @Test("gives back the genesis, the ballot, the promise and the log that were flushed")
    func reopens() throws {
        var journal = try JournalFixture.fresh()
        let ballot = Ballot(term: Term(7), vote: MemberID("b"))
        try journal.append(
            JournalWrite(ballot: ballot, longestPromise: .milliseconds(300), entries: JournalFixture.entries(1...3, term: 7)))
        try journal.append(JournalWrite(entries: JournalFixture.entries(4...4, term: 7)))
        try journal.flush()

        let opened = try Journal.open(on: journal.disk, layout: JournalFixture.layout)
        #expect(opened.genesis == JournalFixture.genesis)
        #expect(opened.recovered.ballot == ballot)
        #expect(opened.recovered.longestPromise == .milliseconds(300))
        #expect(opened.recovered.entries == JournalFixture.entries(1...4, term: 7))
    }

    @Test("gives back nothing from a member that has only been born")
    func newborn() throws {
        let opened = try Journal.open(on: try JournalFixture.fresh().disk, layout: JournalFixture.layout)
        #expect(opened.recovered == .nothing)
    }

    @Test("keeps a vote apart from the absence of one")
    func ballotWithoutVote() throws {
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(ballot: Ballot(term: Term(2), vote: MemberID("a"))))
        try journal.append(JournalWrite(ballot: Ballot(term: Term(3), vote: nil)))
        try journal.flush()
        #expect(try JournalFixture.reopen(journal).recovered.ballot == Ballot(term: Term(3), vote: nil))
    }

    @Test("forgets what was truncated and keeps what was appended in its place")
    func truncates() throws {
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(entries: JournalFixture.entries(1...9, term: 1)))
        try journal.flush()
        try journal.append(JournalWrite(truncateFrom: LogIndex(4), entries: JournalFixture.entries(4...5, term: 2)))
        try journal.flush()
        #expect(
            try JournalFixture.reopen(journal).recovered.entries
                == JournalFixture.entries(1...3, term: 1) + JournalFixture.entries(4...5, term: 2))
    }

    @Test("goes on behind what it gave back, many times over, across segments")
    func manyLives() throws {
        var journal = try JournalFixture.fresh()
        var expected: [Entry] = []
        for life in 1...60 {
            let next = UInt64(expected.count) + 1
            let entries = JournalFixture.entries(next...next + UInt64(life % 3), term: UInt64(life), payloadBytes: life * 7)
            expected += entries
            try journal.append(JournalWrite(entries: entries))
            try journal.flush()
            if life % 4 == 0 { try journal.settle() }
            let opened = try JournalFixture.reopen(journal)
            #expect(opened.recovered.entries == expected)
            journal = opened.journal
        }
        #expect(try journal.disk.list().count > 4, "the test was to cross segments")
    }

    @Test(
        "holds entries of every size around the borders of its sectors",
        arguments: [0, 1, 7, 8, 9, 415, 416, 417, 431, 432, 433, 503, 504, 505, 1700])
    func sizes(payloadBytes: Int) throws {
        var journal = try JournalFixture.fresh()
        let entries = JournalFixture.entries(1...4, term: 1, payloadBytes: payloadBytes)
        for entry in entries {
            try journal.append(JournalWrite(entries: [entry]))
            try journal.flush()
        }
        #expect(try JournalFixture.reopen(journal).recovered.entries == entries)
    }

    @Test("divides a write that is larger than a segment")
    func largeWrite() throws {
        var journal = try JournalFixture.fresh()
        let entries = JournalFixture.entries(1...40, term: 1, payloadBytes: 300)
        try journal.append(JournalWrite(entries: entries))
        try journal.flush()
        #expect(try JournalFixture.reopen(journal).recovered.entries == entries)
    }

    @Test("holds entries of the greatest size in segments of the standard size")
    func greatestEntries() throws {
        var journal = try JournalFixture.fresh(layout: .standard)
        let entries = JournalFixture.entries(1...20, term: 1, payloadBytes: Entry.payloadLimit)
        for entry in entries { try journal.append(JournalWrite(entries: [entry])) }
        try journal.flush()
        #expect(try JournalFixture.reopen(journal).recovered.entries == entries)
    }

    @Test("synchronizes once for many appends")
    func groupCommit() throws {
        var journal = try JournalFixture.fresh(layout: .standard)
        let before = journal.disk.counts
        for entry in JournalFixture.entries(1...100, term: 1) { try journal.append(JournalWrite(entries: [entry])) }
        try journal.flush()
        #expect(journal.disk.counts.synchronizations == before.synchronizations + 1)
        #expect(journal.disk.counts.writes == before.writes + 1)
        try journal.flush()
        #expect(journal.disk.counts.synchronizations == before.synchronizations + 1, "with nothing new there is nothing to synchronize")
    }

    @Test("goes on after a disk that was full has space again, having taken nothing of the write that it refused")
    func fullDisk() throws {
        var journal = try JournalFixture.fresh()
        journal.disk.faults.capacityBytes = UInt64(2 * JournalFixture.layout.segmentBytes)
        var expected: [Entry] = []
        var refusals = 0
        for number in 1...60 as ClosedRange<UInt64> {
            let entry = JournalFixture.entries(number...number, term: 1, payloadBytes: 100)
            do throws(DiskFailure) {
                try journal.append(JournalWrite(entries: entry))
            } catch {
                #expect(error == .full)
                refusals += 1
                journal.disk.faults.capacityBytes += UInt64(4 * JournalFixture.layout.segmentBytes)
                try journal.append(JournalWrite(entries: entry))
            }
            try journal.flush()
            expected += entry
        }
        #expect(refusals > 0)
        #expect(try JournalFixture.reopen(journal).recovered.entries == expected)
    }

    @Test("does not give back what was appended after a synchronization failed")
    func failedSynchronization() throws {
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(entries: JournalFixture.entries(1...1, term: 1)))
        try journal.flush()
        try journal.append(JournalWrite(entries: JournalFixture.entries(2...2, term: 1)))
        journal.disk.faults.failingSynchronizations = 1
        #expect(throws: DiskFailure.self) { try journal.flush() }
        var disk = journal.disk
        disk.crash()
        #expect(try Journal.open(on: disk, layout: JournalFixture.layout).recovered.entries == JournalFixture.entries(1...1, term: 1))
    }

    @Test("makes durable what a synchronization that failed had left in memory, when it comes up on that")
    func failedSynchronizationThenKilled() throws {
        for seed in 1...30 as ClosedRange<UInt64> {
            var journal = try JournalFixture.fresh(seed: seed)
            try journal.append(JournalWrite(entries: JournalFixture.entries(1...1, term: 1)))
            journal.disk.faults.failingSynchronizations = 1
            #expect(throws: DiskFailure.self) { try journal.flush() }
            // The process ends, the machine does not; what it reads is what it had written.
            let opened = try JournalFixture.reopen(journal)
            #expect(opened.recovered.entries.count == 1)
            var disk = opened.journal.disk
            disk.crash()
            #expect(try Journal.open(on: disk, layout: JournalFixture.layout).recovered == opened.recovered)
        }
    }

    // MARK: Refusals

    @Test("is refused where there is none")
    func missing() {
        #expect(throws: JournalRefusal.missing) { try Journal.open(on: SimulatedDisk(seed: 1)) }
    }

    @Test("is not made where there is one")
    func createTwice() throws {
        let journal = try JournalFixture.fresh()
        #expect(throws: DiskFailure.alreadyExists(JournalFormat.genesis)) {
            try Journal.create(on: journal.disk, genesis: JournalFixture.genesis, layout: JournalFixture.layout)
        }
    }

    @Test("that has lost its genesis is refused, and none is made in its place")
    func lostGenesis() throws {
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(entries: JournalFixture.entries(1...1, term: 1)))
        try journal.flush()
        journal.disk.lose(JournalFormat.genesis)
        #expect(throws: JournalRefusal.self) { try JournalFixture.reopen(journal) }
        #expect(throws: DiskFailure.alreadyExists(JournalFormat.segmentName(1))) {
            try Journal.create(on: journal.disk, genesis: JournalFixture.genesis, layout: JournalFixture.layout)
        }
    }

    @Test("that has lost any of its segments is refused", arguments: [1, 2, 3] as [UInt64])
    func lostSegment(number: UInt64) throws {
        var journal = try JournalFixture.threeSegments().journal
        journal.disk.lose(JournalFormat.segmentName(number))
        #expect(throws: JournalRefusal.self) { try JournalFixture.reopen(journal) }
    }

    @Test(
        "of a format that this release does not know is refused by that format's number",
        arguments: [JournalFormat.genesis, JournalFormat.segmentName(1)])
    func unknownFormat(file: FileName) throws {
        var journal = try JournalFixture.fresh()
        // The format stands behind the eight bytes that say what the file is.
        journal.disk.corrupt(file, at: 8, flipping: 8)
        #expect(throws: JournalRefusal.unknownFormat(JournalFormat.current ^ 8)) { try JournalFixture.reopen(journal) }
    }

    @Test("does not take another member's segments for its own")
    func foreignSegment() throws {
        let other = Genesis(member: try #require(MemberID("b")), configuration: JournalFixture.genesis.configuration, payload: [1, 2, 3])
        var foreign = try Journal.create(on: SimulatedDisk(seed: 2), genesis: other, layout: JournalFixture.layout)
        var journal = try JournalFixture.fresh()
        let bytes = try foreign.read(JournalFormat.segmentName(1), at: 0, count: JournalFixture.layout.segmentBytes)
        try journal.disk.write(bytes, to: JournalFormat.segmentName(1), at: 0)
        #expect(throws: JournalRefusal.self) { try JournalFixture.reopen(journal) }
    }

    @Test("never counts records of an earlier life of its blocks, right behind its end or further on", arguments: [2, 3] as [UInt64])
    func recycledBlocks(firstSector: UInt64) throws {
        // A journal of which everything behind the first batch is as it was in another life, in which the same things were written.
        var earlier = try JournalFixture.fresh()
        for entry in JournalFixture.entries(1...6, term: 1) {
            try earlier.append(JournalWrite(entries: [entry]))
            try earlier.flush()
        }
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(entries: JournalFixture.entries(1...1, term: 2)))
        try journal.flush()
        let sector = UInt64(JournalLayout.sectorBytes)
        let remains = try earlier.disk.read(JournalFormat.segmentName(1), at: firstSector * sector, count: 4 * Int(sector))
        try journal.disk.write(remains, to: JournalFormat.segmentName(1), at: firstSector * sector)
        do throws(JournalRefusal) {
            #expect(try JournalFixture.reopen(journal).recovered.entries == JournalFixture.entries(1...1, term: 2))
        } catch {
            guard case .damaged = error else {
                Issue.record("refused for another reason: \(error)")
                return
            }
        }
    }

    @Test("says in words why it refuses")
    func words() {
        #expect("\(JournalRefusal.missing)".contains("must not come back under its old id"))
        #expect(
            "\(JournalRefusal.damaged(JournalFormat.segmentName(2), offset: 512, reason: "r"))".contains(
                "segment-0000000000000002 at byte 512: r"))
        #expect("\(JournalRefusal.unknownFormat(9))".contains("format 9"))
        #expect("\(JournalRefusal.disk(.full))".contains("no space left"))
    }
}
