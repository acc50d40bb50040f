// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What belongs to the process as a whole: its environment, its signals, its clocks.

import Consensus
import Glibc
import Platform
import Testing

@Suite("The process", .serialized)
struct ProcessTests {
    /// A service manager's socket, as far as `NOTIFY_SOCKET` is concerned.
    private final class NotifySocket: Sendable {
        let path: String
        private let descriptor: Int32
        init(in directory: TemporaryDirectory) throws {
            path = directory.path + "/notify"
            descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            try #require(result == 0)
        }
        deinit { close(descriptor) }
        /// Nil if nothing has come; what was sent is there at once.
        func receive() -> String? {
            var bytes = [UInt8](repeating: 0, count: 1024)
            let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
            return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
        }
    }

    @Test("tells its service manager that it is ready, how it is, that it lives, reads its configuration again and stops")
    func notifies() throws {
        let directory = TemporaryDirectory()
        let socket = try NotifySocket(in: directory)
        setenv("NOTIFY_SOCKET", socket.path, 1)
        defer { unsetenv("NOTIFY_SOCKET") }
        let manager = ServiceNotifier()
        manager.ready(status: "leader, term 7, 3/3 members")
        #expect(socket.receive() == "READY=1\nSTATUS=leader, term 7, 3/3 members")
        manager.status("follower\nREADY=1")
        #expect(socket.receive() == "STATUS=follower READY=1")
        manager.feedWatchdog()
        #expect(socket.receive() == "WATCHDOG=1")
        manager.reloading()
        let reloading = try #require(socket.receive()).split(separator: "\n")
        #expect(reloading.first == "RELOADING=1")
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let instant = try #require(reloading.last.flatMap { UInt64($0.dropFirst("MONOTONIC_USEC=".count)) })
        #expect(reloading.count == 2 && instant > 0 && instant <= (UInt64(now.tv_sec) + 1) * 1_000_000)
        manager.stopping()
        #expect(socket.receive() == "STOPPING=1")
        #expect(socket.receive() == nil)
    }

    @Test("knows its watchdog's interval, and that there is none")
    func watchdog() {
        #expect(ServiceNotifier().watchdogInterval == nil)
        setenv("WATCHDOG_USEC", "3000000", 1)
        defer { unsetenv("WATCHDOG_USEC") }
        #expect(ServiceNotifier().watchdogInterval == .seconds(3))
        setenv("WATCHDOG_PID", "1", 1)
        defer { unsetenv("WATCHDOG_PID") }
        #expect(ServiceNotifier().watchdogInterval == nil, "it is another process's watchdog")
    }

    @Test("without a service manager tells nobody and does not fail")
    func noManager() {
        unsetenv("NOTIFY_SOCKET")
        ServiceNotifier().ready()
    }

    @Test("hears its signals in order and outlives a broken pipe")
    func signals() async throws {
        let stream = try TerminationSignals.stream()
        defer { for number in [SIGTERM, SIGINT, SIGHUP, SIGPIPE] { signal(number, SIG_DFL) } }
        var iterator = stream.makeAsyncIterator()
        for (number, expected) in [(SIGHUP, .hangUp), (SIGTERM, .terminate), (SIGINT, .interrupt)] as [(Int32, TerminationSignal)] {
            kill(getpid(), SIGPIPE)
            kill(getpid(), number)
            #expect(await iterator.next() == expected)
        }
    }

    @Test("reads a boot clock that does not run backwards, and the calendar")
    func clocks() {
        let earlier = BootClock.instant()
        let later = BootClock.moment()
        #expect(later.instant >= earlier)
        #expect(earlier > .zero)
        #expect(later.wallClock > WallClock(secondsSince1970: 1_700_000_000))
    }

    @Test("takes standard error for the journal only where systemd has named that very stream")
    func journalStream() {
        var status = stat()
        #expect(fstat(STDERR_FILENO, &status) == 0)
        defer { unsetenv("JOURNAL_STREAM") }
        unsetenv("JOURNAL_STREAM")
        #expect(LogOutput.detect() == .standardError)
        setenv("JOURNAL_STREAM", "\(status.st_dev):\(status.st_ino)", 1)
        #expect(LogOutput.detect() == .systemdJournal)
        setenv("JOURNAL_STREAM", "\(status.st_dev):\(status.st_ino + 1)", 1)
        #expect(LogOutput.detect() == .standardError)
        setenv("JOURNAL_STREAM", "nonsense", 1)
        #expect(LogOutput.detect() == .standardError)
    }
}
