// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `pairing = always`: whoever leads renews the pairing session before it ends. Can be switched while the member runs; whoever leads then
// closes the session that was held open, so that `session` means what it says from that moment on.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Glibc
import Synchronization
import Wire

final class PairingUpkeep: Sendable {
    private let runner: MemberRunner
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(_ runner: MemberRunner) { self.runner = runner }

    /// Keeps pairing open from now on; harmless if it does already.
    func begin() {
        let runner = runner
        task.withLock { task in
            guard task == nil else { return }
            task = Task { await Self.keepOpen(runner) }
        }
    }

    /// Keeps it open no more, and closes what it held open.
    func end() async {
        guard let ended = cancel() else { return }
        await ended.value
        if await runner.glance().holdsLease { _ = await Self.perform(.closePairing, runner) }
    }

    /// The process ends: what the next leader does with the session is its business.
    @discardableResult func cancel() -> Task<Void, Never>? {
        task.withLock { task in
            defer { task = nil }
            task?.cancel()
            return task
        }
    }

    private static func keepOpen(_ runner: MemberRunner) async {
        let session = UInt64(Limits.pairingWaitSeconds) * 1000
        while !Task.isCancelled {
            if await runner.glance().holdsLease {
                let state = await runner.appliedState()
                let left = state.pairingOpenUntil.map { $0.milliseconds - min($0.milliseconds, state.time.milliseconds) } ?? 0
                if left < session / 2 { _ = await perform(.openPairing(milliseconds: session), runner) }
            }
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
        }
    }

    private static func perform(_ command: Command, _ runner: MemberRunner) async -> Performed {
        await runner.perform(.command(command), request: nil, principal: .localUser(uid: getuid()), timeout: .seconds(5))
    }
}
