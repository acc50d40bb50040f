// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Snapshots on their thread: what is reported is on disk, and what comes from another member is looked at before it is.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import FoundationEssentials
import Testing
import Wire

@testable import Coordinator

@Suite("The snapshots' thread", .timeLimit(.minutes(1)))
struct SnapshotThreadTests {
    private struct Fixture {
        let genesis: GenesisState
        let configuration: Configuration
        let id: MemberID
        init() throws {
            id = try #require(MemberID("a"))
            let bundles = try ClusterInit.mint(
                members: ClusterInit.members("a=127.0.0.1:7446"), dispatcherID: try #require(DispatcherID("d")),
                now: WallClock(secondsSince1970: 1_800_000_000))
            let bundle = try #require(bundles.first)
            genesis = try GenesisState(decoding: Array(#require(Data(base64Encoded: bundle.genesis))))
            configuration = try #require(Configuration(voters: [id]))
        }
        /// A state of so many entries, and where it stands.
        func state(_ entries: UInt64) -> (base: LogBase, state: DispatcherState) {
            var state = DispatcherState(genesis: genesis)
            for index in 1...entries { state.applyNothing(at: LogIndex(index), term: Term(1)) }
            return (LogBase(place: SnapshotPlace(index: LogIndex(entries), term: Term(1)), configuration: configuration), state)
        }
        func bytes(_ entries: UInt64, place: SnapshotPlace? = nil) throws -> [UInt8] {
            let (base, state) = state(entries)
            return SnapshotFile.encode(
                Snapshot(place: place ?? base.place, configuration: configuration, body: try state.image().encoded()))
        }
    }

    /// What another member would send.
    private struct Sent: SnapshotFetching {
        let bytes: [UInt8]?
        func bytes(of place: SnapshotPlace, from member: MemberID) async throws -> [UInt8]? { bytes }
    }

    private func thread(_ fixture: Fixture, on disk: MemoryDisk) throws -> SnapshotThread<MemoryDisk> {
        SnapshotThread(try SnapshotStore.open(on: disk).store, genesis: fixture.genesis)
    }

    private func take(_ snapshot: (base: LogBase, state: DispatcherState), _ thread: SnapshotThread<MemoryDisk>) async -> Event {
        await withCheckedContinuation { continuation in
            thread.take(snapshot.base, snapshot.state) { continuation.resume(returning: $0) }
        }
    }

    private func fetch(
        _ place: SnapshotPlace, _ fixture: Fixture, _ thread: SnapshotThread<MemoryDisk>, sent: [UInt8]?
    ) async -> Event {
        await withCheckedContinuation { continuation in
            SnapshotHands(thread, fetcher: Sent(bytes: sent)).fetch(place, from: fixture.id) { continuation.resume(returning: $0) }
        }
    }

    @Test("What is reported saved comes back after a crash, as the state that it was")
    func saved() async throws {
        let fixture = try Fixture()
        let disk = MemoryDisk()
        let thread = try thread(fixture, on: disk)
        let snapshot = fixture.state(7)
        guard case .snapshotSaved(snapshot.base.place) = await take(snapshot, thread) else {
            Issue.record("it was not saved")
            return
        }
        try await thread.close()
        let newest = try #require(try SnapshotStore.open(on: disk.afterCrash()).newest)
        #expect(newest.base == snapshot.base)
        #expect(try SnapshotThread<MemoryDisk>.state(in: newest, genesis: fixture.genesis) == snapshot.state)
    }

    @Test("What is fetched is on disk when it is reported, with the state in it")
    func fetched() async throws {
        let fixture = try Fixture()
        let disk = MemoryDisk()
        let snapshot = fixture.state(9)
        let bytes = try fixture.bytes(9)
        let thread = try thread(fixture, on: disk)
        guard case .snapshotFetched(let base, let state) = await fetch(snapshot.base.place, fixture, thread, sent: bytes) else {
            Issue.record("it was not fetched")
            return
        }
        #expect(base == snapshot.base && state == snapshot.state)
        let source = try #require(try await thread.source(of: base.place))
        let again = try await source.read(offset: 0, count: 1 << 20)
        #expect(again == bytes)
        #expect(source.size == UInt64(again.count))
        try await thread.close()
        #expect(try SnapshotStore.open(on: disk.afterCrash()).newest?.base == snapshot.base)
    }

    @Test("What is not the snapshot that was asked for is turned away, and nothing of it is written")
    func turnedAway() async throws {
        let fixture = try Fixture()
        let place = fixture.state(9).base.place
        var damaged = try fixture.bytes(9)
        damaged[damaged.count / 2] ^= 1
        let cases: [[UInt8]?] = [nil, [], damaged, try fixture.bytes(8), try fixture.bytes(8, place: place)]
        for sent in cases {
            let disk = MemoryDisk()
            let thread = try thread(fixture, on: disk)
            guard case .snapshotNotFetched(place, _) = await fetch(place, fixture, thread, sent: sent) else {
                Issue.record("\(sent?.count ?? 0) bytes passed for the snapshot")
                continue
            }
            try await thread.close()
            #expect(try SnapshotStore.open(on: disk.afterCrash()).newest == nil)
        }
    }

    @Test("Equal files have equal tags wherever they are, so that a transfer may go on at another place")
    func tags() async throws {
        let fixture = try Fixture()
        let (one, other) = (try thread(fixture, on: MemoryDisk()), try thread(fixture, on: MemoryDisk()))
        _ = await take(fixture.state(9), one)
        _ = await fetch(fixture.state(9).base.place, fixture, other, sent: try fixture.bytes(9))
        _ = await take(fixture.state(10), one)
        let place = fixture.state(9).base.place
        let tag = try #require(try await one.source(of: place)).tag
        #expect(try await other.source(of: place)?.tag == tag)
        #expect(try await one.source(of: fixture.state(10).base.place)?.tag != tag)
        try await one.close()
        try await other.close()
    }

    @Test("One that newer ones have replaced is read no further")
    func replaced() async throws {
        let fixture = try Fixture()
        let thread = try thread(fixture, on: MemoryDisk())
        _ = await take(fixture.state(1), thread)
        let source = try #require(try await thread.source(of: fixture.state(1).base.place))
        _ = await take(fixture.state(2), thread)
        #expect(try await source.read(offset: 0, count: 8).count == 8, "the one before the newest is still there")
        _ = await take(fixture.state(3), thread)
        await #expect(throws: SnapshotReplaced()) { try await source.read(offset: 8, count: 8) }
        #expect(try await thread.source(of: fixture.state(1).base.place) == nil)
        try await thread.close()
    }
}
