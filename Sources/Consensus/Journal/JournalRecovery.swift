// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Opening a journal: read everything, refuse damage, cut the unfinished tail. When it is done, all that it gives back is durable, also
// where it had only reached the operating system's memory before the process died.

struct JournalRecovery<D: Disk> {
    var disk: D
    private(set) var recovered = Recovered.nothing
    /// Where the next batch goes.
    private(set) var end = JournalPosition(segment: 1, offset: JournalLayout.sectorBytes)
    private(set) var endOfSegment = 0
    private(set) var checksum: UInt64 = 0
    private(set) var highestMark = JournalPosition(segment: 0, offset: 0)

    init(disk: D) { self.disk = disk }

    mutating func run() throws(JournalRefusal) -> Genesis {
        let files = try reading { () throws(DiskFailure) in try disk.list() }
        let segments = files.compactMap(JournalFormat.segmentNumber).sorted()
        guard files.contains(JournalFormat.genesis) else {
            for segment in segments where try holdsRecords(segment) {
                throw .damaged(JournalFormat.genesis, offset: 0, reason: "the file is missing beside \(JournalFormat.segmentName(segment))")
            }
            throw .missing
        }
        try removeUnfinished(files)
        let (genesis, genesisChecksum) = try GenesisFile.decode(readWhole(JournalFormat.genesis))
        checksum = genesisChecksum
        try readSegments(segments)
        try writeAgainWhatIsUnconfirmed()
        try synchronizeEverything()
        return genesis
    }

    private mutating func readSegments(_ numbers: [UInt64]) throws(JournalRefusal) {
        guard let last = numbers.last else {
            throw .damaged(JournalFormat.segmentName(1), offset: 0, reason: "the file is missing")
        }
        var number: UInt64 = 1
        while true {
            guard numbers.contains(number) else {
                throw .damaged(JournalFormat.segmentName(number), offset: 0, reason: "the file is missing")
            }
            let sealed = try readSegment(number, last: last)
            if !sealed { return }
            number += 1
        }
    }

    /// Reads one segment to its end and says whether it is sealed. One that is not is where the journal goes on.
    private mutating func readSegment(_ number: UInt64, last: UInt64) throws(JournalRefusal) -> Bool {
        let name = JournalFormat.segmentName(number)
        let reader = SegmentReader(number: number, bytes: try readWhole(name))
        let header = try decodeHeader(reader)
        guard header.previousChecksum == checksum else {
            throw .damaged(name, offset: 0, reason: "the segment does not continue what stands before it")
        }
        checksum = header.checksum
        highestMark = max(highestMark, header.mark)
        let place = try readBatches(reader)
        if place.sealed { return true }

        // Nothing more to be read here. What follows decides whether that is how the journal ended.
        if let mark = reader.highestMark(from: place.offset) { highestMark = max(highestMark, mark) }
        if number != last { try removeUnusedSuccessor(of: number, last: last, endingAt: place.offset) }
        guard highestMark <= JournalPosition(segment: number, offset: place.offset) else {
            throw .damaged(name, offset: UInt64(place.offset), reason: "a batch that was durable before a later one is not there")
        }
        let written = reader.endOfWritten(from: place.offset)
        if written > place.offset {
            // The remains could count again if what is written over their beginning happened to be the same.
            let zeros = [UInt8](repeating: 0, count: written - place.offset)
            try reading { () throws(DiskFailure) in
                try disk.write(zeros, to: name, at: UInt64(place.offset))
                try disk.synchronize(name)
            }
        }
        end = JournalPosition(segment: number, offset: place.offset)
        endOfSegment = header.segmentBytes
        return false
    }

    private func decodeHeader(_ reader: SegmentReader) throws(JournalRefusal) -> SegmentHeader {
        let name = JournalFormat.segmentName(reader.number)
        do throws(SegmentHeader.Problem) {
            let header = try SegmentHeader(decoding: reader.bytes.prefix(JournalLayout.sectorBytes))
            guard header.number == reader.number else { throw .damaged("it is segment \(header.number) under another's name") }
            guard header.segmentBytes == reader.bytes.count, header.segmentBytes % JournalLayout.sectorBytes == 0 else {
                throw .damaged("the file has \(reader.bytes.count) bytes and should have \(header.segmentBytes)")
            }
            return header
        } catch {
            switch error {
            case .unknownFormat(let format): throw .unknownFormat(format)
            case .damaged(let reason): throw .damaged(name, offset: 0, reason: reason)
            }
        }
    }

    private mutating func readBatches(_ reader: SegmentReader) throws(JournalRefusal) -> (offset: Int, sealed: Bool) {
        let name = JournalFormat.segmentName(reader.number)
        var offset = JournalLayout.sectorBytes
        while offset < reader.bytes.count {
            switch reader.examine(at: offset, continuing: checksum) {
            case .blank, .unfinished: return (offset, false)
            case .damaged(let place, let reason): throw .damaged(name, offset: UInt64(place), reason: reason)
            case .batch(let header, let records, let end):
                var sealed = false
                do throws(RecordReader.Damage) {
                    var records = RecordReader(segment: reader.number, records: records, continuing: checksum)
                    while let record = try records.next() {
                        if case .seal = record { sealed = true } else { try take(record) }
                    }
                    checksum = records.checksum
                } catch {
                    throw .damaged(name, offset: UInt64(offset), reason: error.reason)
                }
                highestMark = max(highestMark, header.mark)
                offset = end
                if sealed { return (offset, true) }
            }
        }
        return (offset, false)
    }

    private mutating func take(_ record: RecordReader.Content) throws(RecordReader.Damage) {
        switch record {
        case .ballot(let ballot): recovered.ballot = ballot
        case .longestPromise(let promise): recovered.longestPromise = max(recovered.longestPromise, promise)
        case .truncateFrom(let index):
            let kept = Int(clamping: index.previous.position)
            if kept < recovered.entries.count { recovered.entries.removeSubrange(kept...) }
        case .entry(let entry):
            guard entry.index.position == UInt64(recovered.entries.count) + 1 else {
                throw RecordReader.Damage(reason: "entry \(entry.index) follows entry \(recovered.entries.count)")
            }
            recovered.entries.append(entry)
        case .seal: break
        }
    }

    /// A successor of a segment without a seal was made when the process ended between making it and sealing. It is empty then, because the
    /// seal is durable before anything is written behind it, and is made anew when its time comes.
    private mutating func removeUnusedSuccessor(of number: UInt64, last: UInt64, endingAt offset: Int) throws(JournalRefusal) {
        let name = JournalFormat.segmentName(number + 1)
        var isUsed = last > number + 1
        if !isUsed { isUsed = try holdsRecords(number + 1) }
        if isUsed {
            throw .damaged(JournalFormat.segmentName(number), offset: UInt64(offset), reason: "the journal breaks off, yet \(name) follows")
        }
        let header = try decodeHeader(SegmentReader(number: number + 1, bytes: try readWhole(name)))
        highestMark = max(highestMark, header.mark)
        guard highestMark <= JournalPosition(segment: number, offset: offset) else { return }
        try reading { () throws(DiskFailure) in
            try disk.remove(name)
            try disk.synchronizeDirectory()
        }
    }

    private mutating func removeUnfinished(_ files: [FileName]) throws(JournalRefusal) {
        let unfinished = files.filter { $0.name.hasSuffix(JournalFormat.unfinished) }
        guard !unfinished.isEmpty else { return }
        try reading { () throws(DiskFailure) in
            for file in unfinished { try disk.remove(file) }
            try disk.synchronizeDirectory()
        }
    }

    /// Where a synchronization failed, the operating system still shows what was written and takes it for clean: synchronizing again promises
    /// nothing about it. So what no mark confirms is written once more, the same bytes, and synchronized for the first time as it were.
    private mutating func writeAgainWhatIsUnconfirmed() throws(JournalRefusal) {
        for number in max(highestMark.segment, 1)...end.segment {
            let name = JournalFormat.segmentName(number)
            let bytes = try readWhole(name)
            let begin = number == highestMark.segment ? highestMark.offset : JournalLayout.sectorBytes
            let finish = number == end.segment ? end.offset : bytes.count
            guard begin < finish else { continue }
            try reading { () throws(DiskFailure) in try disk.write(Array(bytes[begin..<finish]), to: name, at: UInt64(begin)) }
        }
    }

    /// What was read may have come from the operating system's memory, where a process that was killed left it.
    private mutating func synchronizeEverything() throws(JournalRefusal) {
        let last = end.segment
        try reading { () throws(DiskFailure) in
            try disk.synchronize(JournalFormat.genesis)
            for number in 1...last { try disk.synchronize(JournalFormat.segmentName(number)) }
            try disk.synchronizeDirectory()
        }
    }

    private mutating func holdsRecords(_ segment: UInt64) throws(JournalRefusal) -> Bool {
        let bytes = try readWhole(JournalFormat.segmentName(segment))
        return bytes.dropFirst(JournalLayout.sectorBytes).contains { $0 != 0 }
    }

    private mutating func readWhole(_ file: FileName) throws(JournalRefusal) -> [UInt8] {
        try reading { () throws(DiskFailure) in
            try disk.read(file, at: 0, count: Int(clamping: try disk.size(of: file)))
        }
    }

    private func reading<Value>(_ body: () throws(DiskFailure) -> Value) throws(JournalRefusal) -> Value {
        do throws(DiskFailure) { return try body() } catch { throw .disk(error) }
    }
}
