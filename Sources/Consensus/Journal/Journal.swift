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

/// A segment of which it is known what stands before it, or not.
struct JournalSegment: Hashable, Sendable {
    let number: UInt64
    /// The last entry before it; nil: its header does not say, or what it says was cut off since.
    private(set) var base: LogIndex?
    init(number: UInt64, base: LogIndex?) {
        self.number = number
        self.base = base
    }
    /// Whether the journal may begin with it, if nothing up to `index` is needed.
    func begins(atOrBefore index: LogIndex) -> Bool { base.map { $0 <= index } ?? false }
    mutating func logIsCut(from index: LogIndex) {
        if let base, base >= index { self.base = nil }
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
    private var log: LogOutline
    private var ballot: Ballot
    private var longestPromise: TimeSpan
    private let genesisChecksum: UInt64
    /// Oldest first; the last is the one that is written.
    private var segments: [JournalSegment]
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
    ///
    /// - Parameter snapshot: the newest, from which the member begins. A journal that does not reach it (it was fetched, and the process
    ///   ended before the journal knew) goes on behind it; one that begins later is refused.
    package static func open(
        on disk: D, behind snapshot: LogBase? = nil, layout: JournalLayout = .standard
    ) throws(JournalRefusal) -> (journal: Journal<D>, genesis: Genesis, recovered: Recovered) {
        var disk = disk
        return try open(on: &disk, behind: snapshot, layout: layout)
    }

    /// The same for a disk that is a value, so that it is there also when this fails.
    package static func open(
        on disk: inout D, behind snapshot: LogBase? = nil, layout: JournalLayout = .standard
    ) throws(JournalRefusal) -> (journal: Journal<D>, genesis: Genesis, recovered: Recovered) {
        var recovery = JournalRecovery(disk: disk)
        let genesis: Genesis
        do throws(JournalRefusal) { genesis = try recovery.run() } catch {
            disk = recovery.disk
            throw error
        }
        var journal = Journal(recovery, layout: layout)
        var recovered = recovery.recovered
        defer { disk = journal.disk }
        try journal.adopt(snapshot, into: &recovered)
        return (journal, genesis, recovered)
    }

    private init(_ recovery: JournalRecovery<D>, layout: JournalLayout) {
        disk = recovery.disk
        self.layout = layout
        fileName = JournalFormat.segmentName(recovery.end.segment)
        segmentBytes = recovery.endOfSegment
        batch = Batch(at: recovery.end, continuing: recovery.checksum)
        durable = recovery.end
        durableMark = recovery.highestMark
        log = recovery.log
        ballot = recovery.recovered.ballot
        longestPromise = recovery.recovered.longestPromise
        genesisChecksum = recovery.genesisChecksum
        segments = recovery.segments
    }

    /// How many files it has beside the genesis.
    package var segmentCount: Int { segments.count }

    /// Brings together what the journal gave back and the newest snapshot.
    private mutating func adopt(_ snapshot: LogBase?, into recovered: inout Recovered) throws(JournalRefusal) {
        if let base = recovered.base, snapshot.map({ $0.index < base.index }) ?? true {
            throw .snapshotLost(begins: base.place, newest: snapshot?.place)
        }
        guard let snapshot else { return }
        recovered.snapshot = snapshot.place
        func contradicts(_ what: String) -> JournalRefusal {
            .damaged(SnapshotStore<D>.fileName(snapshot.place), offset: 0, reason: "the journal contradicts the snapshot: \(what)")
        }
        guard snapshot.term <= recovered.ballot.term else { throw contradicts("it ends in term \(recovered.ballot.term)") }
        if log.holds(snapshot.place) {
            guard log.place(at: snapshot.index) == snapshot else { throw contradicts("the members are others there") }
            return
        }
        if let base = recovered.base, base.index == snapshot.index { throw contradicts("it begins behind \(base.place)") }
        do throws(DiskFailure) {
            try append(JournalWrite(base: snapshot))
            try flush()
        } catch { throw .disk(error) }
        recovered.base = snapshot
        recovered.entries = []
    }

    // MARK: Writing

    /// Takes the write behind what is there; durable only after `flush`. Several appends may share one flush.
    ///
    /// Where a segment ends, or the log begins anew, this flushes what was appended before and makes the next segment. `DiskFailure.full` then means that nothing of
    /// this write was taken and that the journal may go on (when there is space), provided that the write is no larger than a segment.
    package mutating func append(_ write: JournalWrite) throws(DiskFailure) {
        precondition(!failed, "a journal that failed is not used again")
        if let base = write.base {
            try roll(behind: base)
            try drop(before: segments.count - 1)
        }
        let size = Record.streamBytes(write)
        if !fits(size), size <= layout.largestBatch { try roll(behind: log.end) }
        if let ballot = write.ballot {
            try makeRoom(Record.payloadBytes(ballot))
            batch.put(ballot)
            self.ballot = ballot
        }
        if let promise = write.longestPromise {
            try makeRoom(8)
            batch.put(longestPromise: promise)
            longestPromise = max(longestPromise, promise)
        }
        if let index = write.truncateFrom {
            precondition(index > log.base.index, "what is committed is never cut off")
            try makeRoom(8)
            batch.put(truncateFrom: index)
            log.truncate(from: index)
            for place in segments.indices { segments[place].logIsCut(from: index) }
        }
        for entry in write.entries {
            precondition(entry.index == log.last.next, "entry \(entry.index) cannot follow entry \(log.last)")
            try makeRoom(Record.payloadBytes(entry))
            batch.put(entry)
            log.append(entry)
        }
        if let index = write.forgetThrough, let place = segments.lastIndex(where: { $0.begins(atOrBefore: index) }) {
            try drop(before: place)
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
        do throws(DiskFailure) { try roll(behind: log.end) } catch {
            failed = true
            throw error.asFinal(fileName, while: "write")
        }
    }

    /// Goes on in a new segment, behind the end of the log or, where the log begins anew, behind a snapshot. Each step is durable before the
    /// next: what was appended, the new segment, the seal of the old one.
    private mutating func roll(behind base: LogBase) throws(DiskFailure) {
        try flush()
        let before = SegmentHeader.Before(
            genesisChecksum: genesisChecksum, base: base, ballot: ballot, longestPromise: longestPromise)
        let header = SegmentHeader(
            number: batch.start.segment + 1, segmentBytes: layout.segmentBytes, previousChecksum: sealedChecksum(), mark: durable,
            before: before)
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
        if base != log.end { log = LogOutline(behind: base) }
        segments.append(JournalSegment(number: header.number, base: base.index))
    }

    /// Removes the segments before the one at `place`. Oldest first, each durably before the next, so that those that are left follow each
    /// other whatever happens.
    private mutating func drop(before place: Int) throws(DiskFailure) {
        do throws(DiskFailure) {
            for _ in 0..<place {
                try disk.remove(JournalFormat.segmentName(segments[0].number))
                try disk.synchronizeDirectory()
                segments.removeFirst()
            }
        } catch {
            failed = true
            throw error == .full ? .failed(operation: "remove", nil, reason: "no space left on the disk") : error
        }
        if place > 0, let base = segments[0].base { log.forget(through: base) }
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
