// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The journal on one thread of its own, because a flush blocks. Writes that wait together are flushed together.
// Promises: writes are appended in the order in which they were handed in; a write is reported only after the flush that covers it;
// after a failure nothing is tried again. What a failure means is left to the member (it stops the process). A disk without space for the
// next segment is no failure: what was refused is kept in its order and tried again when somebody asks for it.
// The thread gives signs of life, so that others can tell a disk that is slow from one that never returns.

import Consensus
import NIOCore
import NIOPosix
import Synchronization

/// Where the runner hands the writes of the core.
package protocol JournalWriting: Sendable {
    func append(_ write: JournalWrite, _ id: WriteID)
    /// After it was reported that there is no space: tries what waits once more. Harmless at any other time.
    func retry()
}

/// Something that works on a thread of its own and can be asked whether it still does.
package protocol Living: Sendable {
    /// Rises with each sign of life.
    var signsOfLife: UInt64 { get }
    /// Asks for another one; it is given as soon as the work in hand is done. Never waits.
    func askForSign()
}

package final class JournalThread<D: Disk>: JournalWriting, Living {
    /// As debuggers and `ps -T` show it.
    package static var threadName: String { "ced-journal" }

    package enum Report: Sendable {
        /// This write and every one before it is on disk.
        case durable(WriteID)
        case failed(DiskFailure)
        /// There is no space for what comes next. Nothing is tried again before `retry`.
        case full
    }

    private struct Queue {
        var writes: [(write: JournalWrite, id: WriteID)] = []
        var isDraining = false
        var isBroken = false
        /// The first of `writes` found no space. `isDraining` stays, so that nobody starts before `retry`.
        var isFull = false
    }

    private let thread = NIOThreadPool(numberOfThreads: 1)
    private let queue = Mutex(Queue())
    /// Touched only on the thread.
    private let journal: Mutex<Journal<D>>
    private let report: @Sendable (Report) -> Void
    private let signs = Atomic<UInt64>(0)
    private let isAsked = Atomic<Bool>(false)

    /// - Parameter report: called on the journal's thread.
    package init(_ journal: consuming sending Journal<D>, report: @escaping @Sendable (Report) -> Void) {
        self.journal = Mutex(journal)
        self.report = report
        thread.start()
        thread.submit { _ in
            raiseThreadPriority()
            nameThread(Self.threadName)
        }
    }

    package var signsOfLife: UInt64 { signs.load(ordering: .acquiring) }

    package func askForSign() {
        // One question at a time: a thread that hangs must not find a heap of them.
        guard isAsked.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged else { return }
        thread.submit { [self] state in
            isAsked.store(false, ordering: .releasing)
            if state == .active { live() }
        }
    }

    private func live() { signs.add(1, ordering: .releasing) }

    package func append(_ write: JournalWrite, _ id: WriteID) {
        let mustStart = queue.withLock { queue in
            guard !queue.isBroken else { return false }
            queue.writes.append((write, id))
            defer { queue.isDraining = true }
            return !queue.isDraining
        }
        if mustStart { thread.submit { _ in self.drain() } }
    }

    /// Returns once everything handed in is on disk, or the journal has failed or finds no space.
    package func close() async throws { try await thread.shutdownGracefully() }

    package func retry() {
        let mustStart = queue.withLock { queue in
            defer { queue.isFull = false }
            return queue.isFull && !queue.isBroken
        }
        if mustStart { thread.submit { _ in self.drain() } }
    }

    private func drain() {
        while true {
            let batch = queue.withLock { queue in
                let batch = queue.writes
                queue.writes.removeAll()
                queue.isDraining = !batch.isEmpty
                return batch
            }
            if batch.isEmpty { return }
            let (written, failure) = write(batch)
            live()
            if written > 0 { report(.durable(batch[written - 1].id)) }
            switch failure {
            case nil: continue
            case .full?:
                queue.withLock { queue in
                    queue.writes.insert(contentsOf: batch[written...], at: 0)
                    queue.isFull = true
                }
                return report(.full)
            case let failure?:
                queue.withLock { queue in
                    queue.isBroken = true
                    queue.writes.removeAll()
                }
                return report(.failed(failure))
            }
        }
    }

    /// - Returns: how many of the writes are on disk, from the first on, and why the others are not.
    private func write(_ batch: [(write: JournalWrite, id: WriteID)]) -> (written: Int, DiskFailure?) {
        journal.withLock { journal in
            var taken = 0
            do throws(DiskFailure) {
                do throws(DiskFailure) {
                    for (write, _) in batch {
                        try journal.append(write)
                        taken += 1
                    }
                } catch .full {
                    try journal.flush()
                    return (taken, .full)
                }
                try journal.flush()
                return (taken, nil)
            } catch {
                return (0, error)
            }
        }
    }
}
