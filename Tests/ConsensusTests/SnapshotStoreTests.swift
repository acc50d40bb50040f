// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A snapshot is there whole or not at all, and what was durable comes back or is refused.

import Consensus
import Simulation
import Testing

private func snapshot(_ index: UInt64, term: UInt64 = 3, bytes: Int = 3_000, learners: [String] = ["d-1"]) throws -> Snapshot {
    let voters = try ["a", "b", "c"].map { try #require(MemberID($0)) }
    let learners = try learners.map { try #require(MemberID($0)) }
    let configuration = try #require(Configuration(voters: voters, learners: learners))
    return Snapshot(
        place: SnapshotPlace(index: LogIndex(index), term: Term(term)), configuration: configuration,
        body: (0..<bytes).map { UInt8(truncatingIfNeeded: UInt64($0) &* 31 &+ index) })
}

@Suite("A snapshot's file")
struct SnapshotFileTests {
    @Test("comes back as it was, whatever the size of its body", arguments: [0, 1, 7, 8, 9, 511, 512, 3_000])
    func roundTrip(_ bytes: Int) throws {
        for learners in [[], ["d"], ["d-1", "e-22"]] as [[String]] {
            let one = try snapshot(41, bytes: bytes, learners: learners)
            #expect(try SnapshotFile.decode(SnapshotFile.encode(one)) == one)
        }
    }

    @Test("is refused after any change of any one byte, and with any part of it missing")
    func everyByte() throws {
        let honest = SnapshotFile.encode(try snapshot(41, bytes: 301))
        for position in honest.indices {
            for flip in [0x01, 0x80, 0xff] as [UInt8] {
                var bytes = honest
                bytes[position] ^= flip
                #expect(throws: SnapshotFlaw.self, "byte \(position)") { try SnapshotFile.decode(bytes) }
            }
            #expect(throws: SnapshotFlaw.self, "\(position) bytes") { try SnapshotFile.decode(Array(honest[..<position])) }
        }
        for more in 1...16 {
            #expect(throws: SnapshotFlaw.self) { try SnapshotFile.decode(honest + [UInt8](repeating: 0, count: more)) }
        }
    }

    /// Sound bytes with a right checksum and a wrong content.
    private func resealed(_ change: (inout [UInt8]) -> Void) throws -> [UInt8] {
        var bytes = SnapshotFile.encode(try snapshot(41, bytes: 16))
        change(&bytes)
        var checksum = Checksum()
        checksum.mix(bytes: Array(bytes.dropLast(8)))
        bytes.setWord(checksum.value, at: bytes.count - 8)
        return bytes
    }

    @Test("is refused if it says what no snapshot says, though its checksum is right")
    func hostile() throws {
        #expect(throws: SnapshotFlaw.unknownFormat(2)) { try SnapshotFile.decode(resealed { $0.setWord(2, at: 8) }) }
        #expect(throws: SnapshotFlaw.damaged("it stands behind no entry")) { try SnapshotFile.decode(resealed { $0.setWord(0, at: 24) }) }
        #expect(throws: SnapshotFlaw.damaged("it stands behind no entry")) { try SnapshotFile.decode(resealed { $0.setWord(0, at: 32) }) }
        #expect(throws: SnapshotFlaw.damaged("it stands behind no entry")) {
            try SnapshotFile.decode(resealed { $0.setWord(.max, at: 24) })
        }
        for position in 40..<89 {
            for word in [0, 1, 17, .max, .max >> 1, 1 << 62] as [UInt64] where position % 4 == 0 {
                let bytes = try resealed { $0.setWord(word, at: position) }
                // Some of these are snapshots of another body; none of them may trap.
                if let decoded = try? SnapshotFile.decode(bytes) { #expect(decoded.body.count <= 16) }
            }
        }
    }

    @Test("noise is refused and never traps")
    func noise() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<2_000 {
            let bytes = (0..<8 * generator.below(40)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            #expect(throws: SnapshotFlaw.self) { try SnapshotFile.decode(bytes) }
        }
    }
}

@Suite("The snapshots of a member")
struct SnapshotStoreTests {
    @Test("are none at first, then the newest, and the one before it as long as the process lives")
    func saving() throws {
        let opened = try SnapshotStore.open(on: SimulatedDisk(seed: 1))
        var store = opened.store
        #expect(opened.newest == nil && store.newest == nil)
        let (first, second, third) = (try snapshot(10), try snapshot(20, term: 4), try snapshot(30, term: 4))
        for saved in [first, second, third] { try store.save(saved) }
        #expect(store.places == [second.place, third.place])
        let names = [second, third].map { SnapshotStore<SimulatedDisk>.fileName($0.place) }
        #expect(names.last == FileName("snapshot-000000000000001e-0000000000000004"))
        #expect(try store.disk.list() == names)
        #expect(try store.size(of: first.place) == nil)
        #expect(try store.read(first.place, at: 0, count: 10) == nil)
        let size = Int(try #require(try store.size(of: second.place)))
        var bytes: [UInt8] = []
        while let part = try store.read(second.place, at: UInt64(bytes.count), count: 700), !part.isEmpty { bytes += part }
        #expect(bytes.count == size)
        #expect(try SnapshotFile.decode(bytes) == second)
        store.disk.crash()
        let (again, newest) = try SnapshotStore.open(on: store.disk)
        #expect(newest == third)
        #expect(again.places == [third.place])
    }

    @Test("do not go back")
    func older() throws {
        var store = try SnapshotStore.open(on: SimulatedDisk(seed: 1)).store
        try store.save(try snapshot(20))
        try store.save(try snapshot(20, bytes: 9))
        try store.save(try snapshot(10))
        #expect(try SnapshotStore.open(on: store.disk).newest == snapshot(20))
    }

    @Test("stand beside a journal, and neither touches the other's files")
    func besideJournal() throws {
        let (journal, held) = try JournalFixture.threeSegments()
        var store = try SnapshotStore.open(on: journal.disk).store
        let saved = try snapshot(5)
        try store.save(saved)
        store.disk.crash()
        let opened = try Journal.open(on: store.disk, layout: JournalFixture.layout)
        #expect(opened.recovered == held)
        #expect(try SnapshotStore.open(on: opened.journal.disk).newest == saved)
    }

    @Test(
        "after a power cut at any operation the newest is the last one saved, or the one that was being saved",
        arguments: 1...12 as ClosedRange<UInt64>)
    func crashAtEveryOperation(seed: UInt64) throws {
        let lives = try [snapshot(10), snapshot(20, bytes: 9_000), snapshot(30, term: 5, bytes: 100), snapshot(40, term: 5)]
        var operation: UInt64 = 0
        var finished = false
        var lossy: UInt64 = 0
        while !finished {
            operation += 1
            try #require(operation < 200, "no life comes to its end")
            var disk = SimulatedDisk(seed: seed &* 7_919 &+ operation)
            var acknowledged = 0
            disk.faults.operationsUntilPowerFails = operation
            do {
                var store = try SnapshotStore.open(on: &disk).store
                defer { disk = store.disk }
                for snapshot in lives {
                    try store.save(snapshot)
                    acknowledged += 1
                }
                finished = true
            } catch {}
            disk.crash()
            // The power may fail again while they are being opened.
            for interruption in 1...4 as ClosedRange<UInt64> {
                disk.faults.operationsUntilPowerFails = interruption
                do throws(SnapshotRefusal) { _ = try SnapshotStore.open(on: &disk) } catch {
                    guard case .disk = error else {
                        Issue.record("seed \(seed), operation \(operation): refused after a power cut: \(error)")
                        return
                    }
                }
                disk.crash()
            }
            let opened = try SnapshotStore.open(on: &disk)
            var store = opened.store
            let newest = opened.newest
            let stages: [Snapshot?] = [nil] + lives.map(Optional.some)
            #expect(
                stages[acknowledged...min(acknowledged + 1, lives.count)].contains(newest), "seed \(seed), operation \(operation)")
            #expect(try store.disk.list().count == (newest == nil ? 0 : 1))
            // And it goes on from there.
            let next = try snapshot(50, term: 9)
            try store.save(next)
            store.disk.crash()
            #expect(try SnapshotStore.open(on: store.disk).newest == next)
            lossy += disk.counts.lossyCrashes
        }
        #expect(operation > 20 && lossy > 0)
    }

    @Test("a full disk costs nothing: the attempt is forgotten, and a later one succeeds")
    func full() throws {
        var store = try SnapshotStore.open(on: SimulatedDisk(seed: 1)).store
        let first = try snapshot(10, bytes: 100)
        try store.save(first)
        store.disk.faults.capacityBytes = 2_000
        #expect(throws: DiskFailure.full) { try store.save(try snapshot(20)) }
        #expect(store.newest == first.place)
        #expect(try store.disk.list().count == 1)
        let small = try snapshot(20, bytes: 200)
        try store.save(small)
        #expect(try SnapshotStore.open(on: store.disk).newest == small)
    }

    @Test("a write or a synchronization that fails leaves the one before it", arguments: [true, false])
    func failure(_ isWrite: Bool) throws {
        var store = try SnapshotStore.open(on: SimulatedDisk(seed: 1)).store
        let first = try snapshot(10)
        try store.save(first)
        if isWrite { store.disk.faults.failingWrites = 1 } else { store.disk.faults.failingSynchronizations = 1 }
        #expect(throws: DiskFailure.self) { try store.save(try snapshot(20)) }
        // The process ends, with what the operating system still shows.
        let (again, newest) = try SnapshotStore.open(on: store.disk)
        #expect(newest == first)
        var disk = again.disk
        #expect(try disk.list().count == 1)
    }

    @Test("a newest one that was changed, cut, or renamed is refused, and nothing older is taken for it")
    func damage() throws {
        var store = try SnapshotStore.open(on: SimulatedDisk(seed: 1)).store
        try store.save(try snapshot(10, bytes: 40))
        try store.save(try snapshot(20, bytes: 40))
        let name = SnapshotStore<SimulatedDisk>.fileName(try snapshot(20).place)
        let size = try store.disk.size(of: name)
        for offset in 0..<size {
            var disk = store.disk
            let isChanged = disk.corrupt(name, at: offset)
            #expect(isChanged)
            #expect(throws: SnapshotRefusal.self, "byte \(offset)") { try SnapshotStore.open(on: disk) }
            disk = store.disk
            disk.cut(name, to: offset)
            #expect(throws: SnapshotRefusal.self, "cut to \(offset)") { try SnapshotStore.open(on: disk) }
        }
        var disk = store.disk
        try disk.rename(name, to: SnapshotStore<SimulatedDisk>.fileName(SnapshotPlace(index: LogIndex(21), term: Term(3))))
        let refusal = #expect(throws: SnapshotRefusal.self) { try SnapshotStore.open(on: disk) }
        #expect(refusal?.description.contains("under another's name") == true)
    }
}
