// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How many of a thing are under way at one time. Whoever may ask for it must not make it as many as there are askers.

import Synchronization

package final class Slots: Sendable {
    /// Askers that wait; one more is turned away at once.
    private static let waitingLimit = 1_024

    /// Its identity names one who waits.
    private final class Waiter: Sendable {
        private let cancelled = Atomic<Bool>(false)
        var isCancelled: Bool { cancelled.load(ordering: .acquiring) }
        func cancel() { cancelled.store(true, ordering: .releasing) }
    }
    private struct State {
        var free: Int
        var waiting: [(waiter: Waiter, continuation: CheckedContinuation<Bool, Never>)] = []
    }
    private let state: Mutex<State>

    package init(limit: Int) { state = Mutex(State(free: limit)) }

    /// At this moment; whoever is to do something takes one.
    package var hasFree: Bool { state.withLock { $0.free > 0 && $0.waiting.isEmpty } }

    /// False: none is free.
    package func takeNow() -> Bool {
        state.withLock { state in
            guard state.free > 0, state.waiting.isEmpty else { return false }
            state.free -= 1
            return true
        }
    }

    /// In the order of asking. False: none became free in time, or the task was cancelled. What was taken must be given back.
    package func take(patience: Duration) async -> Bool {
        if takeNow() { return true }
        return await withTaskGroup(of: Bool.self) { group in
            group.addTask { await self.wait() }
            group.addTask {
                // Cancelled when a slot became free.
                do { try await Task.sleep(for: patience) } catch { return false }
                return false
            }
            let first = await group.next() ?? false
            group.cancelAll()
            if first { return true }
            // Patience may have ended in the moment in which a slot was handed over.
            return await group.next() ?? false
        }
    }

    package func give() {
        let next = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            guard !state.waiting.isEmpty else {
                state.free += 1
                return nil
            }
            return state.waiting.removeFirst().continuation
        }
        next?.resume(returning: true)
    }

    private func wait() async -> Bool {
        let waiter = Waiter()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    if waiter.isCancelled { return false }
                    if state.free > 0 {
                        state.free -= 1
                        return true
                    }
                    guard state.waiting.count < Self.waitingLimit else { return false }
                    state.waiting.append((waiter, continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            waiter.cancel()
            let continuation = state.withLock { state -> CheckedContinuation<Bool, Never>? in
                guard let place = state.waiting.firstIndex(where: { $0.waiter === waiter }) else { return nil }
                return state.waiting.remove(at: place).continuation
            }
            continuation?.resume(returning: false)
        }
    }
}
