// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A disk for the suites of the threads that write: synchronizations can be held back or fail, and what was not synchronized can be lost.

import Consensus
import Synchronization

/// Files in memory; what was not synchronized is lost in a crash.
final class MemoryDisk: Disk, Sendable {
    private struct Content {
        var files: [FileName: [UInt8]] = [:]
        var synchronized: [FileName: [UInt8]] = [:]
        var count = 0
        var fails = false
        var isFull = false
    }
    private let content: Mutex<Content>
    private let held = Atomic<Bool>(false)
    private let entered = Atomic<Int>(0)
    /// Synchronizations that have begun.
    var entries: Int { entered.load(ordering: .acquiring) }

    init() { content = Mutex(Content()) }
    private init(_ files: [FileName: [UInt8]]) { content = Mutex(Content(files: files, synchronized: files)) }

    var synchronizations: Int { content.withLock { $0.count } }
    func failSynchronizations() { content.withLock { $0.fails = true } }
    func setFull(_ isFull: Bool) { content.withLock { $0.isFull = isFull } }
    func holdSynchronizations() { held.store(true, ordering: .releasing) }
    func releaseSynchronizations() { held.store(false, ordering: .releasing) }
    func afterCrash() -> MemoryDisk { MemoryDisk(content.withLock { $0.synchronized }) }

    func list() throws(DiskFailure) -> [FileName] { content.withLock { $0.files.keys.sorted() } }
    func size(of file: FileName) throws(DiskFailure) -> UInt64 { UInt64(try bytes(of: file).count) }
    func read(_ file: FileName, at offset: UInt64, count: Int) throws(DiskFailure) -> [UInt8] {
        Array(try bytes(of: file).dropFirst(Int(offset)).prefix(count))
    }
    func create(_ file: FileName) throws(DiskFailure) { content.withLock { $0.files[file] = [] } }
    func write(_ bytes: [UInt8], to file: FileName, at offset: UInt64) throws(DiskFailure) {
        let found = content.withLock { content in
            var all = content.files[file] ?? []
            let end = Int(offset) + bytes.count
            if content.isFull, end > all.count { return false }
            if all.count < end { all += [UInt8](repeating: 0, count: end - all.count) }
            all.replaceSubrange(Int(offset)..<end, with: bytes)
            content.files[file] = all
            return true
        }
        if !found { throw .full }
    }
    func synchronize(_ file: FileName) throws(DiskFailure) {
        entered.add(1, ordering: .releasing)
        while held.load(ordering: .acquiring) {}
        let fails = content.withLock { content in
            content.count += 1
            if !content.fails { content.synchronized[file] = content.files[file] }
            return content.fails
        }
        if fails { throw .failed(operation: "synchronize", file, reason: "input/output error") }
    }
    func rename(_ file: FileName, to: FileName) throws(DiskFailure) {
        content.withLock { content in
            content.files[to] = content.files.removeValue(forKey: file)
            content.synchronized[to] = content.synchronized.removeValue(forKey: file)
        }
    }
    func remove(_ file: FileName) throws(DiskFailure) {
        content.withLock { content in
            content.files[file] = nil
            content.synchronized[file] = nil
        }
    }
    func synchronizeDirectory() throws(DiskFailure) {}

    private func bytes(of file: FileName) throws(DiskFailure) -> [UInt8] {
        guard let bytes = content.withLock({ $0.files[file] }) else { throw .notFound(file) }
        return bytes
    }
}
