// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// SIGINT and SIGTERM as a flag that long work asks about.

import Platform
import Synchronization

final class StopRequest: Sendable {
    struct Stopped: Error {}
    private let isStopping = Atomic<Bool>(false)

    func listen() throws {
        let signals = try TerminationSignals.stream()
        Task {
            for await _ in signals { break }
            isStopping.store(true, ordering: .releasing)
        }
    }

    func check() throws { if isStopping.load(ordering: .acquiring) { throw Stopped() } }
}
