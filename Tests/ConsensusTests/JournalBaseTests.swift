// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Journals of which the beginning is gone, and such as begin anew behind a snapshot.

import Consensus
import Simulation
import Testing

@Suite("A journal behind a snapshot")
struct JournalBaseTests {
    private static let layout = JournalFixture.layout

    @Test("drops whole segments that nobody needs, and gives back all that stands behind them")
    func drops() throws {
        var (journal, held) = try JournalFixture.threeSegments()
        #expect(journal.segmentCount == 3)
        try journal.append(JournalWrite(forgetThrough: LogIndex(1)))
        #expect(journal.segmentCount == 3, "the second segment begins later")
        let last = held.lastIndex
        try journal.append(JournalWrite(forgetThrough: last))
        #expect(journal.segmentCount == 1, "what is left begins no later than behind \(last)")
        let snapshot = LogBase(
            place: SnapshotPlace(index: last, term: Term(2)), configuration: JournalFixture.genesis.configuration)
        let recovered = try JournalFixture.reopen(journal, behind: snapshot).recovered
        let base = try #require(recovered.base)
        #expect(recovered.ballot == held.ballot && recovered.longestPromise == held.longestPromise)
        #expect(recovered.entries == held.entries.filter { $0.index > base.index })
        #expect(recovered.snapshot == snapshot.place && base.index <= last && base.term == Term(2))
    }

    @Test("does not begin with a segment whose beginning was cut off since")
    func cutBeginning() throws {
        var (journal, held) = try JournalFixture.threeSegments()
        // Another leader's log from entry 2 on: what the later segments say of the log before them is void.
        try journal.append(JournalWrite(truncateFrom: LogIndex(2), entries: JournalFixture.entries(2...3, term: 2)))
        try journal.flush()
        try journal.append(JournalWrite(forgetThrough: LogIndex(3)))
        #expect(journal.segmentCount >= 3)
        held.entries = Array(held.entries.prefix(1)) + JournalFixture.entries(2...3, term: 2)
        #expect(try JournalFixture.reopen(journal).recovered == held)
        // The same, when the journal learned it from its files.
        var reopened = try JournalFixture.reopen(journal).journal
        try reopened.append(JournalWrite(forgetThrough: LogIndex(3)))
        #expect(reopened.segmentCount == journal.segmentCount)
    }

    @Test("begins anew behind a snapshot that it does not reach, with its ballot and promise")
    func beginsAnew() throws {
        var (journal, held) = try JournalFixture.threeSegments()
        let others = try #require(Configuration(voters: JournalFixture.genesis.configuration.voters))
        let base = LogBase(place: SnapshotPlace(index: LogIndex(5000), term: Term(2)), configuration: others)
        try journal.append(JournalWrite(base: base))
        let more = [Entry(index: LogIndex(5001), term: Term(2), payload: [7])]
        try journal.append(JournalWrite(entries: more))
        try journal.flush()
        #expect(journal.segmentCount == 1)
        (held.base, held.entries, held.snapshot) = (base, more, base.place)
        #expect(try JournalFixture.reopen(journal, behind: base).recovered == held)
    }

    @Test("goes on behind a snapshot that was on disk before the journal knew", arguments: [false, true])
    func adopts(hasOtherEntry: Bool) throws {
        let (journal, held) = try JournalFixture.threeSegments()
        let index = hasOtherEntry ? held.lastIndex : LogIndex(held.lastIndex.position + 10)
        let place = SnapshotPlace(index: index, term: Term(hasOtherEntry ? 1 : 2))
        let snapshot = LogBase(place: place, configuration: JournalFixture.genesis.configuration)
        let opened = try JournalFixture.reopen(journal, behind: snapshot)
        #expect(opened.recovered.base == snapshot && opened.recovered.entries.isEmpty)
        #expect(opened.recovered.ballot == held.ballot && opened.recovered.longestPromise == held.longestPromise)
        // And again, from what that left on disk.
        #expect(try JournalFixture.reopen(opened.journal, behind: snapshot).recovered == opened.recovered)
    }

    @Test(
        "is as it was before or as it should be after, wherever the power fails while it begins anew or is cut",
        arguments: 0..<60 as Range<UInt64>)
    func crashes(operation: UInt64) throws {
        for isAnew in [true, false] {
            var (journal, held) = try JournalFixture.threeSegments()
            let last = held.lastIndex
            let index = isAnew ? LogIndex(last.position + 7) : last
            let place = SnapshotPlace(index: index, term: Term(2))
            let snapshot = LogBase(place: place, configuration: JournalFixture.genesis.configuration)
            journal.disk.faults.operationsUntilPowerFails = operation + 1
            var hasFailed = false
            do throws(DiskFailure) {
                try journal.append(isAnew ? JournalWrite(base: snapshot) : JournalWrite(forgetThrough: index))
                try journal.flush()
            } catch { hasFailed = true }
            journal.disk.crash()
            journal.disk.faults = SimulatedDisk.Faults()
            let recovered = try JournalFixture.reopen(journal, behind: snapshot).recovered
            #expect(recovered.ballot == held.ballot && recovered.longestPromise == held.longestPromise)
            #expect(recovered.snapshot == place)
            if isAnew {
                // The snapshot is on disk: with or without the journal's knowing, the log begins behind it.
                #expect(recovered.base == snapshot && recovered.entries.isEmpty)
            } else {
                let base = recovered.base?.index ?? .zero
                #expect(recovered.entries == held.entries.filter { $0.index > base })
                #expect(hasFailed || base > .zero)
            }
        }
    }

    @Test("that is full while it begins anew has taken nothing, and may go on")
    func full() throws {
        var (journal, held) = try JournalFixture.threeSegments()
        let base = LogBase(
            place: SnapshotPlace(index: LogIndex(5000), term: Term(2)), configuration: JournalFixture.genesis.configuration)
        journal.disk.faults.capacityBytes = 0
        #expect(throws: DiskFailure.full) { try journal.append(JournalWrite(base: base)) }
        journal.disk.faults.capacityBytes = .max
        #expect(try JournalFixture.reopen(journal).recovered == held)
        try journal.append(JournalWrite(base: base))
        try journal.flush()
        (held.base, held.entries, held.snapshot) = (base, [], base.place)
        #expect(try JournalFixture.reopen(journal, behind: base).recovered == held)
    }
}
