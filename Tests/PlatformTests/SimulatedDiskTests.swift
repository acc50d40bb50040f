// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The simulated disk must be as bad as it says, or what is proved on it is worth nothing.

import Consensus
import Simulation
import Testing

@Suite("The simulated disk")
struct SimulatedDiskTests {
    private let file = FileName("a")
    private let other = FileName("b")
    private let sector = SimulatedDisk.sectorBytes

    private func durableFile(seed: UInt64, _ bytes: [UInt8]) throws -> SimulatedDisk {
        var disk = SimulatedDisk(seed: seed)
        try disk.create(file)
        try disk.write(bytes, to: file, at: 0)
        try disk.synchronize(file)
        try disk.synchronizeDirectory()
        return disk
    }

    @Test("keeps at a crash what was synchronized", arguments: 1...50 as ClosedRange<UInt64>)
    func keepsDurable(seed: UInt64) throws {
        let bytes = [UInt8](repeating: 5, count: 4 * sector)
        var disk = try durableFile(seed: seed, bytes)
        disk.crash()
        #expect(try disk.read(file, at: 0, count: 9 * sector) == bytes)
        #expect(disk.counts.lossyCrashes == 0)
        #expect(!disk.hasUnsynchronized)
    }

    @Test("loses, keeps and tears by whole sectors what was not synchronized")
    func tears() throws {
        var (none, all, some) = (0, 0, 0)
        for seed in 1...200 as ClosedRange<UInt64> {
            var disk = try durableFile(seed: seed, [UInt8](repeating: 1, count: 4 * sector))
            try disk.write([UInt8](repeating: 2, count: 4 * sector), to: file, at: 0)
            #expect(disk.hasUnsynchronized)
            disk.crash()
            let bytes = try disk.read(file, at: 0, count: 4 * sector)
            let sectors = stride(from: 0, to: 4 * sector, by: sector).map { Set(bytes[$0..<$0 + sector]) }
            #expect(sectors.allSatisfy { $0 == [1] || $0 == [2] }, "a sector is whole")
            switch sectors.count(where: { $0 == [2] }) {
            case 0: none += 1
            case 4: all += 1
            default: some += 1
            }
        }
        #expect(none > 10 && all > 0 && some > 10, "none \(none), all \(all), some \(some)")
    }

    @Test("may bring back any version of a sector that was written several times")
    func versions() throws {
        var seen: Set<UInt8> = []
        for seed in 1...200 as ClosedRange<UInt64> {
            var disk = try durableFile(seed: seed, [UInt8](repeating: 1, count: sector))
            for version in 2...4 as ClosedRange<UInt8> { try disk.write([UInt8](repeating: version, count: sector), to: file, at: 0) }
            disk.crash()
            seen.formUnion(try disk.read(file, at: 0, count: sector))
        }
        #expect(seen == [1, 2, 3, 4])
    }

    @Test("undoes names one by one where the directory was not synchronized")
    func names() throws {
        var outcomes: Set<[FileName]> = []
        for seed in 1...200 as ClosedRange<UInt64> {
            var disk = try durableFile(seed: seed, [1])
            try disk.create(other)
            try disk.rename(file, to: FileName("c"))
            disk.crash()
            outcomes.insert(try disk.list())
        }
        #expect(outcomes == [[file], [file, other], [FileName("c")], [other, FileName("c")]])
    }

    @Test("may keep a name whose bytes are lost")
    func nameWithoutBytes() throws {
        var emptied = 0
        for seed in 1...100 as ClosedRange<UInt64> {
            var disk = SimulatedDisk(seed: seed)
            try disk.create(file)
            try disk.write([UInt8](repeating: 1, count: sector), to: file, at: 0)
            try disk.synchronizeDirectory()
            disk.crash()
            #expect(try disk.list() == [file])
            if try disk.read(file, at: 0, count: sector).allSatisfy({ $0 == 0 }) { emptied += 1 }
        }
        #expect(emptied > 10)
    }

    @Test("shows data after a failed synchronization and never makes them durable by another")
    func failedSynchronization() throws {
        for seed in 1...30 as ClosedRange<UInt64> {
            var disk = try durableFile(seed: seed, [UInt8](repeating: 1, count: sector))
            try disk.write([UInt8](repeating: 2, count: sector), to: file, at: 0)
            disk.faults.failingSynchronizations = 1
            #expect(throws: DiskFailure.self) { try disk.synchronize(file) }
            #expect(try disk.read(file, at: 0, count: 1) == [2])
            try disk.synchronize(file)
            disk.crash()
            #expect(try disk.read(file, at: 0, count: 1) == [1])
        }
    }

    @Test("is full where it is told to be, and only growth fails")
    func full() throws {
        var disk = try durableFile(seed: 1, [1, 2, 3, 4])
        disk.faults.capacityBytes = 6
        try disk.write([9, 9, 9, 9, 9, 9], to: file, at: 0)
        #expect(throws: DiskFailure.full) { try disk.write([9], to: file, at: 6) }
        try disk.write([8], to: file, at: 5)
        #expect(try disk.read(file, at: 0, count: 9) == [9, 9, 9, 9, 9, 8])
    }

    @Test("fails everything from the operation at which the power fails until the crash")
    func powerFails() throws {
        var disk = try durableFile(seed: 1, [1])
        disk.faults.operationsUntilPowerFails = 2
        try disk.write([2], to: file, at: 0)
        #expect(throws: DiskFailure.self) { try disk.synchronize(file) }
        #expect(throws: DiskFailure.self) { try disk.list() }
        disk.crash()
        #expect(try disk.list() == [file])
    }

    @Test("rots where it is told to, beyond crash and synchronization")
    func corruption() throws {
        var disk = try durableFile(seed: 1, [1, 2, 3])
        let (inside, beyond) = (disk.corrupt(file, at: 1, flipping: 0x80), disk.corrupt(file, at: 3))
        #expect(inside && !beyond)
        disk.crash()
        #expect(try disk.read(file, at: 0, count: 3) == [1, 0x82, 3])
        let corrupted = disk.corruptSomewhere()
        let place = try #require(corrupted)
        #expect(place.file == file && place.offset < 3)
        #expect(try disk.read(file, at: 0, count: 3) != [1, 0x82, 3])
        disk.cut(file, to: 1)
        #expect(try disk.size(of: file) == 1)
        disk.lose(file)
        #expect(try disk.list().isEmpty)
        #expect(disk.counts.bytesCorrupted == 2)
    }

    @Test("does the same for the same seed")
    func deterministic() throws {
        func life() throws -> ([UInt8], SimulatedDisk.Counts) {
            var disk = try durableFile(seed: 77, [UInt8](repeating: 1, count: 20 * sector))
            try disk.write([UInt8](repeating: 2, count: 20 * sector), to: file, at: 0)
            disk.crash()
            return (try disk.read(file, at: 0, count: 20 * sector), disk.counts)
        }
        let (first, second) = (try life(), try life())
        #expect(first.0 == second.0 && first.1 == second.1)
    }
}
