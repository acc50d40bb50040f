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
    private(set) var genesisChecksum: UInt64 = 0
    private(set) var log: LogOutline
    /// Those that were read, oldest first.
    private(set) var segments: [JournalSegment] = []

    init(disk: D) {
        self.disk = disk
        // Until the genesis is read.
        guard let nobody = MemberID("nobody"), let configuration = Configuration(voters: [nobody]) else {
            preconditionFailure("one member")
        }
        log = LogOutline(behind: .origin(configuration))
    }

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
        self.genesisChecksum = genesisChecksum
        log = LogOutline(behind: .origin(genesis.configuration))
        try readSegments(segments)
        try writeAgainWhatIsUnconfirmed()
        try synchronizeEverything()
        return genesis
    }

    private mutating func readSegments(_ numbers: [UInt64]) throws(JournalRefusal) {
        guard let first = numbers.first, let last = numbers.last else {
            throw .damaged(JournalFormat.segmentName(1), offset: 0, reason: "the file is missing")
        }
        var number = first
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
        try begin(header)
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

    /// What the header says of what stands before it is true, or all that is known.
    private mutating func begin(_ header: SegmentHeader) throws(JournalRefusal) {
        func damaged(_ reason: String) -> JournalRefusal { .damaged(JournalFormat.segmentName(header.number), offset: 0, reason: reason) }
        let isFirst = segments.isEmpty
        segments.append(JournalSegment(number: header.number, base: header.before?.base.index))
        guard let before = header.before else {
            // Nothing tells what stands before it but that.
            if isFirst {
                guard header.number == 1 else {
                    throw .damaged(JournalFormat.segmentName(header.number - 1), offset: 0, reason: "the file is missing")
                }
                checksum = genesisChecksum
            }
            guard header.previousChecksum == checksum else { throw damaged("the segment does not continue what stands before it") }
            return
        }
        guard before.genesisChecksum == genesisChecksum else { throw damaged("the segment is of another member's journal") }
        if isFirst {
            recovered.ballot = before.ballot
            recovered.longestPromise = before.longestPromise
        } else {
            guard header.previousChecksum == checksum else { throw damaged("the segment does not continue what stands before it") }
            guard recovered.ballot == before.ballot, recovered.longestPromise == before.longestPromise else {
                throw damaged("the segment does not begin with what stands before it")
            }
            if before.base == log.end { return }
            // The log begins anew. Where it has the snapshot's entry, it has no reason to.
            guard !log.holds(before.base.place) else { throw damaged("the segment does not begin where the log ends") }
        }
        log = LogOutline(behind: before.base)
        recovered.base = before.base
        recovered.entries = []
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
            guard index > log.base.index else { throw RecordReader.Damage(reason: "what stands before the log is cut off") }
            log.truncate(from: index)
            let kept = Int(clamping: log.last.position - log.base.index.position)
            if kept < recovered.entries.count { recovered.entries.removeSubrange(kept...) }
            for place in segments.indices { segments[place].logIsCut(from: index) }
        case .entry(let entry):
            guard entry.index == log.last.next else {
                throw RecordReader.Damage(reason: "entry \(entry.index) follows entry \(log.last)")
            }
            log.append(entry)
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
        for number in max(highestMark.segment, segments[0].number)...end.segment {
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
        let (first, last) = (segments[0].number, end.segment)
        try reading { () throws(DiskFailure) in
            try disk.synchronize(JournalFormat.genesis)
            for number in first...last { try disk.synchronize(JournalFormat.segmentName(number)) }
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
