// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Records gathered for one write, in the form in which they will stand on disk (see JournalFormat.swift). A batch counts whole or not at
// all when the journal is opened. Payloads are copied once, from the entry into the batch.

/// What a record says.
enum RecordKind: UInt32, Sendable {
    case entry = 1
    case ballot = 2
    case longestPromise = 3
    case truncateFrom = 4
    /// The journal goes on in the next segment.
    case seal = 5
    /// An entry that changes the configuration.
    case change = 6
}

/// A record's frame.
enum Record {
    static let headerBytes = 16

    /// Length and kind share a word, so neither can change unnoticed.
    static func checksum(continuing previous: UInt64, segment: UInt64, kind: UInt32, length: Int) -> Checksum {
        var checksum = Checksum(continuing: previous)
        checksum.mix(segment)
        checksum.mix(UInt64(kind) << 32 | UInt64(length))
        return checksum
    }
    static func padded(_ length: Int) -> Int { (length + 7) & ~7 }
    static func streamBytes(payload length: Int) -> Int { headerBytes + padded(length) }

    static func payloadBytes(_ entry: Entry) -> Int {
        16 + (entry.configuration.map { encode($0).count } ?? 0) + entry.payload.count
    }
    /// In front of the entry's payload.
    static func encode(_ configuration: Configuration) -> [UInt8] {
        var writer = LittleEndianWriter()
        configuration.put(into: &writer)
        return writer.bytes
    }
    static func payloadBytes(_ ballot: Ballot) -> Int { 8 + (ballot.vote?.name.utf8.count ?? 0) }

    /// The record bytes of a whole write.
    static func streamBytes(_ write: JournalWrite) -> Int {
        var bytes = 0
        if let ballot = write.ballot { bytes += streamBytes(payload: payloadBytes(ballot)) }
        if write.longestPromise != nil { bytes += streamBytes(payload: 8) }
        if write.truncateFrom != nil { bytes += streamBytes(payload: 8) }
        for entry in write.entries { bytes += streamBytes(payload: payloadBytes(entry)) }
        return bytes
    }
}

struct Batch: Sendable {
    private(set) var start: JournalPosition
    private(set) var previousChecksum: UInt64
    /// The checksum of the last record so far.
    private(set) var checksum: UInt64
    private(set) var streamBytes: Int
    /// Sectors so far; the header's place is kept until `finish`.
    private var bytes: [UInt8]

    init(at start: JournalPosition, continuing previousChecksum: UInt64) {
        self.start = start
        self.previousChecksum = previousChecksum
        checksum = previousChecksum
        streamBytes = 0
        bytes = []
    }

    var isEmpty: Bool { streamBytes == 0 }

    /// Begins anew, keeping the buffer.
    mutating func restart(at start: JournalPosition, continuing previousChecksum: UInt64) {
        self.start = start
        self.previousChecksum = previousChecksum
        checksum = previousChecksum
        streamBytes = 0
        // A buffer that one large batch made grow is given back.
        bytes.removeAll(keepingCapacity: bytes.capacity <= 1 << 20)
    }

    static func streamBytes(inSectors sectors: Int) -> Int {
        sectors < 1 ? 0 : sectors * (JournalLayout.sectorBytes - 8) + 8 - BatchHeader.bytes
    }
    static func sectors(forStreamBytes count: Int) -> Int {
        let first = JournalLayout.sectorBytes - BatchHeader.bytes
        let others = JournalLayout.sectorBytes - 8
        return count <= first ? 1 : 1 + (count - first + others - 1) / others
    }

    /// The offset behind this batch if it took `more` record bytes.
    func end(adding more: Int) -> Int {
        start.offset + Batch.sectors(forStreamBytes: streamBytes + more) * JournalLayout.sectorBytes
    }

    mutating func put(_ entry: Entry) {
        if let configuration = entry.configuration {
            let payload = Record.encode(configuration) + entry.payload
            payload.withUnsafeBytes { payload in
                frame(.change, length: Record.payloadBytes(entry), entry.index.position, entry.term.number, bytes: payload)
            }
            return
        }
        entry.payload.withUnsafeBytes { payload in
            frame(.entry, length: Record.payloadBytes(entry), entry.index.position, entry.term.number, bytes: payload)
        }
    }
    mutating func put(_ ballot: Ballot) {
        let name = Array((ballot.vote?.name ?? "").utf8)
        name.withUnsafeBytes { name in
            frame(.ballot, length: Record.payloadBytes(ballot), ballot.term.number, nil, bytes: name)
        }
    }
    mutating func put(longestPromise: TimeSpan) { putWord(.longestPromise, longestPromise.nanoseconds) }
    mutating func put(truncateFrom index: LogIndex) { putWord(.truncateFrom, index.position) }
    mutating func putSeal() { putWord(.seal, start.segment + 1) }

    private mutating func putWord(_ kind: RecordKind, _ word: UInt64) {
        frame(kind, length: 8, word, nil, bytes: UnsafeRawBufferPointer(start: nil, count: 0))
    }

    private mutating func frame(
        _ kind: RecordKind, length: Int, _ first: UInt64, _ second: UInt64?, bytes payload: UnsafeRawBufferPointer
    ) {
        var checksum = Record.checksum(continuing: self.checksum, segment: start.segment, kind: kind.rawValue, length: length)
        checksum.mix(first)
        if let second { checksum.mix(second) }
        checksum.mix(bytes: payload)
        self.checksum = checksum.value
        append(UInt64(kind.rawValue) << 32 | UInt64(length))
        append(self.checksum)
        append(first)
        if let second { append(second) }
        append(payload)
    }

    /// Makes room in the sector that is being filled; a new sector gets its stamp.
    private mutating func roomInSector() -> Int {
        if bytes.isEmpty {
            bytes.append(contentsOf: repeatElement(0, count: BatchHeader.bytes))
        } else if bytes.count % JournalLayout.sectorBytes == 0 {
            let stamp = BatchHeader.stamp(previousChecksum: previousChecksum, segment: start.segment, sector: start.offset + bytes.count)
            withUnsafeBytes(of: stamp.littleEndian) { bytes.append(contentsOf: $0) }
        }
        return JournalLayout.sectorBytes - bytes.count % JournalLayout.sectorBytes
    }
    private mutating func append(_ word: UInt64) {
        _ = roomInSector()
        withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) }
        streamBytes += 8
    }
    private mutating func append(_ payload: UnsafeRawBufferPointer) {
        var offset = 0
        while offset < payload.count {
            let count = min(roomInSector(), payload.count - offset)
            bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: payload[offset..<offset + count]))
            offset += count
        }
        let padding = Record.padded(payload.count) - payload.count
        bytes.append(contentsOf: repeatElement(0, count: padding))
        streamBytes += payload.count + padding
    }

    /// Whole sectors, ready to be written at `start`.
    mutating func finish(mark: JournalPosition) -> [UInt8] {
        if bytes.isEmpty { _ = roomInSector() }
        let header = BatchHeader(previousChecksum: previousChecksum, streamBytes: streamBytes, mark: mark)
        header.encode(at: start, into: &bytes)
        let rest = bytes.count % JournalLayout.sectorBytes
        if rest != 0 { bytes.append(contentsOf: repeatElement(0, count: JournalLayout.sectorBytes - rest)) }
        return bytes
    }
}
