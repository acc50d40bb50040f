// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Snapshots on a thread of their own: encoding a state and writing megabytes takes longer than a heartbeat may wait, and longer than a write of
// the journal should. Promised: one thing after the other; what is reported saved or fetched is durable, and what is fetched was checked to be
// this cluster's state at that place before it was written. Left to others: when, and how bytes travel.

import Consensus
import CoordinatorCore
import DispatcherState
import NIOPosix
import Synchronization
import Wire

/// Where the runner hands snapshots to be taken and fetched. Called on the peer loop; `done` is called once, on any thread.
package protocol SnapshotKeeping: Sendable {
    /// Done with `.snapshotSaved` or `.snapshotNotSaved`.
    func take(_ base: LogBase, _ state: DispatcherState, done: @escaping @Sendable (Event) -> Void)
    /// Done with `.snapshotFetched`, `.snapshotNotFetched`, or `.snapshotNotSaved` where the own disk failed.
    func fetch(_ place: SnapshotPlace, from member: MemberID, done: @escaping @Sendable (Event) -> Void)
}

/// How the bytes of a snapshot file come from another member.
package protocol SnapshotFetching: Sendable {
    /// All of the file as it lies there, at most `SnapshotFile.bytesLimit`; nil: that member has it no more. Throws in words for people.
    func bytes(of place: SnapshotPlace, from member: MemberID) async throws -> [UInt8]?
}

package final class SnapshotThread<D: Disk>: Sendable {
    /// As debuggers and `ps -T` show it.
    package static var threadName: String { "ced-snapshot" }

    private let thread = NIOThreadPool(numberOfThreads: 1)
    /// Touched only on the thread.
    private let store: Mutex<SnapshotStore<D>>
    private let genesis: GenesisState

    package init(_ store: consuming sending SnapshotStore<D>, genesis: GenesisState) {
        self.store = Mutex(store)
        self.genesis = genesis
        thread.start()
        thread.submit { _ in nameThread(Self.threadName) }
    }

    /// Returns once what was begun has ended.
    package func close() async throws { try await thread.shutdownGracefully() }

    // MARK: Taking one

    package func take(_ base: LogBase, _ state: DispatcherState, done: @escaping @Sendable (Event) -> Void) {
        thread.submit { [self] status in
            guard case .active = status else { return }
            let body: [UInt8]
            do throws(WireFailure) { body = try state.image().encoded() } catch {
                return done(.snapshotNotSaved(.tooLarge("\(error)")))
            }
            let snapshot = Snapshot(place: base.place, configuration: base.configuration, body: body)
            do throws(DiskFailure) { try save(snapshot) } catch { return done(.snapshotNotSaved(.disk(error))) }
            done(.snapshotSaved(base.place))
        }
    }

    private func save(_ snapshot: Snapshot) throws(DiskFailure) {
        let failure = store.withLock { store -> DiskFailure? in
            do throws(DiskFailure) { try store.save(snapshot) } catch { return error }
            return nil
        }
        if let failure { throw failure }
    }

    // MARK: Fetching one

    /// - Parameter done: on the thread; not called once it has been closed.
    func install(_ bytes: [UInt8], as place: SnapshotPlace, done: @escaping @Sendable (Event) -> Void) {
        thread.submit { [self] status in
            if case .active = status { done(install(bytes, place)) }
        }
    }

    private func install(_ bytes: [UInt8], _ place: SnapshotPlace) -> Event {
        let snapshot: Snapshot
        let state: DispatcherState
        do {
            snapshot = try SnapshotFile.decode(bytes)
            guard snapshot.place == place else { return .snapshotNotFetched(place, reason: "it is the one behind \(snapshot.place)") }
            state = try Self.state(in: snapshot, genesis: genesis)
        } catch {
            return .snapshotNotFetched(place, reason: "\(error)")
        }
        do throws(DiskFailure) { try save(snapshot) } catch {
            return error == .full ? .snapshotNotFetched(place, reason: "\(error)") : .snapshotNotSaved(.disk(error))
        }
        return .snapshotFetched(snapshot.base, state)
    }

    /// The state that a snapshot holds; throws in words for people.
    package static func state(in snapshot: Snapshot, genesis: GenesisState) throws -> DispatcherState {
        let image = try StateImage(decoding: snapshot.body)
        guard image.appliedIndex == snapshot.place.index else {
            throw SnapshotFlaw.damaged("it stands behind entry \(snapshot.place.index) and holds the state at \(image.appliedIndex)")
        }
        return try DispatcherState(genesis: genesis, image: image)
    }

    // MARK: For other members

    /// Nil if this snapshot is not kept.
    package func source(of place: SnapshotPlace) async throws -> (any BulkSource)? {
        try await thread.runIfActive { [self] in
            try store.withLock { store throws(DiskFailure) -> Source? in
                guard let size = try store.size(of: place), size >= 8 else { return nil }
                // A file ends with the checksum over all of it, so that equal tags stand for equal bytes wherever they are.
                guard let checksum = try store.read(place, at: size - 8, count: 8), checksum.count == 8 else { return nil }
                return Source(thread: self, place: place, size: size, tag: checksum.reversed().reduce(0) { $0 << 8 | UInt64($1) })
            }
        }
    }

    private struct Source: BulkSource {
        let thread: SnapshotThread<D>
        let place: SnapshotPlace
        let size: UInt64
        let tag: UInt64
        func read(offset: UInt64, count: Int) async throws -> [UInt8] {
            let part = try await thread.thread.runIfActive { try thread.store.withLock { try $0.read(place, at: offset, count: count) } }
            guard let part else { throw SnapshotReplaced() }
            return part
        }
    }
}

/// Two newer ones were taken while it was read.
package struct SnapshotReplaced: Error, Hashable, CustomStringConvertible {
    package let description = "newer snapshots have taken its place"
}

/// What the runner hands snapshots to: the thread, and the members that have what is not there.
package struct SnapshotHands<D: Disk>: SnapshotKeeping {
    private let thread: SnapshotThread<D>
    private let fetcher: any SnapshotFetching
    package init(_ thread: SnapshotThread<D>, fetcher: any SnapshotFetching) {
        self.thread = thread
        self.fetcher = fetcher
    }

    package func take(_ base: LogBase, _ state: DispatcherState, done: @escaping @Sendable (Event) -> Void) {
        thread.take(base, state, done: done)
    }

    package func fetch(_ place: SnapshotPlace, from member: MemberID, done: @escaping @Sendable (Event) -> Void) {
        Task {
            do {
                guard let bytes = try await fetcher.bytes(of: place, from: member) else {
                    return done(.snapshotNotFetched(place, reason: "member \(member) has it no more"))
                }
                thread.install(bytes, as: place, done: done)
            } catch {
                done(.snapshotNotFetched(place, reason: "member \(member): \(error)"))
            }
        }
    }
}

extension BulkLinks: SnapshotFetching {
    /// Given up then, and offered anew. A gigabyte on a slow line takes less.
    private static let snapshotPatience = Duration.seconds(1800)
    /// In a row, without a byte in between.
    private static let snapshotResumptions = 10

    package func bytes(of place: SnapshotPlace, from member: MemberID) async throws -> [UInt8]? {
        try await fetch(
            .snapshot(place), from: member, limit: SnapshotFile.bytesLimit, patience: Self.snapshotPatience,
            resumptions: Self.snapshotResumptions)
    }
}
