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

package final class SnapshotThread<D: Disk>: SnapshotKeeping {
    /// As debuggers and `ps -T` show it.
    package static var threadName: String { "ced-snapshot" }

    private let thread = NIOThreadPool(numberOfThreads: 1)
    /// Touched only on the thread.
    private let store: Mutex<SnapshotStore<D>>
    private let genesis: GenesisState
    private let fetcher: any SnapshotFetching

    package init(_ store: consuming sending SnapshotStore<D>, genesis: GenesisState, fetcher: any SnapshotFetching) {
        self.store = Mutex(store)
        self.genesis = genesis
        self.fetcher = fetcher
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

    package func fetch(_ place: SnapshotPlace, from member: MemberID, done: @escaping @Sendable (Event) -> Void) {
        Task { [self] in
            let bytes: [UInt8]
            do {
                guard let found = try await fetcher.bytes(of: place, from: member) else {
                    return done(.snapshotNotFetched(place, reason: "\(member) has it no more"))
                }
                bytes = found
            } catch {
                return done(.snapshotNotFetched(place, reason: "\(error)"))
            }
            thread.submit { [self] status in
                guard case .active = status else { return }
                done(install(bytes, place))
            }
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

    /// Size of the file; nil if this snapshot is not kept.
    package func size(of place: SnapshotPlace) async throws -> UInt64? {
        try await thread.runIfActive { [self] in try store.withLock { try $0.size(of: place) } }
    }

    /// Up to `count` bytes of the file from `offset`; nil if this snapshot is not kept any more.
    package func read(_ place: SnapshotPlace, at offset: UInt64, count: Int) async throws -> [UInt8]? {
        try await thread.runIfActive { [self] in try store.withLock { try $0.read(place, at: offset, count: count) } }
    }
}
