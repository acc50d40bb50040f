// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A log that nobody reads blocks nobody.

import Glibc
import Synchronization
import Testing

@testable import Platform

private final class Written: Sendable {
    private let state = Mutex<[String]>([])
    var lines: [String] { state.withLock { $0 } }
    func add(_ line: String) { state.withLock { $0.append(line) } }
}

private final class Flag: Sendable {
    private let state = Atomic(false)
    var isUp: Bool { state.load(ordering: .sequentiallyConsistent) }
    func raise() { state.store(true, ordering: .sequentiallyConsistent) }
}

@Suite("The log's queue", .timeLimit(.minutes(1)))
struct LogQueueTests {
    @Test("keeps the order, and flush waits for all of it")
    func order() {
        let written = Written()
        let queue = LogQueue(capacity: 100) { written.add("dropped \($0)") }
        for number in 0..<100 { queue.add { written.add("\(number)") } }
        queue.flush(atMostMilliseconds: 60_000)
        #expect(written.lines == (0..<100).map(String.init))
    }

    @Test("drops and counts what does not fit while the reader stands still, and blocks nobody")
    func drops() {
        let written = Written()
        let queue = LogQueue(capacity: 2) { written.add("dropped \($0)") }
        let (stuck, free) = (Flag(), Flag())
        queue.add {
            stuck.raise()
            while !free.isUp { sched_yield() }
            written.add("first")
        }
        while !stuck.isUp { sched_yield() }
        for number in 0..<5 { queue.add { written.add("\(number)") } }
        free.raise()
        queue.flush(atMostMilliseconds: 60_000)
        #expect(written.lines == ["first", "0", "1", "dropped 3"])
    }
}
