// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Disks that rot: whatever one byte or one end of a file becomes, all that was acknowledged comes back or the member refuses.

import Consensus
import Simulation
import Testing

@Suite("A damaged journal")
struct JournalDamageTests {
    /// Files of a journal of three segments.
    private static let files = [JournalFormat.genesis] + (1...3 as ClosedRange<UInt64>).map(JournalFormat.segmentName)

    /// How opening a damaged journal ended: with everything, or refused.
    private enum Ending { case whole, refused }

    private func ending(_ disk: SimulatedDisk, behind snapshot: LogBase? = nil, held: Recovered, _ what: String) -> Ending? {
        do throws(JournalRefusal) {
            let opened = try Journal.open(on: disk, behind: snapshot, layout: JournalFixture.layout)
            guard opened.recovered == held, opened.genesis == JournalFixture.genesis else {
                Issue.record("\(what): something else came back: \(opened.recovered.entries.count) entries of \(held.entries.count)")
                return nil
            }
            return .whole
        } catch {
            switch error {
            case .damaged, .unknownFormat, .snapshotLost: return .refused
            case .missing, .disk:
                Issue.record("\(what): refused for another reason: \(error)")
                return nil
            }
        }
    }

    @Test("with any one byte changed is whole or refused", arguments: files, [0x01, 0xff] as [UInt8])
    func everyByte(file: FileName, bits: UInt8) throws {
        let (journal, held) = try JournalFixture.threeSegments()
        var intact = journal.disk
        #expect(ending(intact, held: held, "intact") == .whole)
        var refused = 0
        for offset in 0..<(try intact.size(of: file)) {
            var disk = journal.disk
            disk.corrupt(file, at: offset, flipping: bits)
            guard let ending = ending(disk, held: held, "\(file), byte \(offset)") else { return }
            if ending == .refused { refused += 1 }
        }
        #expect(refused > 60, "most of the bytes mean something")
    }

    @Test("cut at any length is refused", arguments: files)
    func everyLength(file: FileName) throws {
        let (journal, held) = try JournalFixture.threeSegments()
        var intact = journal.disk
        for size in 0..<(try intact.size(of: file)) {
            var disk = journal.disk
            disk.cut(file, to: size)
            guard let ending = ending(disk, held: held, "\(file) cut to \(size)") else { return }
            #expect(ending == .refused, "\(file) cut to \(size)")
        }
    }

    @Test("that begins behind a snapshot is whole or refused, whichever byte is changed", arguments: [0x01, 0xff] as [UInt8])
    func everyByteBehindASnapshot(bits: UInt8) throws {
        let (journal, snapshot, held) = try JournalFixture.cut()
        var intact = journal.disk
        let files = try intact.list().filter { $0.name.hasPrefix("segment-") }
        #expect(!files.contains(JournalFormat.segmentName(1)), "the first segment is dropped")
        #expect(ending(intact, behind: snapshot, held: held, "intact") == .whole)
        for file in files {
            var refused = 0
            for offset in 0..<(try intact.size(of: file)) {
                var disk = journal.disk
                disk.corrupt(file, at: offset, flipping: bits)
                guard let ending = ending(disk, behind: snapshot, held: held, "\(file), byte \(offset)") else { return }
                if ending == .refused { refused += 1 }
            }
            #expect(refused > 500, "all of a header means something")
        }
    }

    @Test("that begins behind a snapshot is refused, cut at any length or without any of its files")
    func everyLengthBehindASnapshot() throws {
        let (journal, snapshot, held) = try JournalFixture.cut()
        var intact = journal.disk
        let files = try intact.list().filter { $0.name.hasPrefix("segment-") }
        for file in files {
            for size in 0..<(try intact.size(of: file)) {
                var disk = journal.disk
                disk.cut(file, to: size)
                guard let ending = ending(disk, behind: snapshot, held: held, "\(file) cut to \(size)") else { return }
                #expect(ending == .refused, "\(file) cut to \(size)")
            }
            var disk = journal.disk
            disk.lose(file)
            #expect(throws: JournalRefusal.self) { try Journal.open(on: disk, behind: snapshot, layout: JournalFixture.layout) }
        }
    }

    @Test("that begins behind a snapshot is refused without it, or with an older one, or with one of another log")
    func lostSnapshot() throws {
        let (journal, snapshot, held) = try JournalFixture.cut()
        let base = try #require(held.base)
        #expect(throws: JournalRefusal.snapshotLost(begins: base.place, newest: nil)) { try JournalFixture.reopen(journal) }
        let older = LogBase(
            place: SnapshotPlace(index: base.index.previous, term: base.term), configuration: snapshot.configuration)
        #expect(throws: JournalRefusal.snapshotLost(begins: base.place, newest: older.place)) {
            try JournalFixture.reopen(journal, behind: older)
        }
        let others = try #require(Configuration(voters: [JournalFixture.genesis.member]))
        #expect(throws: JournalRefusal.self) {
            try JournalFixture.reopen(journal, behind: LogBase(place: snapshot.place, configuration: others))
        }
        // Of a term that this member never heard of.
        let later = LogBase(place: SnapshotPlace(index: LogIndex(1000), term: Term(9)), configuration: snapshot.configuration)
        #expect(throws: JournalRefusal.self) { try JournalFixture.reopen(journal, behind: later) }
    }

    @Test("in which a whole sector below the last flush has become zeros is refused")
    func blankedSector() throws {
        let (journal, held) = try JournalFixture.threeSegments()
        var settled = journal
        try settled.settle()
        let sector = JournalLayout.sectorBytes
        var refused = 0
        for file in Self.files.dropFirst() {
            var intact = settled.disk
            for offset in stride(from: 0, to: JournalFixture.layout.segmentBytes, by: sector) {
                var disk = settled.disk
                try disk.write([UInt8](repeating: 0, count: sector), to: file, at: UInt64(offset))
                guard let ending = ending(disk, held: held, "\(file), sector at \(offset)") else { return }
                let wasWritten = try intact.read(file, at: UInt64(offset), count: sector).contains { $0 != 0 }
                if ending == .refused { refused += 1 } else { #expect(!wasWritten || offset >= sector) }
            }
        }
        #expect(refused > 12)
    }

    @Test("of which only the length of a record has changed within its padding is refused")
    func length() throws {
        var journal = try JournalFixture.fresh()
        try journal.append(JournalWrite(entries: [Entry(index: LogIndex(1), term: Term(1), payload: [1, 2, 3, 0])]))
        try journal.flush()
        // The record stands right behind the batch's header of 48 bytes; its length is its first byte: 20. 21 and 23 are padded alike.
        let record = UInt64(JournalLayout.sectorBytes + 48)
        #expect(try journal.disk.read(JournalFormat.segmentName(1), at: record, count: 1) == [20])
        for bits in [1, 3] as [UInt8] {
            var damaged = journal
            damaged.disk.corrupt(JournalFormat.segmentName(1), at: record, flipping: bits)
            #expect(throws: JournalRefusal.self) { try JournalFixture.reopen(damaged) }
        }
    }
}
