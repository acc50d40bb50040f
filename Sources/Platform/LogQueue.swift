// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Log records on their way out, written by a thread of its own: a terminal that is stopped, or a journal that is busy, must not block the
// loop that keeps the cluster's promises. What does not fit is dropped and counted; the count is told as soon as there is room.

import Glibc
import Synchronization

package final class LogQueue: Sendable {
    private struct State {
        var waiting: [@Sendable () -> Void] = []
        var dropped = 0
        var isWriting = false
    }
    private let state = Mutex(State())
    private let capacity: Int
    private let tellDropped: @Sendable (Int) -> Void
    private let wakeUp: UnsafeSemaphore

    /// - Parameters:
    ///   - capacity: records that may wait.
    ///   - tellDropped: called on the thread with how many were dropped since it was last called.
    package init(capacity: Int, tellDropped: @escaping @Sendable (Int) -> Void) {
        self.capacity = capacity
        self.tellDropped = tellDropped
        wakeUp = UnsafeSemaphore()
        var thread = pthread_t()
        // The thread lives as long as the process, and so does the queue.
        let queue = Unmanaged.passRetained(self)
        let made = pthread_create(
            &thread, nil,
            { argument in
                // What was passed in below.
                if let argument { Unmanaged<LogQueue>.fromOpaque(argument).takeUnretainedValue().work() }
                return nil
            }, queue.toOpaque())
        if made == 0 { pthread_detach(thread) }
    }

    /// Never waits. `write` is called on the queue's thread, in order.
    package func add(_ write: @escaping @Sendable () -> Void) {
        let wasAdded = state.withLock { state in
            guard state.waiting.count < capacity else {
                state.dropped += 1
                return false
            }
            state.waiting.append(write)
            return true
        }
        if wasAdded { wakeUp.post() }
    }

    /// Returns when everything added before has been written, or after so long: whoever ends must not hang on a log that nobody reads.
    package func flush(atMostMilliseconds limit: Int = 1_000) {
        for _ in 0..<limit {
            let isIdle = state.withLock { $0.waiting.isEmpty && !$0.isWriting }
            if isIdle { return }
            usleep(1_000)
        }
    }

    private func work() {
        while true {
            wakeUp.wait()
            while true {
                let (batch, dropped) = state.withLock { state in
                    let taken = (state.waiting, state.dropped)
                    state.waiting = []
                    state.dropped = 0
                    state.isWriting = !taken.0.isEmpty || taken.1 > 0
                    return taken
                }
                if batch.isEmpty, dropped == 0 { break }
                for write in batch { write() }
                if dropped > 0 { tellDropped(dropped) }
            }
        }
    }
}

/// A counting semaphore of the C library, which stays where it is.
private final class UnsafeSemaphore: @unchecked Sendable {
    // Sendable: the memory is allocated once and the C functions may be called from any thread.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init() {
        semaphore.initialize(to: sem_t())
        sem_init(semaphore, 0, 0)
    }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
    func post() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 && errno == EINTR {} }
}
