// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Histories of journals and snapshots, by hand.

import Consensus
import CoordinatorCore
import DispatcherState
import Simulation
import Testing

@Suite("Invariants of what is on disk bite")
struct DiskInvariantTests {
    let a: MemberID
    let b: MemberID
    let c: MemberID
    init() throws {
        a = try #require(MemberID("a"))
        b = try #require(MemberID("b"))
        c = try #require(MemberID("c"))
    }
    func mark(_ term: UInt64, _ chain: UInt64) -> LogMark { LogMark(term: Term(term), chain: chain) }

    @Test("a snapshot of what is not committed, of other members or of another state, and a log that is forgotten before it is on disk")
    func snapshotSafety() throws {
        let members = try #require(Configuration(voters: [a, b, c]))
        let others = try #require(Configuration(voters: [a]))
        let place = SnapshotPlace(index: LogIndex(5), term: Term(2))
        var invariant = SnapshotSafety()
        try invariant.saved(a, place, members, committed: mark(2, 7), inForce: members)
        for (committed, inForce) in [(nil, members), (mark(1, 7), members), (mark(2, 7), others)] as [(LogMark?, Configuration)] {
            #expect(throws: Broken.self) { try invariant.saved(a, place, members, committed: committed, inForce: inForce) }
            #expect(throws: Broken.self) { try invariant.stands(a, behind: place, members, committed: committed, inForce: inForce) }
        }
        try invariant.stands(a, behind: place, members, committed: mark(2, 7), inForce: members)
        try invariant.holds(a, place, hash: 1)
        try invariant.holds(b, place, hash: 1)
        #expect(throws: Broken.self) { try invariant.holds(c, place, hash: 2) }
        try invariant.forgets(a, through: LogIndex(5), durable: place)
        #expect(throws: Broken.self) { try invariant.forgets(a, through: LogIndex(6), durable: place) }
        #expect(throws: Broken.self) { try invariant.forgets(a, through: LogIndex(1), durable: nil) }
        try invariant.beginsAnew(a, behind: place, durable: place)
        #expect(throws: Broken.self) { try invariant.beginsAnew(a, behind: place, durable: nil) }
    }

    @Test("a disk that gives back another snapshot than was on it, or a log that was cut further than anybody wanted")
    func snapshotRecovery() throws {
        func entry(_ index: UInt64) -> Entry { Entry(index: LogIndex(index), term: Term(1), payload: [UInt8(index)]) }
        let members = try #require(Configuration(voters: [a, b, c]))
        func base(_ index: UInt64) -> LogBase {
            LogBase(place: SnapshotPlace(index: LogIndex(index), term: Term(1)), configuration: members)
        }
        var marks: [LogMark] = []
        var known = KnownJournal()
        known.write(JournalWrite(ballot: Ballot(term: Term(1), vote: a), entries: (1...6).map(entry)), WriteID(1))
        known.flushed(through: WriteID(1))
        marks = known.durable.marks
        let invariant = JournalRecovery()
        func check(_ known: KnownJournal, base: LogBase?, _ entries: ClosedRange<UInt64>?, snapshot: LogBase?) throws {
            var copy = known
            let recovered = Recovered(
                ballot: Ballot(term: Term(1), vote: a), longestPromise: .zero, base: base,
                entries: (entries.map { Array($0) } ?? []).map(entry),
                snapshot: snapshot?.place)
            try invariant.recovered(a, recovered, known: &copy) { Array(marks.prefix(Int($0.position))) }
        }
        try check(known, base: nil, 1...6, snapshot: nil)
        #expect(throws: Broken.self) { try check(known, base: nil, 1...6, snapshot: base(4)) }
        known.saves(base(4).place)
        try check(known, base: nil, 1...6, snapshot: nil)
        try check(known, base: nil, 1...6, snapshot: base(4))
        known.saved(base(4).place, prefix: Array(marks.prefix(4)))
        try check(known, base: nil, 1...6, snapshot: base(4))
        #expect(throws: Broken.self) { try check(known, base: nil, 1...6, snapshot: nil) }
        #expect(throws: Broken.self) { try check(known, base: nil, 1...3, snapshot: base(4)) }
        // Nobody said that anything may be forgotten.
        #expect(throws: Broken.self) { try check(known, base: base(5), 6...6, snapshot: base(4)) }
        known.write(JournalWrite(forgetThrough: LogIndex(3)), WriteID(2))
        try check(known, base: base(2), 3...6, snapshot: base(4))
        try check(known, base: base(3), 4...6, snapshot: base(4))
        #expect(throws: Broken.self) { try check(known, base: base(3), 4...5, snapshot: base(4)) }

        // Another member lacks the end: for it the log begins anew.
        var behind = KnownJournal()
        behind.write(JournalWrite(ballot: Ballot(term: Term(1), vote: a), entries: (1...2).map(entry)), WriteID(1))
        behind.flushed(through: WriteID(1))
        behind.saves(base(4).place)
        try check(behind, base: nil, 1...2, snapshot: nil)
        try check(behind, base: base(4), nil, snapshot: base(4))
        behind.saved(base(4).place, prefix: Array(marks.prefix(4)))
        #expect(behind.durable.last == LogIndex(4))
        try check(behind, base: base(4), nil, snapshot: base(4))
        #expect(throws: Broken.self) { try check(behind, base: nil, 1...2, snapshot: base(4)) }
        behind.write(JournalWrite(base: base(4)), WriteID(2), prefix: Array(marks.prefix(4)))
        behind.write(JournalWrite(entries: [entry(5)]), WriteID(3))
        #expect(behind.written.last == LogIndex(5))
        try check(behind, base: base(4), 5...5, snapshot: base(4))
    }

    @Test("a journal that gives back less, more, or something else than was written")
    func journalRecovery() throws {
        func entry(_ index: UInt64, _ byte: UInt8) -> Entry { Entry(index: LogIndex(index), term: Term(1), payload: [byte]) }
        var known = KnownJournal()
        known.write(JournalWrite(ballot: Ballot(term: Term(1), vote: a), entries: [entry(1, 1)]), WriteID(1))
        known.flushed(through: WriteID(1))
        known.write(JournalWrite(entries: [entry(2, 2), entry(3, 3)]), WriteID(2))
        let invariant = JournalRecovery()
        func recovered(_ entries: [Entry], term: UInt64 = 1) -> Recovered {
            Recovered(ballot: Ballot(term: Term(term), vote: a), longestPromise: .zero, entries: entries)
        }
        for fine in [[entry(1, 1)], [entry(1, 1), entry(2, 2)], [entry(1, 1), entry(2, 2), entry(3, 3)]] {
            var copy = known
            try invariant.recovered(a, recovered(fine), known: &copy)
        }
        for wrong in [[], [entry(1, 9)], [entry(1, 1), entry(2, 9)], [entry(1, 1), entry(2, 2), entry(3, 3), entry(4, 4)]] {
            var copy = known
            #expect(throws: Broken.self) { try invariant.recovered(a, recovered(wrong), known: &copy) }
        }
        var copy = known
        #expect(throws: Broken.self) { try invariant.recovered(a, recovered([entry(1, 1)], term: 0), known: &copy) }
        #expect(throws: Broken.self) { try invariant.refused(a, "\(JournalRefusal.missing)") }

        // A bit turned: all that was durable comes back, or nothing does.
        try invariant.recoveredDamaged(a, recovered([entry(1, 1)]), known: known)
        try invariant.recoveredDamaged(a, recovered([entry(1, 1), entry(2, 2)]), known: known)
        for wrong in [[], [entry(1, 9)], [entry(2, 2)]] {
            #expect(throws: Broken.self) { try invariant.recoveredDamaged(a, recovered(wrong), known: known) }
        }

        // A disk of another day: what comes back was written once.
        let newest = Ballot(term: Term(1), vote: a)
        try invariant.recoveredEarlier(a, recovered([entry(1, 1)]), newest: newest) { _, _ in true }
        #expect(throws: Broken.self) { try invariant.recoveredEarlier(a, recovered([entry(1, 1)]), newest: newest) { _, _ in false } }
        #expect(throws: Broken.self) { try invariant.recoveredEarlier(a, recovered([entry(2, 2)]), newest: newest) { _, _ in true } }
        #expect(throws: Broken.self) { try invariant.recoveredEarlier(a, recovered([], term: 2), newest: newest) { _, _ in true } }
    }
}
