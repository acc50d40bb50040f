// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Small journals on a simulated disk, for the journal's suites.

import Consensus
import Simulation
import Testing

enum JournalFixture {
    /// Small, so that few records fill many segments.
    static let layout = JournalLayout(segmentBytes: 8 * JournalLayout.sectorBytes)

    static let genesis: Genesis = {
        guard let a = MemberID("a"), let b = MemberID("b"), let c = MemberID("c"), let learner = MemberID("d-1"),
            let configuration = Configuration(voters: [a, b, c], learners: [learner])
        else { preconditionFailure("the fixture's names are not valid") }
        return Genesis(member: a, configuration: configuration, payload: Array("born".utf8))
    }()

    static func fresh(seed: UInt64 = 1, layout: JournalLayout = layout) throws -> Journal<SimulatedDisk> {
        try Journal.open(on: Journal.create(on: SimulatedDisk(seed: seed), genesis: genesis, layout: layout), layout: layout).journal
    }

    static func reopen(
        _ journal: Journal<SimulatedDisk>, behind snapshot: LogBase? = nil
    ) throws(JournalRefusal) -> (journal: Journal<SimulatedDisk>, genesis: Genesis, recovered: Recovered) {
        try Journal.open(on: journal.disk, behind: snapshot, layout: layout)
    }

    /// Entries whose payloads say which they are, with many zeros in them.
    static func entries(_ indices: ClosedRange<UInt64>, term: UInt64, payloadBytes: Int = 24) -> [Entry] {
        indices.map { index in
            var payload = [UInt8](repeating: 0, count: payloadBytes)
            if payloadBytes > 0 { payload[payloadBytes / 2] = UInt8(truncatingIfNeeded: index) }
            // Some change the members.
            let configuration = index % 5 == 0 ? genesis.configuration : nil
            return Entry(index: LogIndex(index), term: Term(term), payload: payload, configuration: configuration)
        }
    }

    /// A journal that reaches into its third segment, everything flushed, and what it holds.
    static func threeSegments() throws -> (journal: Journal<SimulatedDisk>, held: Recovered) {
        var journal = try fresh()
        let ballot = Ballot(term: Term(2), vote: genesis.member)
        var entries: [Entry] = []
        try journal.append(JournalWrite(ballot: ballot, longestPromise: .milliseconds(300)))
        try journal.flush()
        while try journal.disk.list().count < 4 {
            let index = UInt64(entries.count) + 1
            // Some batches of one sector, some of several, and whole sectors of zeros within a payload.
            let more = JournalFixture.entries(index...index, term: 2, payloadBytes: index % 3 == 0 ? 1300 : 24)
            try journal.append(JournalWrite(entries: more))
            try journal.flush()
            entries += more
        }
        let last = JournalFixture.entries(UInt64(entries.count) + 1...UInt64(entries.count) + 1, term: 2, payloadBytes: 1100)
        try journal.append(JournalWrite(entries: last))
        try journal.flush()
        return (journal, Recovered(ballot: ballot, longestPromise: .milliseconds(300), entries: entries + last))
    }

    /// The same, of which the first segments were dropped behind a snapshot, and which then went on into more segments.
    static func cut() throws -> (journal: Journal<SimulatedDisk>, snapshot: LogBase, held: Recovered) {
        var (journal, held) = try threeSegments()
        let middle = held.entries[held.entries.count - 2]
        let snapshot = LogBase(place: SnapshotPlace(index: middle.index, term: middle.term), configuration: genesis.configuration)
        try journal.append(JournalWrite(forgetThrough: middle.index))
        let vote = Ballot(term: Term(3), vote: genesis.configuration.voters[1])
        try journal.append(JournalWrite(ballot: vote))
        held.ballot = vote
        while journal.segmentCount < 3 {
            let index = held.lastIndex.position + 1
            let more = JournalFixture.entries(index...index, term: 3, payloadBytes: index % 3 == 0 ? 1300 : 24)
            try journal.append(JournalWrite(entries: more))
            try journal.flush()
            held.entries += more
        }
        let recovered = try reopen(journal, behind: snapshot).recovered
        held.base = recovered.base
        held.entries.removeAll { $0.index <= recovered.base?.index ?? .zero }
        held.snapshot = snapshot.place
        return (journal, snapshot, held)
    }
}
