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
