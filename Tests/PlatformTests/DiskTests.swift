// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the journal expects of a disk, asked of the real one and of the simulated one.

import Consensus
import Platform
import Simulation
import Testing

@Suite("A disk")
struct DiskTests {
    enum Kind: CaseIterable, Sendable { case file, simulated }

    private let a = FileName("a")
    private let b = FileName("b")

    /// Runs the same body over a disk of either kind.
    private func on(_ kind: Kind, _ body: (inout any Disk) throws -> Void) throws {
        let directory = TemporaryDirectory()
        var disk: any Disk =
            switch kind {
            case .file: try FileDisk(directory: directory.path)
            case .simulated: SimulatedDisk(seed: 1)
            }
        try body(&disk)
        withExtendedLifetime(directory) {}
    }

    @Test("lists its files in order", arguments: Kind.allCases)
    func list(kind: Kind) throws {
        try on(kind) { disk in
            #expect(try disk.list().isEmpty)
            for name in ["segment-b", "genesis", "segment-a"] { try disk.create(FileName(name)) }
            #expect(try disk.list().map(\.name) == ["genesis", "segment-a", "segment-b"])
        }
    }

    @Test("gives back what was written, also over what was there", arguments: Kind.allCases)
    func readsBack(kind: Kind) throws {
        try on(kind) { disk in
            try disk.create(a)
            #expect(try disk.size(of: a) == 0)
            try disk.write([1, 2, 3, 4], to: a, at: 0)
            try disk.write([9, 9], to: a, at: 1)
            #expect(try disk.read(a, at: 0, count: 4) == [1, 9, 9, 4])
            try disk.synchronize(a)
            try disk.synchronizeDirectory()
            #expect(try disk.read(a, at: 0, count: 4) == [1, 9, 9, 4])
        }
    }

    @Test("grows with a gap of zeros", arguments: Kind.allCases)
    func gap(kind: Kind) throws {
        try on(kind) { disk in
            try disk.create(a)
            try disk.write([7], to: a, at: 1300)
            #expect(try disk.size(of: a) == 1301)
            #expect(try disk.read(a, at: 0, count: 2000) == [UInt8](repeating: 0, count: 1300) + [7])
        }
    }

    @Test("reads less at the end and nothing behind it", arguments: Kind.allCases)
    func end(kind: Kind) throws {
        try on(kind) { disk in
            try disk.create(a)
            try disk.write([1, 2, 3], to: a, at: 0)
            #expect(try disk.read(a, at: 2, count: 10) == [3])
            #expect(try disk.read(a, at: 3, count: 10) == [])
            #expect(try disk.read(a, at: 99, count: 10) == [])
            #expect(try disk.read(a, at: 0, count: 0) == [])
        }
    }

    @Test("makes no file twice and finds none that is not there", arguments: Kind.allCases)
    func failures(kind: Kind) throws {
        try on(kind) { disk in
            try disk.create(a)
            #expect(throws: DiskFailure.alreadyExists(a)) { try disk.create(a) }
            #expect(throws: DiskFailure.notFound(b)) { try disk.read(b, at: 0, count: 1) }
            #expect(throws: DiskFailure.notFound(b)) { try disk.size(of: b) }
            #expect(throws: DiskFailure.notFound(b)) { try disk.write([1], to: b, at: 0) }
            #expect(throws: DiskFailure.notFound(b)) { try disk.synchronize(b) }
            #expect(throws: DiskFailure.notFound(b)) { try disk.rename(b, to: a) }
            #expect(throws: DiskFailure.notFound(b)) { try disk.remove(b) }
        }
    }

    @Test("renames over what is there, and the file keeps what is in it", arguments: Kind.allCases)
    func rename(kind: Kind) throws {
        try on(kind) { disk in
            try disk.create(a)
            try disk.write([1], to: a, at: 0)
            try disk.create(b)
            try disk.write([2, 2], to: b, at: 0)
            try disk.rename(a, to: b)
            #expect(try disk.list() == [b])
            #expect(try disk.read(b, at: 0, count: 9) == [1])
            try disk.write([3], to: b, at: 1)
            #expect(try disk.read(b, at: 0, count: 9) == [1, 3])
            #expect(throws: DiskFailure.notFound(a)) { try disk.read(a, at: 0, count: 1) }
        }
    }

    @Test("removes a file, and another may have its name", arguments: Kind.allCases)
    func remove(kind: Kind) throws {
        try on(kind) { disk in
            try disk.create(a)
            try disk.write([1], to: a, at: 0)
            try disk.remove(a)
            #expect(try disk.list().isEmpty)
            try disk.create(a)
            #expect(try disk.size(of: a) == 0)
        }
    }

    @Test("carries a journal through its lives", arguments: Kind.allCases)
    func journal(kind: Kind) throws {
        let member = try #require(MemberID("a"))
        let genesis = Genesis(member: member, configuration: try #require(Configuration(voters: [member])), payload: [1])
        let layout = JournalLayout(segmentBytes: 8192)
        let entries = (1...50 as ClosedRange<UInt64>).map {
            Entry(index: LogIndex($0), term: Term(1), payload: [UInt8](repeating: 7, count: Int($0) * 11))
        }
        func live<D: Disk>(_ disk: D, reopen: (D) throws -> D) throws {
            var disk = try Journal.create(on: disk, genesis: genesis, layout: layout)
            for (number, entry) in entries.enumerated() {
                var opened = try Journal.open(on: disk, layout: layout)
                #expect(opened.genesis == genesis)
                #expect(opened.recovered.entries == Array(entries[..<number]))
                try opened.journal.append(JournalWrite(entries: [entry]))
                try opened.journal.flush()
                disk = try reopen(opened.journal.disk)
            }
            #expect(try Journal.open(on: disk, layout: layout).recovered.entries == entries)
        }
        switch kind {
        case .simulated: try live(SimulatedDisk(seed: 1)) { $0 }
        case .file:
            let directory = TemporaryDirectory()
            try live(FileDisk(directory: directory.path)) { try FileDisk(directory: $0.path) }
        }
    }

    @Test("that is a directory which does not exist is refused in words")
    func noDirectory() {
        do throws(DiskFailure) {
            _ = try FileDisk(directory: "/nonexistent/journal")
            Issue.record("it was opened")
        } catch {
            #expect("\(error)" == "cannot open the directory /nonexistent/journal: no such file or directory")
        }
    }
}
