// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member's snapshots over an abstract disk. Promised: when `save` has returned, the snapshot comes back at every later `open`, or `open`
// refuses; and until then the one before it does. The newest and the one before it are kept, because somebody may be reading that one.
// The store may share a directory with the journal, whose names are none of its own. Left to others: when to take one, what of the log may be
// forgotten behind one, threads, and what to do about a failure (the process ends, unless it was for want of space).

/// Why a member does not start from the snapshots that it was given.
package enum SnapshotRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case unusable(FileName, SnapshotFlaw)
    case disk(DiskFailure)

    package var description: String {
        switch self {
        case .unusable(let file, .unknownFormat(let format)): "\(file): \(SnapshotFlaw.unknownFormat(format))"
        case .unusable(let file, .damaged(let reason)):
            "\(file) is damaged: \(reason); this member must not come back under its old id: remove it from the cluster and join it anew"
        case .disk(let failure): "cannot read the snapshots: \(failure)"
        }
    }
}

package struct SnapshotStore<D: Disk>: Sendable {
    /// Settable for worlds that break it between two calls; never written to by the store's owner.
    package var disk: D
    /// Rising; the last is the newest. At most two.
    package private(set) var places: [SnapshotPlace]
    private var failed = false

    package var newest: SnapshotPlace? { places.last }

    static var kept: Int { 2 }
    /// Written and read at a time.
    private static var partBytes: Int { 1 << 20 }

    /// `snapshot-`, index and term as sixteen hexadecimal digits each, so that names sort as places do.
    package static func fileName(_ place: SnapshotPlace) -> FileName {
        func digits(_ number: UInt64) -> String {
            let digits = String(number, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return FileName("snapshot-\(digits(place.index.position))-\(digits(place.term.number))")
    }

    static func place(_ file: FileName) -> SnapshotPlace? {
        let parts = file.name.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "snapshot", let index = UInt64(parts[1], radix: 16), let term = UInt64(parts[2], radix: 16)
        else { return nil }
        let place = SnapshotPlace(index: LogIndex(index), term: Term(term))
        return fileName(place) == file ? place : nil
    }

    // MARK: Opening

    /// Reads the newest snapshot, if there is one; all that it gives back is durable. What a crash left unfinished is removed, and so are
    /// snapshots older than the newest, once that has been read.
    package static func open(on disk: D) throws(SnapshotRefusal) -> (store: SnapshotStore<D>, newest: Snapshot?) {
        var disk = disk
        return try open(on: &disk)
    }

    /// The same for a disk that is a value, so that it is there also when this fails.
    package static func open(on disk: inout D) throws(SnapshotRefusal) -> (store: SnapshotStore<D>, newest: Snapshot?) {
        var found: [SnapshotPlace] = []
        do throws(DiskFailure) {
            for file in try disk.list() {
                if let place = place(file) { found.append(place) }
                if file.name.hasPrefix("snapshot-"), file.name.hasSuffix(JournalFormat.unfinished) { try disk.remove(file) }
            }
        } catch { throw .disk(error) }
        found.sort()
        guard let place = found.last else { return (SnapshotStore(disk: disk, places: []), nil) }
        let name = fileName(place)
        let bytes: [UInt8]
        do throws(DiskFailure) {
            // The name may be there only in the operating system's memory, where a process that was killed left it.
            try disk.synchronizeDirectory()
            let size = try disk.size(of: name)
            bytes = try size > UInt64(SnapshotFile.bytesLimit) ? [] : readWhole(name, Int(size), on: &disk)
        } catch { throw .disk(error) }
        let snapshot: Snapshot
        do throws(SnapshotFlaw) {
            snapshot = try SnapshotFile.decode(bytes)
            guard snapshot.place == place else { throw .damaged("it is the one behind \(snapshot.place), under another's name") }
        } catch { throw .unusable(name, error) }
        do throws(DiskFailure) {
            for older in found.dropLast() { try disk.remove(fileName(older)) }
        } catch { throw .disk(error) }
        return (SnapshotStore(disk: disk, places: [place]), snapshot)
    }

    private init(disk: D, places: [SnapshotPlace]) {
        self.disk = disk
        self.places = places
    }

    private static func readWhole(_ name: FileName, _ size: Int, on disk: inout D) throws(DiskFailure) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size)
        while bytes.count < size {
            let part = try disk.read(name, at: UInt64(bytes.count), count: min(partBytes, size - bytes.count))
            if part.isEmpty { break }
            bytes += part
        }
        return bytes
    }

    // MARK: Saving

    /// When it returns, the snapshot is durable. One that does not lie behind the newest changes nothing.
    ///
    /// `DiskFailure.full` means that nothing changed and the store may go on; after any other failure it must not be used again.
    package mutating func save(_ snapshot: Snapshot) throws(DiskFailure) {
        precondition(!failed, "a store that failed is not used again")
        if let newest, snapshot.place <= newest { return }
        let name = SnapshotStore.fileName(snapshot.place)
        let unfinished = FileName(name.name + JournalFormat.unfinished)
        let bytes = SnapshotFile.encode(snapshot)
        do throws(DiskFailure) { try write(bytes, to: unfinished) } catch {
            failed = error != .full
            if !failed { try giveUp(unfinished) }
            throw error
        }
        do throws(DiskFailure) {
            try disk.synchronize(unfinished)
            try disk.rename(unfinished, to: name)
            try disk.synchronizeDirectory()
            places.append(snapshot.place)
            // A removal that a crash undoes leaves a file that the next `open` removes.
            while places.count > SnapshotStore.kept { try disk.remove(SnapshotStore.fileName(places.removeFirst())) }
        } catch {
            // From here on nothing is repeated, also not for want of space.
            failed = true
            throw error.asFinal(unfinished, while: "synchronize")
        }
    }

    private mutating func write(_ bytes: [UInt8], to file: FileName) throws(DiskFailure) {
        try disk.create(file)
        var offset = 0
        while offset < bytes.count {
            let end = min(offset + SnapshotStore.partBytes, bytes.count)
            try disk.write(Array(bytes[offset..<end]), to: file, at: UInt64(offset))
            offset = end
        }
    }

    /// Out of the way of the next attempt, and its space is needed more than it.
    private mutating func giveUp(_ unfinished: FileName) throws(DiskFailure) {
        do throws(DiskFailure) { try disk.remove(unfinished) } catch {
            if case .notFound = error { return }
            failed = true
            throw error
        }
    }

    // MARK: Reading, for another member

    /// Size of the file; nil if this snapshot is not kept.
    package mutating func size(of place: SnapshotPlace) throws(DiskFailure) -> UInt64? {
        guard places.contains(place) else { return nil }
        return try disk.size(of: SnapshotStore.fileName(place))
    }

    /// Up to `count` bytes of the file from `offset`; nil if this snapshot is not kept.
    package mutating func read(_ place: SnapshotPlace, at offset: UInt64, count: Int) throws(DiskFailure) -> [UInt8]? {
        guard places.contains(place) else { return nil }
        return try disk.read(SnapshotStore.fileName(place), at: offset, count: count)
    }
}
