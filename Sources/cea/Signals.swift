// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The signals that a daemon hears, as a stream.

import Dispatch
import Glibc

/// Listens from its making on; a signal that comes before anybody reads the stream waits there.
final class Signals {
    enum Signal: Sendable {
        case reload
        case terminate
    }

    let stream: AsyncStream<Signal>
    private let sources: [any DispatchSourceSignal]

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Signal.self)
        self.stream = stream
        sources = [(SIGHUP, Signal.reload), (SIGTERM, .terminate), (SIGINT, .terminate)].map { number, meaning in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(meaning) }
            source.resume()
            return source
        }
    }
}
