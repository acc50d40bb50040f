// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What stands where in a segment. Segments are preallocated: a segment gets its name only when all its blocks are written (zeros) and
// synchronized, so a segment file of another size than its header says is damaged, never unfinished.
//
// The problem: after a crash the end of the journal is whatever the disk had got to. Something there that does not read back is either a
// flush that never finished (nobody was told that it was durable; it must be cut, or the member could not start after any power cut), or a
// flush that was acknowledged and has rotted since (the member must refuse, or it would have forgotten a vote). A checksum alone cannot
// tell them apart. Two things can:
//
//   1. Marks. Each batch states up to where everything was durable before it was written, and so does each segment's header. What is bad
//      below the highest mark is damage. This leaves open what lies above it: the very last flush.
//   2. Blank sectors. A disk writes a sector of 512 bytes as a whole or not at all, and the space ahead is zeros. So a flush that did not
//      finish has, for each part that is missing, whole sectors of zeros; and we make sure that a sector that was written is never all
//      zeros: each begins with a stamp that has at least two bytes that are not zero. A batch in whose extent a sector is blank is
//      unfinished. One whose sectors have all arrived had finished, may have been acknowledged, and must be right: a flipped byte leaves
//      no sector blank, so it is damage even in the last flush.
//
// Together they close the window at one fdatasync a flush, for all damage that alters bytes. What remains: a disk that says it has
// synchronized the last flush and later shows one of its sectors as zeros has lied in the one way that looks like a power cut. The
// next flush closes that, and so does `Journal.settle`, which a clean end calls. Rejected: a mark in a file of its own (a second fdatasync
// a flush, or a mark that lags by as much); refusing all bad tails (every power cut would cost a member); a checksum for each sector (it
// would make the records' checksums ornamental).
//
// No acknowledged sector is ever overwritten with anything else: a batch begins on a sector of its own. (What no mark confirms is written
// again, the same bytes, when the journal is opened; a sector that is torn between equal versions is whole.)
//
// A segment that is not the first says in its header what stands before it: the end of the log, the ballot, the longest promise. So the
// segments before it can go, oldest first, and nothing is written for that. A header may also say that the log begins anew behind a
// snapshot: then what stands before it is void.
//
// A segment: header (one sector), batches, zeros. The last sector is kept free for the seal, which says that the next segment
// follows; a sealed segment without its successor is damage. A batch: header, records; its sectors but the first begin with a stamp.
// Numbers are little-endian. A record: length (32 bits), kind (32), checksum (64), payload, zeros up to the next multiple of eight. Its
// checksum continues the previous record's, across batches and segments, and covers the segment's number, kind, length and payload. So
// neither a record of another place nor one of an earlier life of these blocks counts.

/// Sizes, for tests and simulations that want many segments from few records.
package struct JournalLayout: Hashable, Sendable {
    /// What a disk writes as a whole or not at all. A disk with larger sectors only does better.
    package static let sectorBytes = 512

    /// Size of the segments that will be made; those that exist state their own.
    package let segmentBytes: Int

    /// - Parameter segmentBytes: a multiple of 512, at least four sectors. An entry's record must fit: an entry of the greatest
    ///   size needs `JournalLayout.standard`.
    package init(segmentBytes: Int) {
        precondition(
            segmentBytes % JournalLayout.sectorBytes == 0 && segmentBytes >= 4 * JournalLayout.sectorBytes && segmentBytes <= 1 << 30,
            "a segment is four sectors to one gibibyte, in whole sectors")
        self.segmentBytes = segmentBytes
    }

    package static let standard = JournalLayout(segmentBytes: 4 << 20)

    /// The record bytes that one batch can hold in an otherwise empty segment.
    package var largestBatch: Int {
        Batch.streamBytes(inSectors: segmentBytes / JournalLayout.sectorBytes - 2)
    }
}

package enum JournalFormat {
    /// Of genesis file and segments; rises with every change that an older release cannot read.
    package static let current: UInt32 = 1
    /// Of segments that say what stands before them; those of a release that did not cut its log do not.
    package static let segments: UInt32 = 2
    package static let genesis = FileName("genesis")
    /// What is not finished has a name that ends so; it is removed when the journal is opened.
    static let unfinished = ".unfinished"

    /// `segment-` and sixteen hexadecimal digits, so that names sort as numbers do.
    package static func segmentName(_ number: UInt64) -> FileName {
        let digits = String(number, radix: 16)
        return FileName("segment-" + String(repeating: "0", count: 16 - digits.count) + digits)
    }
    static func segmentNumber(_ file: FileName) -> UInt64? {
        guard file.name.hasPrefix("segment-"), let number = UInt64(file.name.dropFirst(8), radix: 16), segmentName(number) == file else {
            return nil
        }
        return number
    }
}

/// A place in the journal.
struct JournalPosition: Comparable, Hashable, Sendable {
    var segment: UInt64
    var offset: Int
    static func < (left: JournalPosition, right: JournalPosition) -> Bool {
        left.segment == right.segment ? left.offset < right.offset : left.segment < right.segment
    }
}

/// The first sector of a segment. It is itself a mark: the segment was made when everything before it was durable.
struct SegmentHeader: Hashable, Sendable {
    static let magic: UInt64 = 0x746e_656d_6765_7363  // "csegment"

    var number: UInt64
    var segmentBytes: Int
    /// The checksum with which everything before this segment ends; for the first segment the genesis file's.
    var previousChecksum: UInt64
    var mark: JournalPosition
    /// Nil in the first segment, and in those of a release that did not cut its log.
    var before: Before?

    /// What stands before this segment.
    struct Before: Hashable, Sendable {
        /// Of the genesis file: another member's segments do not fit.
        var genesisChecksum: UInt64
        /// The end of the log there, or behind which snapshot the log begins anew here.
        var base: LogBase
        var ballot: Ballot
        var longestPromise: TimeSpan
    }

    /// Where the checksum of a sector stands that says what stands before it.
    private static let checksumOffset = JournalLayout.sectorBytes - 8

    /// What the checksum covers.
    private var covered: [UInt8] {
        var writer = LittleEndianWriter()
        let format = before == nil ? JournalFormat.current : JournalFormat.segments
        for word in [
            SegmentHeader.magic, UInt64(format), number, UInt64(segmentBytes), previousChecksum, mark.segment, UInt64(mark.offset),
        ] { writer.put(word) }
        guard let before else { return writer.bytes }
        for word in [
            before.genesisChecksum, before.base.index.position, before.base.term.number, before.ballot.term.number,
            before.longestPromise.nanoseconds,
        ] { writer.put(word) }
        var bytes = writer.bytes
        func put(_ name: String) { bytes += [UInt8(name.utf8.count)] + Array(name.utf8) }
        put(before.ballot.vote?.name ?? "")
        for members in [before.base.configuration.voters, before.base.configuration.learners] {
            bytes.append(UInt8(members.count))
            for member in members { put(member.name) }
        }
        precondition(bytes.count <= SegmentHeader.checksumOffset, "a configuration is larger than a sector")
        return bytes + [UInt8](repeating: 0, count: SegmentHeader.checksumOffset - bytes.count)
    }
    /// What the segment's first batch continues.
    var checksum: UInt64 {
        var checksum = Checksum()
        checksum.mix(bytes: covered)
        return checksum.value
    }

    /// A whole sector.
    func encoded() -> [UInt8] {
        var writer = LittleEndianWriter()
        writer.put(checksum)
        let bytes = covered + writer.bytes
        return bytes + [UInt8](repeating: 0, count: JournalLayout.sectorBytes - bytes.count)
    }

    enum Problem: Error { case unknownFormat(UInt32), damaged(String) }

    init(number: UInt64, segmentBytes: Int, previousChecksum: UInt64, mark: JournalPosition, before: Before? = nil) {
        self.number = number
        self.segmentBytes = segmentBytes
        self.previousChecksum = previousChecksum
        self.mark = mark
        self.before = before
    }

    init(decoding sector: ArraySlice<UInt8>) throws(Problem) {
        let unreadable = Problem.damaged("the header does not read back as it was written")
        var reader = LittleEndianReader(sector)
        guard sector.count == JournalLayout.sectorBytes, let magic = reader.takeUInt64(), let format = reader.takeUInt64(),
            let number = reader.takeUInt64(), let size = reader.takeUInt64(), let previous = reader.takeUInt64(),
            let markSegment = reader.takeUInt64(), let markOffset = reader.takeUInt64()
        else { throw .damaged("the file is shorter than a segment's header") }
        guard magic == SegmentHeader.magic else { throw .damaged("it does not begin as a segment does") }
        var before: Before?
        var checksum: UInt64
        switch format {
        case UInt64(JournalFormat.current): checksum = sector.word(at: sector.startIndex + 56)
        case UInt64(JournalFormat.segments):
            checksum = sector.word(at: sector.startIndex + SegmentHeader.checksumOffset)
            before = Before(takenFrom: &reader)
            guard before != nil else { throw unreadable }
        default: throw .unknownFormat(UInt32(truncatingIfNeeded: format))
        }
        guard size <= 1 << 30, markOffset <= 1 << 30 else { throw unreadable }
        self.init(
            number: number, segmentBytes: Int(size), previousChecksum: previous,
            mark: JournalPosition(segment: markSegment, offset: Int(markOffset)), before: before)
        guard checksum == self.checksum else { throw unreadable }
    }
}

extension SegmentHeader.Before {
    /// Nil where the bytes are none.
    init?(takenFrom reader: inout LittleEndianReader) {
        guard let genesis = reader.takeUInt64(), let index = reader.takeUInt64(), let term = reader.takeUInt64(),
            let ballotTerm = reader.takeUInt64(), let promise = reader.takeUInt64()
        else { return nil }
        var rest = reader.takeRest()
        func takeName() -> String? {
            guard let count = rest.popFirst(), rest.count >= Int(count) else { return nil }
            defer { rest.removeFirst(Int(count)) }
            return String(decoding: rest.prefix(Int(count)), as: UTF8.self)
        }
        func takeMembers() -> [MemberID]? {
            guard let count = rest.popFirst() else { return nil }
            var members: [MemberID] = []
            for _ in 0..<count {
                guard let member = takeName().flatMap({ MemberID($0) }) else { return nil }
                members.append(member)
            }
            return members
        }
        guard let name = takeName(), name.isEmpty || MemberID(name) != nil, let voters = takeMembers(), let learners = takeMembers(),
            let configuration = Configuration(voters: voters, learners: learners)
        else { return nil }
        self.init(
            genesisChecksum: genesis,
            base: LogBase(place: SnapshotPlace(index: LogIndex(index), term: Term(term)), configuration: configuration),
            ballot: Ballot(term: Term(ballotTerm), vote: MemberID(name)), longestPromise: TimeSpan(nanoseconds: promise))
    }
}

/// The beginning of a batch, in the first sector of it. Stands for itself: it can be recognized without what precedes it.
struct BatchHeader: Hashable, Sendable {
    static let magic: UInt64 = 0x6863_7461_6264_6563  // "cedbatch"
    static let bytes = 48

    /// The checksum with which everything before this batch ends.
    var previousChecksum: UInt64
    /// Bytes of records, without stamps. Zero in a batch that is only a mark.
    var streamBytes: Int
    /// Everything before this place was durable before this batch was written.
    var mark: JournalPosition

    func checksum(at position: JournalPosition) -> UInt64 {
        var checksum = Checksum(continuing: previousChecksum)
        checksum.mix(position.segment)
        checksum.mix(UInt64(position.offset))
        checksum.mix(UInt64(streamBytes))
        checksum.mix(mark.segment)
        checksum.mix(UInt64(mark.offset))
        return checksum.value
    }

    /// Writes over the first bytes of a batch.
    func encode(at position: JournalPosition, into bytes: inout [UInt8]) {
        bytes.setWord(BatchHeader.magic, at: 0)
        bytes.setWord(previousChecksum, at: 8)
        bytes.setWord(UInt64(streamBytes), at: 16)
        bytes.setWord(mark.segment, at: 24)
        bytes.setWord(UInt64(mark.offset), at: 32)
        bytes.setWord(checksum(at: position), at: 40)
    }

    init(previousChecksum: UInt64, streamBytes: Int, mark: JournalPosition) {
        self.previousChecksum = previousChecksum
        self.streamBytes = streamBytes
        self.mark = mark
    }

    /// Nil unless a batch header that was written for this very place reads back.
    init?(segment bytes: [UInt8], at position: JournalPosition) {
        guard bytes.word(at: position.offset) == BatchHeader.magic else { return nil }
        let streamBytes = bytes.word(at: position.offset + 16)
        let markOffset = bytes.word(at: position.offset + 32)
        guard streamBytes <= 1 << 30, markOffset <= 1 << 30 else { return nil }
        self.init(
            previousChecksum: bytes.word(at: position.offset + 8), streamBytes: Int(streamBytes),
            mark: JournalPosition(segment: bytes.word(at: position.offset + 24), offset: Int(markOffset)))
        guard bytes.word(at: position.offset + 40) == checksum(at: position) else { return nil }
    }

    /// With what a later sector of the batch begins. Never zero, even after any one byte of it has changed.
    static func stamp(previousChecksum: UInt64, segment: UInt64, sector offset: Int) -> UInt64 {
        var checksum = Checksum(continuing: previousChecksum)
        checksum.mix(segment)
        checksum.mix(UInt64(offset))
        return checksum.value | 0x0100_0000_0000_0001
    }
}
