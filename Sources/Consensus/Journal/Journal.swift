// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The durable log over an abstract disk: what a member must not forget (its ballot, its longest promise, its log). This file has the
// outward face and the writing side; JournalFormat.swift says what stands on disk and why it can be trusted; JournalRecovery.swift opens.
// Promised: when `flush` has returned, everything appended comes back at the next `open`, or `open` refuses; nothing comes back in part
// of a write that was not flushed, unless that write was larger than a segment. One `Disk.synchronize` a flush, except where a segment ends.
// Left to others: threads, when to flush, what to do about a failure (the process ends; a full disk is waited for).

extension DiskFailure {
    /// `.full` promises that nothing changed. Where that cannot be promised, it is a failure as any other.
    func asFinal(_ file: FileName, while operation: String) -> DiskFailure {
        self == .full ? .failed(operation: operation, file, reason: "no space left on the disk") : self
    }
}

/// What a member is born with; the first thing in its journal, never changed.
package struct Genesis: Hashable, Sendable {
    package let member: MemberID
    package let configuration: Configuration
    /// The initial replicated state, opaque to consensus.
    package let payload: [UInt8]
    package init(member: MemberID, configuration: Configuration, payload: [UInt8]) {
        self.member = member
        self.configuration = configuration
        self.payload = payload
    }
}

package struct Journal<D: Disk>: Sendable {
    /// Settable for worlds that break it between two calls; never written to by the journal's owner.
    package var disk: D
    private let layout: JournalLayout
    private var fileName: FileName
    private var segmentBytes: Int
    /// What was appended and not yet written; it begins where the written part ends.
    private var batch: Batch
    /// Everything before this place is durable.
    private var durable: JournalPosition
    /// The highest mark that is durable itself.
    private var durableMark: JournalPosition
    private var lastIndex: LogIndex
    private var failed = false

    // MARK: Making and opening

    /// Makes the journal of a new member; refuses a directory that already holds one.
    ///
    /// The genesis file comes last: until it is there, there is no journal, and this may be repeated.
    @discardableResult
    package static func create(on disk: D, genesis: Genesis, layout: JournalLayout = .standard) throws(DiskFailure) -> D {
        var disk = disk
        try create(on: &disk, genesis: genesis, layout: layout)
        return disk
    }

    /// The same for a disk that is a value, so that it is there also when this fails.
    package static func create(on disk: inout D, genesis: Genesis, layout: JournalLayout = .standard) throws(DiskFailure) {
        for file in try disk.list() {
            if file == JournalFormat.genesis { throw .alreadyExists(file) }
            guard JournalFormat.segmentNumber(file) != nil || file.name.hasSuffix(JournalFormat.unfinished) else { continue }
            let bytes = try disk.read(file, at: 0, count: Int(clamping: try disk.size(of: file)))
            // A segment with records in it is somebody's journal whose genesis is lost.
            if JournalFormat.segmentNumber(file) != nil, bytes.dropFirst(JournalLayout.sectorBytes).contains(where: { $0 != 0 }) {
                throw .alreadyExists(file)
            }
            try disk.remove(file)
        }
        let bytes = GenesisFile.encode(genesis)
        let nothing = JournalPosition(segment: 0, offset: 0)
        let header = SegmentHeader(
            number: 1, segmentBytes: layout.segmentBytes, previousChecksum: bytes.word(at: bytes.count - 8), mark: nothing)
        try makeSegment(header, on: &disk)
        let unfinished = FileName(JournalFormat.genesis.name + JournalFormat.unfinished)
        try disk.create(unfinished)
        try disk.write(bytes, to: unfinished, at: 0)
        try disk.synchronize(unfinished)
        try disk.rename(unfinished, to: JournalFormat.genesis)
        try disk.synchronizeDirectory()
    }

    /// Reads everything. Cuts what a crash left unfinished, and refuses what is damaged; all that it gives back is durable.
    package static func open(
        on disk: D, layout: JournalLayout = .standard
    ) throws(JournalRefusal) -> (journal: Journal<D>, genesis: Genesis, recovered: Recovered) {
        var disk = disk
        return try open(on: &disk, layout: layout)
    }

    /// The same for a disk that is a value, so that it is there also when this fails.
    package static func open(
        on disk: inout D, layout: JournalLayout = .standard
    ) throws(JournalRefusal) -> (journal: Journal<D>, genesis: Genesis, recovered: Recovered) {
        var recovery = JournalRecovery(disk: disk)
        defer { disk = recovery.disk }
        let genesis = try recovery.run()
        return (Journal(recovery, layout: layout), genesis, recovery.recovered)
    }

    private init(_ recovery: JournalRecovery<D>, layout: JournalLayout) {
        disk = recovery.disk
        self.layout = layout
        fileName = JournalFormat.segmentName(recovery.end.segment)
        segmentBytes = recovery.endOfSegment
        batch = Batch(at: recovery.end, continuing: recovery.checksum)
        durable = recovery.end
        durableMark = recovery.highestMark
        lastIndex = LogIndex(UInt64(recovery.recovered.entries.count))
    }

    // MARK: Writing

    /// Takes the write behind what is there; durable only after `flush`. Several appends may share one flush.
    ///
    /// Where a segment ends, this flushes what was appended before and makes the next segment. `DiskFailure.full` then means that nothing of
    /// this write was taken and that the journal may go on (when there is space), provided that the write is no larger than a segment.
    package mutating func append(_ write: JournalWrite) throws(DiskFailure) {
        precondition(!failed, "a journal that failed is not used again")
        let size = Record.streamBytes(write)
        if !fits(size), size <= layout.largestBatch { try roll() }
        if let ballot = write.ballot {
            try makeRoom(Record.payloadBytes(ballot))
            batch.put(ballot)
        }
        if let promise = write.longestPromise {
            try makeRoom(8)
            batch.put(longestPromise: promise)
        }
        if let index = write.truncateFrom {
            precondition(index > .zero, "the log begins at index 1")
            try makeRoom(8)
            batch.put(truncateFrom: index)
            lastIndex = min(lastIndex, index.previous)
        }
        for entry in write.entries {
            precondition(entry.index == lastIndex.next, "entry \(entry.index) cannot follow entry \(lastIndex)")
            try makeRoom(Record.payloadBytes(entry))
            batch.put(entry)
            lastIndex = entry.index
        }
    }

    /// Hands what was appended to the disk. It is not durable by that: a crash may lose or tear it. `flush` does this by itself.
    package mutating func write() throws(DiskFailure) {
        precondition(!failed, "a journal that failed is not used again")
        if !batch.isEmpty { try writeBatch() }
    }

    /// When it returns, everything appended is durable. After a failure the journal must not be used again.
    package mutating func flush() throws(DiskFailure) {
        try write()
        guard durable < batch.start else { return }
        do throws(DiskFailure) { try disk.synchronize(fileName) } catch {
            failed = true
            throw error.asFinal(fileName, while: "synchronize")
        }
        durable = batch.start
    }

    /// Marks the last flush as durable by a batch of nothing, if no later flush has done so: for a clean end, or an idle hour.
    package mutating func settle() throws(DiskFailure) {
        try flush()
        guard durableMark < durable, fits(0) else { return }
        // A batch of nothing is the mark alone; once it is written, it is behind `durable` itself, and that needs no mark.
        try writeBatch()
        try flush()
        durableMark = durable
    }

    private mutating func writeBatch() throws(DiskFailure) {
        let start = batch.start
        let bytes = batch.finish(mark: durable)
        do throws(DiskFailure) { try disk.write(bytes, to: fileName, at: UInt64(start.offset)) } catch {
            // Some of it may be there; the space was there when the segment was made, so this is a disk that cannot be relied on.
            failed = true
            throw error.asFinal(fileName, while: "write")
        }
        batch.restart(at: JournalPosition(segment: start.segment, offset: start.offset + bytes.count), continuing: batch.checksum)
    }

    // MARK: Segments

    /// Whether the batch can take so many more record bytes and leave the last sector to the seal.
    private func fits(_ streamBytes: Int) -> Bool { batch.end(adding: streamBytes) <= segmentBytes - JournalLayout.sectorBytes }

    /// Only a write larger than a segment is divided here.
    private mutating func makeRoom(_ payloadBytes: Int) throws(DiskFailure) {
        let size = Record.streamBytes(payload: payloadBytes)
        if fits(size) { return }
        precondition(size <= layout.largestBatch, "a record of \(payloadBytes) bytes is larger than a segment")
        do throws(DiskFailure) { try roll() } catch {
            failed = true
            throw error.asFinal(fileName, while: "write")
        }
    }

    /// Goes on in a new segment. Each step is durable before the next: what was appended, the new segment, the seal of the old one.
    private mutating func roll() throws(DiskFailure) {
        try flush()
        let header = SegmentHeader(
            number: batch.start.segment + 1, segmentBytes: layout.segmentBytes, previousChecksum: sealedChecksum(), mark: durable)
        do throws(DiskFailure) { try Journal.makeSegment(header, on: &disk) } catch {
            if error != .full { failed = true }
            throw error
        }
        batch.putSeal()
        try flush()
        durable = JournalPosition(segment: header.number, offset: JournalLayout.sectorBytes)
        durableMark = header.mark
        fileName = JournalFormat.segmentName(header.number)
        segmentBytes = header.segmentBytes
        batch.restart(at: durable, continuing: header.checksum)
    }

    /// The checksum with which this segment will end.
    private func sealedChecksum() -> UInt64 {
        var copy = Batch(at: batch.start, continuing: batch.checksum)
        copy.putSeal()
        return copy.checksum
    }

    /// Zeros in all its blocks, synchronized before it gets its name.
    private static func makeSegment(_ header: SegmentHeader, on disk: inout D) throws(DiskFailure) {
        let name = JournalFormat.segmentName(header.number)
        let unfinished = FileName(name.name + JournalFormat.unfinished)
        try disk.create(unfinished)
        do throws(DiskFailure) {
            let zeros = [UInt8](repeating: 0, count: min(header.segmentBytes, 256 << 10))
            var offset = 0
            while offset < header.segmentBytes {
                let count = min(zeros.count, header.segmentBytes - offset)
                try disk.write(count == zeros.count ? zeros : Array(zeros[..<count]), to: unfinished, at: UInt64(offset))
                offset += count
            }
            try disk.write(header.encoded(), to: unfinished, at: 0)
        } catch {
            // Out of the way of the next attempt, and its space is needed more than it.
            if error == .full { try disk.remove(unfinished) }
            throw error
        }
        do throws(DiskFailure) {
            try disk.synchronize(unfinished)
            try disk.rename(unfinished, to: name)
            try disk.synchronizeDirectory()
        } catch {
            // From here on nothing is repeated, also not for want of space.
            throw error.asFinal(unfinished, while: "synchronize")
        }
    }
}
