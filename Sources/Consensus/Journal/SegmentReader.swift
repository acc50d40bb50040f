// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Reads a segment that is in memory whole, and judges what is bad in it: damage, or a flush that did not finish (see JournalFormat.swift
// for the argument).

struct SegmentReader {
    let number: UInt64
    let bytes: [UInt8]

    /// What stands at a sector where a batch may begin.
    enum Finding {
        /// Nothing: the sector is blank.
        case blank
        case batch(BatchHeader, records: [UInt8], end: Int)
        /// A batch of which at least one sector never arrived.
        case unfinished
        case damaged(offset: Int, reason: String)
    }

    func examine(at offset: Int, continuing previousChecksum: UInt64) -> Finding {
        let sector = JournalLayout.sectorBytes
        if isBlank(sectorAt: offset) { return .blank }
        guard let header = BatchHeader(segment: bytes, at: JournalPosition(segment: number, offset: offset)) else {
            return .damaged(offset: offset, reason: "a batch's header does not read back as it was written")
        }
        guard header.previousChecksum == previousChecksum else {
            return .damaged(offset: offset, reason: "a batch does not continue what stands before it")
        }
        let end = offset + Batch.sectors(forStreamBytes: header.streamBytes) * sector
        guard end <= bytes.count else { return .damaged(offset: offset, reason: "a batch reaches beyond its segment") }

        var damagedSector: Int?
        for place in stride(from: offset + sector, to: end, by: sector) {
            if isBlank(sectorAt: place) { return .unfinished }
            let stamp = BatchHeader.stamp(previousChecksum: previousChecksum, segment: number, sector: place)
            if bytes.word(at: place) != stamp, damagedSector == nil { damagedSector = place }
        }
        if let damagedSector { return .damaged(offset: damagedSector, reason: "a sector does not bear its batch's stamp") }

        var records: [UInt8] = []
        records.reserveCapacity(header.streamBytes)
        var place = offset + BatchHeader.bytes
        while records.count < header.streamBytes {
            let count = min(header.streamBytes - records.count, sector - place % sector)
            records.append(contentsOf: bytes[place..<place + count])
            place += count + 8
        }
        return .batch(header, records: records, end: end)
    }

    /// The highest mark that any batch from here on bears.
    func highestMark(from offset: Int) -> JournalPosition? {
        var highest: JournalPosition?
        for place in stride(from: offset, to: bytes.count, by: JournalLayout.sectorBytes) {
            if let header = BatchHeader(segment: bytes, at: JournalPosition(segment: number, offset: place)) {
                highest = max(highest ?? header.mark, header.mark)
            }
        }
        return highest
    }

    /// The end of the last sector from here on that is not blank; `offset` if all are.
    func endOfWritten(from offset: Int) -> Int {
        var end = bytes.count
        while end > offset, isBlank(sectorAt: end - JournalLayout.sectorBytes) { end -= JournalLayout.sectorBytes }
        return end
    }

    private func isBlank(sectorAt offset: Int) -> Bool {
        bytes.withUnsafeBytes { bytes in
            var place = offset
            while place < offset + JournalLayout.sectorBytes {
                if bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self) != 0 { return false }
                place += 8
            }
            return true
        }
    }
}

/// Takes the records off a batch and checks them. What fails here is damage: all sectors of the batch are there.
struct RecordReader {
    enum Content {
        case entry(Entry)
        case ballot(Ballot)
        case longestPromise(TimeSpan)
        case truncateFrom(LogIndex)
        case seal
    }
    struct Damage: Error { let reason: String }

    let segment: UInt64
    let records: [UInt8]
    private(set) var checksum: UInt64
    private var position = 0

    init(segment: UInt64, records: [UInt8], continuing previousChecksum: UInt64) {
        self.segment = segment
        self.records = records
        checksum = previousChecksum
    }

    /// Nil behind the last one.
    mutating func next() throws(Damage) -> Content? {
        guard position < records.count else { return nil }
        guard position + Record.headerBytes <= records.count else { throw Damage(reason: "a batch ends within a record") }
        let frame = records.word(at: position)
        let (kind, length) = (UInt32(frame >> 32), Int(frame & 0xffff_ffff))
        let begin = position + Record.headerBytes
        let end = begin + Record.padded(length)
        guard end <= records.count else { throw Damage(reason: "a record reaches beyond its batch") }
        var expected = Record.checksum(continuing: checksum, segment: segment, kind: kind, length: length)
        records.withUnsafeBytes { expected.mix(bytes: UnsafeRawBufferPointer(rebasing: $0[begin..<end])) }
        guard expected.value == records.word(at: position + 8) else { throw Damage(reason: "a record does not match its checksum") }
        checksum = expected.value
        position = end
        return try content(kind, records[begin..<begin + length])
    }

    private func content(_ kind: UInt32, _ payload: ArraySlice<UInt8>) throws(Damage) -> Content {
        var reader = LittleEndianReader(payload)
        guard let kind = RecordKind(rawValue: kind) else { throw Damage(reason: "a record is of the unknown kind \(kind)") }
        guard let word = reader.takeUInt64() else { throw Damage(reason: "a record is too short for its kind") }
        switch kind {
        case .entry:
            guard let term = reader.takeUInt64() else { throw Damage(reason: "a record is too short for its kind") }
            return .entry(Entry(index: LogIndex(word), term: Term(term), payload: Array(reader.takeRest())))
        case .change:
            guard let term = reader.takeUInt64(), let configuration = Configuration(takenFrom: &reader) else {
                throw Damage(reason: "an entry changes the members into something that they cannot be")
            }
            return .entry(
                Entry(index: LogIndex(word), term: Term(term), payload: Array(reader.takeRest()), configuration: configuration))
        case .ballot:
            let name = reader.takeRest()
            if name.isEmpty { return .ballot(Ballot(term: Term(word), vote: nil)) }
            guard let vote = MemberID(String(decoding: name, as: UTF8.self)) else {
                throw Damage(reason: "a vote is for no valid member id")
            }
            return .ballot(Ballot(term: Term(word), vote: vote))
        case .longestPromise: return .longestPromise(TimeSpan(nanoseconds: word))
        case .truncateFrom: return .truncateFrom(LogIndex(word))
        case .seal: return .seal
        }
    }
}
