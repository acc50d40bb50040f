// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A disk that behaves as badly as real ones may, and no worse: what was not synchronized may be lost, in part and in any order, at a crash.
// Data are kept by sector: a sector is written whole or not at all, and of several sectors that were not synchronized any subset may
// survive, each in any version that it went through. Names are kept apart from data: a creation, renaming or removal that was not followed
// by a synchronization of the directory may be undone by itself, whatever became of the file. A synchronization that failed leaves its data
// readable and never durable, as Linux does: a second one that succeeds promises nothing about them.
// Everything is a function of the seed and the calls.

import Consensus

package struct SimulatedDisk: Disk {
    package static let sectorBytes = 512

    /// What goes wrong while the member runs. Change it at any time.
    package struct Faults: Hashable, Sendable {
        /// The next calls of `write` that fail, each having written some of its sectors.
        package var failingWrites = 0
        /// The next calls of `synchronize` that fail; the ones behind them succeed.
        package var failingSynchronizations = 0
        /// Bytes that all files together may have; nothing may grow beyond.
        package var capacityBytes: UInt64 = .max
        /// Power fails within the operation by which this reaches zero: it and all later ones fail, until `crash`. Nil: never.
        package var operationsUntilPowerFails: UInt64?
        package init() {}
    }

    /// What happened so far; a run in which these stay zero has not tested much.
    package struct Counts: Hashable, Sendable {
        package var operations: UInt64 = 0
        package var writes: UInt64 = 0
        package var synchronizations: UInt64 = 0
        package var crashes: UInt64 = 0
        /// Crashes that lost something.
        package var lossyCrashes: UInt64 = 0
        package var unsyncedBytesLost: UInt64 = 0
        /// Sectors lost of files of which other sectors of the same age survived.
        package var tornSectors: UInt64 = 0
        package var namesUndone: UInt64 = 0
        package var failuresInjected: UInt64 = 0
        package var bytesCorrupted: UInt64 = 0
        package init() {}
    }

    package var faults = Faults()
    package private(set) var counts = Counts()
    private var generator: SeededGenerator
    private var powerIsOut = false
    /// By number, which is the place in this array.
    private var inodes: [Inode] = []
    private var names: [(name: FileName, inode: Int)] = []
    private var durableNames: [(name: FileName, inode: Int)] = []
    private var pendingNames: [NameChange] = []

    package init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    // MARK: Disk

    package mutating func list() throws(DiskFailure) -> [FileName] {
        try operate("list", nil)
        return names.map(\.name).sorted()
    }

    package mutating func size(of file: FileName) throws(DiskFailure) -> UInt64 {
        try operate("size", file)
        return UInt64(inodes[try find(file)].content.count)
    }

    package mutating func read(_ file: FileName, at offset: UInt64, count: Int) throws(DiskFailure) -> [UInt8] {
        try operate("read", file)
        let inode = try find(file)
        let size = inodes[inode].content.count
        guard offset < UInt64(size), count > 0 else { return [] }
        let begin = Int(offset)
        return Array(inodes[inode].content[begin..<begin + min(count, size - begin)])
    }

    package mutating func create(_ file: FileName) throws(DiskFailure) {
        try operate("create", file)
        guard place(of: file) == nil else { throw .alreadyExists(file) }
        inodes.append(Inode())
        names.append((file, inodes.count - 1))
        pendingNames.append(.set(file, inode: inodes.count - 1))
    }

    package mutating func write(_ bytes: [UInt8], to file: FileName, at offset: UInt64) throws(DiskFailure) {
        let inode = try find(file)
        let end = offset + UInt64(bytes.count)
        let size = UInt64(inodes[inode].content.count)
        if faults.capacityBytes < .max, end > size, usedBytes + (end - size) > faults.capacityBytes {
            try operate("write", file)
            counts.failuresInjected += 1
            throw .full
        }
        let powerWasOut = powerIsOut
        do throws(DiskFailure) { try operate("write", file) } catch {
            // The power failed while the sectors were on their way; which of them survive is decided at the crash.
            if !powerWasOut { inodes[inode].write(bytes, at: Int(offset)) }
            throw error
        }
        counts.writes += 1
        if faults.failingWrites > 0 {
            faults.failingWrites -= 1
            counts.failuresInjected += 1
            let sectors = bytes.count / SimulatedDisk.sectorBytes
            let written = Int(generator.below(UInt64(sectors) + 1)) * SimulatedDisk.sectorBytes
            inodes[inode].write(Array(bytes[..<written]), at: Int(offset))
            throw .failed(operation: "write", file, reason: "injected input/output error")
        }
        inodes[inode].write(bytes, at: Int(offset))
    }

    package mutating func synchronize(_ file: FileName) throws(DiskFailure) {
        let inode = try find(file)
        try operate("synchronize", file)
        counts.synchronizations += 1
        if faults.failingSynchronizations > 0 {
            faults.failingSynchronizations -= 1
            counts.failuresInjected += 1
            inodes[inode].abandonPending()
            throw .failed(operation: "synchronize", file, reason: "injected input/output error")
        }
        inodes[inode].synchronize()
    }

    package mutating func rename(_ file: FileName, to: FileName) throws(DiskFailure) {
        try operate("rename", file)
        let inode = try find(file)
        guard file != to else { return }
        names.removeAll { $0.name == file || $0.name == to }
        names.append((to, inode))
        pendingNames.append(.move(file, to: to, inode: inode))
    }

    package mutating func remove(_ file: FileName) throws(DiskFailure) {
        try operate("remove", file)
        _ = try find(file)
        names.removeAll { $0.name == file }
        pendingNames.append(.remove(file))
    }

    package mutating func synchronizeDirectory() throws(DiskFailure) {
        try operate("synchronize the directory", nil)
        counts.synchronizations += 1
        if faults.failingSynchronizations > 0 {
            faults.failingSynchronizations -= 1
            counts.failuresInjected += 1
            throw .failed(operation: "synchronize the directory", nil, reason: "injected input/output error")
        }
        durableNames = names
        pendingNames = []
        forgetUnreachable()
    }

    // MARK: What the world does to it

    /// Whether something would be lost if everything unsynchronized were.
    package var hasUnsynchronized: Bool { !pendingNames.isEmpty || names.contains { inodes[$0.inode].isPending } }

    /// The power fails and comes back: what was not synchronized survives in part, as the seed has it.
    package mutating func crash() {
        counts.crashes += 1
        var lostSomething = false
        // A draw for the whole crash, so that "all lost" and "all kept" happen, which independent draws hardly ever give.
        let survivalPercent = generator.below(4) * 33
        for number in inodes.indices where inodes[number].isPending {
            let losses = inodes[number].crash(survivalPercent: survivalPercent, using: &generator)
            counts.unsyncedBytesLost += UInt64(losses.lostSectors * SimulatedDisk.sectorBytes)
            if losses.survivingSectors > 0 { counts.tornSectors += UInt64(losses.lostSectors) }
            lostSomething = lostSomething || losses.lostSectors > 0
        }
        var survivors = durableNames
        for change in pendingNames {
            guard generator.below(100) < survivalPercent else {
                counts.namesUndone += 1
                lostSomething = true
                continue
            }
            switch change {
            case .set(let name, let inode):
                survivors.removeAll { $0.name == name }
                survivors.append((name, inode))
            case .move(let old, let new, let inode):
                survivors.removeAll { $0.name == new || ($0.name == old && $0.inode == inode) }
                survivors.append((new, inode))
            case .remove(let name): survivors.removeAll { $0.name == name }
            }
        }
        names = survivors
        durableNames = survivors
        pendingNames = []
        forgetUnreachable()
        powerIsOut = false
        faults.operationsUntilPowerFails = nil
        if lostSomething { counts.lossyCrashes += 1 }
    }

    /// Latent damage: changes one byte of what is on disk, now and for good. False if the file has no such byte.
    @discardableResult
    package mutating func corrupt(_ file: FileName, at offset: UInt64, flipping bits: UInt8 = 0xff) -> Bool {
        guard let place = place(of: file), offset < UInt64(inodes[names[place].inode].content.count), bits != 0 else { return false }
        inodes[names[place].inode].corrupt(at: Int(offset), flipping: bits)
        counts.bytesCorrupted += 1
        return true
    }

    /// Latent damage somewhere: flips one bit of one byte that is not zero, so that it hits something that was written. Nil if there is none.
    /// `limit`: among so many at the end of the files whose names begin so, in the order of their names.
    package mutating func corruptSomewhere(amongLast limit: Int = .max, of prefix: String = "") -> (file: FileName, offset: UInt64)? {
        // From the end on, since most of the time only that is asked for.
        let files = names.filter { $0.name.name.hasPrefix(prefix) }.sorted { $0.name > $1.name }
        let written = files.reduce(0) { $0 + inodes[$1.inode].writtenBytes }
        guard written > 0 else { return nil }
        var remaining = Int(generator.below(UInt64(min(written, limit))))
        let bit = UInt8(1) << UInt8(generator.below(8))
        for file in files {
            if let offset = inodes[file.inode].offset(ofWrittenFromEnd: remaining) {
                corrupt(file.name, at: UInt64(offset), flipping: bit)
                return (file.name, UInt64(offset))
            }
            remaining -= inodes[file.inode].writtenBytes
        }
        return nil
    }

    /// Latent damage: the file ends at `size`, now and for good.
    package mutating func cut(_ file: FileName, to size: UInt64) {
        guard let place = place(of: file) else { return }
        inodes[names[place].inode].cut(to: Int(clamping: size))
    }

    /// Latent damage: the file is gone, now and for good.
    package mutating func lose(_ file: FileName) {
        names.removeAll { $0.name == file }
        durableNames.removeAll { $0.name == file }
        pendingNames.removeAll { $0.mentions(file) }
    }

    // MARK: Inside

    private enum NameChange: Hashable, Sendable {
        case set(FileName, inode: Int)
        case move(FileName, to: FileName, inode: Int)
        case remove(FileName)
        func mentions(_ file: FileName) -> Bool {
            switch self {
            case .set(let name, _), .remove(let name): name == file
            case .move(let old, let new, _): old == file || new == file
            }
        }
    }

    private mutating func operate(_ operation: String, _ file: FileName?) throws(DiskFailure) {
        counts.operations += 1
        if let left = faults.operationsUntilPowerFails {
            if left <= 1 { powerIsOut = true }
            faults.operationsUntilPowerFails = left == 0 ? 0 : left - 1
        }
        if powerIsOut { throw .failed(operation: operation, file, reason: "the power has failed") }
    }

    private func place(of file: FileName) -> Int? { names.firstIndex { $0.name == file } }

    private func find(_ file: FileName) throws(DiskFailure) -> Int {
        guard let place = place(of: file) else { throw .notFound(file) }
        return names[place].inode
    }

    private var usedBytes: UInt64 { names.reduce(0) { $0 + UInt64(inodes[$1.inode].content.count) } }

    /// Gives back the memory of files that no name leads to any more.
    private mutating func forgetUnreachable() {
        for number in inodes.indices where !inodes[number].content.isEmpty {
            let isReachable = names.contains { $0.inode == number } || durableNames.contains { $0.inode == number }
            if !isReachable { inodes[number] = Inode() }
        }
    }
}

/// A file without its name.
private struct Inode: Sendable {
    /// As a reader sees it.
    private(set) var content: [UInt8] = []
    private var durableSize = 0
    /// What a crash may bring back, by sector, ascending.
    private var pending: [PendingSector] = []

    /// How many bytes are not zero.
    var writtenBytes: Int {
        content.withUnsafeBufferPointer { bytes in
            var count = 0
            for byte in bytes { count &+= byte == 0 ? 0 : 1 }
            return count
        }
    }

    /// Where the byte is that is not zero and has so many of them behind it; nil: there are not so many.
    func offset(ofWrittenFromEnd number: Int) -> Int? {
        content.withUnsafeBufferPointer { bytes in
            var remaining = number
            var offset = bytes.count
            while offset > 0 {
                offset &-= 1
                if bytes[offset] == 0 { continue }
                if remaining == 0 { return offset }
                remaining &-= 1
            }
            return nil
        }
    }

    private struct PendingSector: Sendable {
        var sector: Int
        /// What was durable, then each version but the newest, which is in `content`.
        var earlier: [[UInt8]]
        /// A synchronization failed: the newest version does not become durable by another.
        var isAbandoned: Bool
    }

    var isPending: Bool { !pending.isEmpty || durableSize != content.count }

    mutating func write(_ bytes: [UInt8], at offset: Int) {
        guard !bytes.isEmpty else { return }
        let size = SimulatedDisk.sectorBytes
        let end = offset + bytes.count
        let first = min(offset, content.count) / size
        var place = pending.firstIndex { $0.sector >= first } ?? pending.count
        for sector in first...(end - 1) / size {
            let begin = min(sector * size, content.count)
            let old = Array(content[begin..<min(begin + size, content.count)])
            if place < pending.count, pending[place].sector == sector {
                pending[place].earlier.append(old)
                pending[place].isAbandoned = false
            } else {
                pending.insert(PendingSector(sector: sector, earlier: [old], isAbandoned: false), at: place)
            }
            place += 1
        }
        if content.count < end { content.append(contentsOf: repeatElement(0, count: end - content.count)) }
        content.withUnsafeMutableBytes { content in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: content[offset..<end]).copyMemory(from: $0) }
        }
    }

    mutating func synchronize() {
        pending.removeAll { !$0.isAbandoned }
        durableSize = content.count
    }

    mutating func abandonPending() {
        for place in pending.indices { pending[place].isAbandoned = true }
    }

    mutating func crash(survivalPercent: UInt64, using generator: inout SeededGenerator) -> (lostSectors: Int, survivingSectors: Int) {
        let size = SimulatedDisk.sectorBytes
        var (lost, surviving, end) = (0, 0, durableSize)
        for change in pending {
            let begin = change.sector * size
            if !change.isAbandoned, generator.below(100) < survivalPercent {
                surviving += 1
                end = max(end, min(begin + size, content.count))
                continue
            }
            lost += 1
            let version = change.earlier[Int(generator.below(UInt64(change.isAbandoned ? 1 : change.earlier.count)))]
            for place in begin..<min(begin + size, content.count) {
                content[place] = place - begin < version.count ? version[place - begin] : 0
            }
        }
        content.removeSubrange(min(end, content.count)...)
        durableSize = content.count
        pending = []
        return (lost, surviving)
    }

    mutating func corrupt(at offset: Int, flipping bits: UInt8) { content[offset] ^= bits }

    mutating func cut(to size: Int) {
        guard size < content.count else { return }
        content.removeSubrange(size...)
        durableSize = min(durableSize, size)
        pending.removeAll { $0.sector * SimulatedDisk.sectorBytes >= size }
    }
}
