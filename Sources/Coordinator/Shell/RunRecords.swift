// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The records of runs that this member keeps (protocol page, 14.5): `<reqid>.json` in a directory of their own, whole or absent, for a day,
// within bounds of number and size; when one is full the oldest go early, which is logged. What a record says is not this room's business.
// Files are touched on a thread of their own and by no event loop. A file that another hand puts there is as good as ours.

import CoordinatorCore
import CtrlExec
import Glibc
import NIOPosix
import Platform
import Synchronization

package final class RunRecords: Sendable {
    package struct Bounds: Hashable, Sendable {
        package var retentionSeconds = Int64(Limits.resultRetentionSeconds)
        package var count = 10_000
        /// Of all records together.
        package var bytes = 512 << 20
        /// Of one record.
        package var recordBytes = 8 << 20
        package init() {}
    }

    package let directory: String
    package let bounds: Bounds
    private let log: @Sendable (LogRecord) -> Void
    private let now: @Sendable () -> Int64
    private let worker = NIOThreadPool(numberOfThreads: 1)
    private let index = Mutex(Index())

    private struct Index {
        struct Entry {
            let bytes: Int
            let modifiedSeconds: Int64
        }
        var entries: [Reqid: Entry] = [:]
        var bytes = 0
        var isScanned = false
        var nextSweep = Int64.min

        mutating func note(_ reqid: Reqid, _ entry: Entry?) {
            bytes += (entry?.bytes ?? 0) - (entries[reqid]?.bytes ?? 0)
            entries[reqid] = entry
        }
        var oldest: Reqid? {
            entries.min { ($0.value.modifiedSeconds, $0.key) < ($1.value.modifiedSeconds, $1.key) }?.key
        }
    }

    /// - Parameters:
    ///   - directory: made when the first record is written.
    ///   - now: seconds since 1970.
    package init(
        directory: String, bounds: Bounds = Bounds(), log: @escaping @Sendable (LogRecord) -> Void, now: @escaping @Sendable () -> Int64
    ) {
        self.directory = directory
        self.bounds = bounds
        self.log = log
        self.now = now
        worker.start()
    }

    package func close() async {
        // A pool that is closed already has nothing left to do.
        try? await worker.shutdownGracefully()
    }

    /// Replaces the record under this reqid. What could not be written is in the log; a run is not undone for it.
    @discardableResult package func keep(_ record: [UInt8], of reqid: Reqid) async -> Bool {
        await work(otherwise: false) {
            do throws(FileProblem) {
                try self.write(record, of: reqid)
                return true
            } catch {
                self.log(LogRecord(.error, "run-store-fail", [("REQID", "\(reqid)"), ("ERROR", error.description)]))
                return false
            }
        }
    }

    /// Nil if there is none, or it is too old.
    package func record(of reqid: Reqid) async -> [UInt8]? {
        await work(otherwise: nil) {
            guard let file = self.open(reqid) else { return nil }
            do throws(FileProblem) { return try file.read(offset: 0, count: file.bytes) } catch {
                self.log(LogRecord(.error, "run-read-fail", [("REQID", "\(reqid)"), ("ERROR", error.description)]))
                return nil
            }
        }
    }

    /// The record as another member asks for it.
    package func source(of reqid: Reqid) async -> (any BulkSource)? {
        await work(otherwise: nil) { self.open(reqid).map { Source(file: $0, worker: self.worker) } }
    }

    /// How many there are, and their bytes.
    package func extent() async -> (count: Int, bytes: Int) {
        await work(otherwise: (0, 0)) {
            self.sweep(always: true)
            return self.index.withLock { ($0.entries.count, $0.bytes) }
        }
    }

    // MARK: On the worker

    private func work<Value: Sendable>(otherwise: Value, _ body: @escaping @Sendable () -> Value) async -> Value {
        // It throws only when the pool was shut down: the member ends.
        do { return try await worker.runIfActive(body) } catch { return otherwise }
    }

    private func path(_ reqid: Reqid) -> String { "\(directory)/\(reqid).json" }

    private func open(_ reqid: Reqid) -> ReadableFile? {
        sweep()
        do throws(FileProblem) {
            let file = try ReadableFile(path(reqid))
            guard !isOld(file.modified.seconds), file.bytes <= bounds.recordBytes else { return nil }
            return file
        } catch {
            if !error.isMissing { log(LogRecord(.error, "run-read-fail", [("REQID", "\(reqid)"), ("ERROR", error.description)])) }
            return nil
        }
    }

    private func write(_ record: [UInt8], of reqid: Reqid) throws(FileProblem) {
        guard record.count <= bounds.recordBytes else { throw FileProblem("write", path(reqid), EFBIG) }
        try DurableFile.makeDirectory(directory, mode: 0o750)
        sweep()
        makeRoom(for: record.count, of: reqid)
        try DurableFile.write(record, to: path(reqid), mode: 0o640)
        // The file's own time, as the next scan will find it: what is oldest must not depend on which of two clocks was asked.
        let written = try ReadableFile(path(reqid))
        index.withLock { $0.note(reqid, Index.Entry(bytes: written.bytes, modifiedSeconds: written.modified.seconds)) }
    }

    private func makeRoom(for bytes: Int, of reqid: Reqid) {
        var evicted = 0
        while let oldest = index.withLock({ index -> Reqid? in
            let isNew = index.entries[reqid] == nil
            let isFull = index.entries.count + (isNew ? 1 : 0) > bounds.count || index.bytes + bytes > bounds.bytes
            return isFull ? index.oldest : nil
        }) {
            remove(oldest)
            evicted += 1
        }
        if evicted > 0 {
            log(
                LogRecord(
                    .warning, "run-store-evict",
                    [("COUNT", "\(evicted)"), ("REASON", "at most \(bounds.count) records and \(bounds.bytes) bytes are kept")]))
        }
    }

    private func isOld(_ modifiedSeconds: Int64) -> Bool { now() - modifiedSeconds > bounds.retentionSeconds }

    /// Once a minute is often enough: a record that is too old is not given out in any case.
    private func sweep(always: Bool = false) {
        let now = now()
        let isDue = index.withLock { index in
            guard always || now >= index.nextSweep || !index.isScanned else { return false }
            index.nextSweep = now + 60
            return true
        }
        guard isDue else { return }
        scan()
        for old in index.withLock({ $0.entries.filter { isOld($0.value.modifiedSeconds) }.map(\.key) }) { remove(old) }
    }

    /// Counts what is there; a directory that is not there yet is empty.
    private func scan() {
        let files: [DirectoryListing.File]
        do throws(FileProblem) { files = try DirectoryListing.files(in: directory) } catch {
            if !error.isMissing { log(LogRecord(.error, "run-store-fail", [("PATH", directory), ("ERROR", error.description)])) }
            return
        }
        var found = Index()
        for file in files {
            if let reqid = reqid(of: file.name, ending: ".json") {
                found.note(reqid, Index.Entry(bytes: file.bytes, modifiedSeconds: file.modifiedSeconds))
            } else if reqid(of: file.name, ending: ".json.new") != nil {
                // A process died while it wrote. This thread is the only writer; should it not go, it is in nobody's way.
                try? DurableFile.remove("\(directory)/\(file.name)")
            }
        }
        found.isScanned = true
        index.withLock { index in
            found.nextSweep = index.nextSweep
            index = found
        }
    }

    private func reqid(of name: String, ending: String) -> Reqid? {
        name.hasSuffix(ending) ? Reqid(String(name.dropLast(ending.count))) : nil
    }

    private func remove(_ reqid: Reqid) {
        do throws(FileProblem) { try DurableFile.remove(path(reqid)) } catch {
            log(LogRecord(.error, "run-store-fail", [("REQID", "\(reqid)"), ("ERROR", error.description)]))
        }
        // Also if it is still there: it must not be tried for ever. The next scan finds it again.
        index.withLock { $0.note(reqid, nil) }
    }

    private struct Source: BulkSource {
        let file: ReadableFile
        let worker: NIOThreadPool
        var size: UInt64 { UInt64(file.bytes) }
        var tag: UInt64 {
            // FNV-1a over what changes whenever the file is another one.
            [UInt64(bitPattern: file.modified.seconds), UInt64(bitPattern: file.modified.nanoseconds), file.inode, size].reduce(
                0xcbf2_9ce4_8422_2325
            ) { ($0 ^ $1) &* 0x0000_0100_0000_01b3 }
        }
        func read(offset: UInt64, count: Int) async throws -> [UInt8] {
            try await worker.runIfActive { try file.read(offset: offset, count: count) }
        }
    }
}
