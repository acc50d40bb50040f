// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The journal on its thread: reports come after the flush that they speak of, and a failure ends everything.

import Consensus
import Synchronization
import Testing

@testable import Coordinator

@Suite("The journal's thread", .timeLimit(.minutes(1)))
struct JournalThreadTests {
    private func makeJournal(on disk: MemoryDisk) throws -> Journal<MemoryDisk> {
        let id = try #require(MemberID("a"))
        let configuration = try #require(Configuration(voters: [id]))
        try Journal.create(on: disk, genesis: Genesis(member: id, configuration: configuration, payload: [1]))
        return try Journal.open(on: disk).journal
    }

    private func entry(_ number: UInt64) -> JournalWrite {
        JournalWrite(entries: [Entry(index: LogIndex(number), term: Term(1), payload: [UInt8(number)])])
    }

    @Test("What is reported durable is there when the journal is opened again, and reports only rise")
    func durable() async throws {
        let disk = MemoryDisk()
        let (reports, continuation) = AsyncStream.makeStream(of: JournalThread<MemoryDisk>.Report.self)
        let thread = JournalThread(try makeJournal(on: disk)) { continuation.yield($0) }
        for number in UInt64(1)...50 { thread.append(entry(number), WriteID(number)) }
        var last = WriteID.zero
        for await report in reports {
            guard case .durable(let write) = report else {
                Issue.record("the journal failed: \(report)")
                break
            }
            #expect(write > last)
            last = write
            if write == WriteID(50) { break }
        }
        try await thread.close()
        let recovered = try Journal.open(on: disk.afterCrash()).recovered
        #expect(recovered.entries.map(\.index.position) == Array(1...50))
    }

    @Test("Writes that wait while one is flushed share the next flush")
    func groupCommit() async throws {
        let disk = MemoryDisk()
        let journal = try makeJournal(on: disk)
        let (reports, continuation) = AsyncStream.makeStream(of: JournalThread<MemoryDisk>.Report.self)
        let thread = JournalThread(journal) { continuation.yield($0) }
        disk.holdSynchronizations()
        let before = disk.synchronizations
        for number in UInt64(1)...20 { thread.append(entry(number), WriteID(number)) }
        disk.releaseSynchronizations()
        for await report in reports {
            if case .durable(WriteID(20)) = report { break }
        }
        try await thread.close()
        // The first alone or with some, the rest together; a segment's end would add one.
        #expect(disk.synchronizations - before <= 3)
    }

    @Test("It gives a sign of life for each question, and none while the disk holds it")
    func signs() async throws {
        let disk = MemoryDisk()
        let (reports, continuation) = AsyncStream.makeStream(of: JournalThread<MemoryDisk>.Report.self)
        let thread = JournalThread(try makeJournal(on: disk)) { continuation.yield($0) }
        thread.askForSign()
        while thread.signsOfLife == 0 { await Task.yield() }

        disk.holdSynchronizations()
        let before = disk.entries
        thread.append(entry(1), WriteID(1))
        while disk.entries == before { await Task.yield() }
        let silent = thread.signsOfLife
        for _ in 0..<1000 {
            thread.askForSign()
            await Task.yield()
        }
        #expect(thread.signsOfLife == silent)
        disk.releaseSynchronizations()
        for await report in reports { if case .durable(WriteID(1)) = report { break } }
        // The flush itself, and the one question that could be asked meanwhile.
        while thread.signsOfLife < silent + 2 { await Task.yield() }
        try await thread.close()
        #expect(thread.signsOfLife == silent + 2)
        thread.askForSign()
        #expect(thread.signsOfLife == silent + 2, "a thread that has ended gives none")
    }

    @Test("After a failure there is one report and nothing is tried again")
    func failure() async throws {
        let disk = MemoryDisk()
        let journal = try makeJournal(on: disk)
        let (reports, continuation) = AsyncStream.makeStream(of: JournalThread<MemoryDisk>.Report.self)
        let thread = JournalThread(journal) { continuation.yield($0) }
        disk.failSynchronizations()
        thread.append(entry(1), WriteID(1))
        var iterator = reports.makeAsyncIterator()
        guard case .failed = await iterator.next() else {
            Issue.record("the failure was not reported")
            return
        }
        let tried = disk.synchronizations
        thread.append(entry(2), WriteID(2))
        try await thread.close()
        #expect(disk.synchronizations == tried)
    }

    @Test("What finds no space is kept in its order, tried again only when asked for, and durable once there is space")
    func full() async throws {
        let disk = MemoryDisk()
        let journal = try makeJournal(on: disk)
        let (reports, continuation) = AsyncStream.makeStream(of: JournalThread<MemoryDisk>.Report.self)
        let thread = JournalThread(journal) { continuation.yield($0) }
        disk.setFull(true)
        // More than what is left of the first segment.
        let count = UInt64(JournalLayout.standard.segmentBytes / 60_000) + 2
        for number in 1...count {
            thread.append(
                JournalWrite(entries: [Entry(index: LogIndex(number), term: Term(1), payload: [UInt8](repeating: 7, count: 60_000))]),
                WriteID(number))
        }
        var last = WriteID.zero
        var refusals = 0
        for await report in reports {
            switch report {
            case .durable(let write):
                #expect(write > last)
                last = write
            case .full:
                #expect(last < WriteID(count))
                refusals += 1
                thread.append(JournalWrite(longestPromise: .seconds(9)), WriteID(count + UInt64(refusals)))
                if refusals == 2 { disk.setFull(false) }
                thread.retry()
            case .failed(let failure): Issue.record("the journal failed: \(failure)")
            }
            if last == WriteID(count + 2) { break }
        }
        #expect(refusals == 2)
        try await thread.close()
        let recovered = try Journal.open(on: disk.afterCrash()).recovered
        #expect(recovered.entries.map(\.index.position) == Array(1...count))
    }
}

/// Files in memory; what was not synchronized is lost in a crash.
private final class MemoryDisk: Disk, Sendable {
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
