// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// SIGTERM, SIGINT and SIGHUP as a stream of values; SIGPIPE without effect.
// A handler that writes one byte into a pipe, read by a thread of its own: unlike a mask with signalfd it does not depend on being there
// before the first thread, and unlike an ignored signal it is not passed on to the programs that we start.

import Glibc

package enum TerminationSignal: Hashable, Sendable {
    /// SIGTERM: end in good order.
    case terminate
    /// SIGINT: the same, from a terminal.
    case interrupt
    /// SIGHUP: read certificates and configuration anew.
    case hangUp

    fileprivate init?(number: Int32) {
        switch number {
        case SIGTERM: self = .terminate
        case SIGINT: self = .interrupt
        case SIGHUP: self = .hangUp
        default: return nil
        }
    }
}

/// Where the handler writes. Set once, before any handler is in place, and never changed; a handler can reach nothing but a global.
nonisolated(unsafe) private var signalPipe: Int32 = -1

/// Only what is allowed in a signal handler: one `write`, and `errno` as it was.
private func noteSignal(_ number: Int32) {
    let before = errno
    var byte = UInt8(truncatingIfNeeded: number)
    _ = write(signalPipe, &byte, 1)
    errno = before
}

package enum TerminationSignals {
    /// Catches the signals from now on. Call it once in a process, early.
    package static func stream() throws(FileProblem) -> AsyncStream<TerminationSignal> {
        precondition(signalPipe == -1, "the signals of a process have one reader")
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw FileProblem("make", "a pipe") }
        // Not for the programs that we start; and a handler must not block, not even on a pipe that nobody empties.
        guard fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0, fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0, fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0
        else { throw FileProblem("set up", "a pipe") }
        signalPipe = ends[1]
        let (stream, continuation) = AsyncStream.makeStream(of: TerminationSignal.self, bufferingPolicy: .bufferingOldest(16))
        try startReader(of: ends[0], into: continuation)
        for number in [SIGTERM, SIGINT, SIGHUP] { try handle(number) { noteSignal($0) } }
        try handle(SIGPIPE) { _ in }
        return stream
    }

    private static func handle(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) throws(FileProblem) {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = handler
        action.sa_flags = SA_RESTART
        guard sigaction(number, &action, nil) == 0 else { throw FileProblem("handle", "signal \(number)") }
    }

    private final class Reader: Sendable {
        let pipe: Int32
        let continuation: AsyncStream<TerminationSignal>.Continuation
        init(_ pipe: Int32, _ continuation: AsyncStream<TerminationSignal>.Continuation) {
            self.pipe = pipe
            self.continuation = continuation
        }
        func run() {
            var byte: UInt8 = 0
            while true {
                let count = read(pipe, &byte, 1)
                if count < 0, errno == EINTR { continue }
                guard count == 1 else { return continuation.finish() }
                if let signal = TerminationSignal(number: Int32(byte)) { continuation.yield(signal) }
            }
        }
    }

    private static func startReader(
        of pipe: Int32, into continuation: AsyncStream<TerminationSignal>.Continuation
    ) throws(FileProblem) {
        var thread = pthread_t()
        let reader = Unmanaged.passRetained(Reader(pipe, continuation))
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<Reader>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, reader.toOpaque())
        guard result == 0 else {
            reader.release()
            throw FileProblem("start", "the signals' thread", result)
        }
        pthread_detach(thread)
    }
}
