// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the service manager hears of a running member: that it lives, as `Watchdog` decides, and in one line how it is. Runs on the loop
// that steps the member, and nowhere else: a timer of another thread would vouch for a loop that hangs.

import Consensus
import CtrlExec
import Logging
import NIOCore
import Platform
import Synchronization

final class ServiceWatch: Sendable {
    /// How often to look, unless the service manager wants to hear more often.
    private static let interval = TimeSpan.milliseconds(500)

    private let loop: any EventLoop
    private let service: ServiceNotifier
    private let disk: any Living
    private let logger: Logger
    private let now: @Sendable () -> Instant
    /// Called on the loop: how the member is.
    private let statusLine: @Sendable () -> String
    private let seat: NIOLoopBoundBox<Seat>
    /// What people must do something about, behind the status.
    private let note = Mutex<String?>(nil)

    private struct Seat {
        var watchdog: Watchdog
        var told: String?
        var task: RepeatedTask?
    }

    init(
        loop: any EventLoop, service: ServiceNotifier, disk: any Living, logger: Logger, now: @escaping @Sendable () -> Instant,
        statusLine: @escaping @Sendable () -> String
    ) {
        self.loop = loop
        self.service = service
        self.disk = disk
        self.logger = logger
        self.now = now
        self.statusLine = statusLine
        seat = NIOLoopBoundBox.makeBoxSendingValue(Seat(watchdog: Watchdog(now: now())), eventLoop: loop)
    }

    /// - Parameter each: called on the loop at each look.
    func begin(each: @escaping @Sendable () -> Void) {
        // Four looks in the time within which the service manager wants to hear: one may come late, and one sign too.
        let interval = service.watchdogInterval.map { min(TimeSpan(nanoseconds: $0.nanoseconds / 4), Self.interval) } ?? Self.interval
        disk.askForSign()
        loop.execute {
            self.seat.value.task = self.loop.scheduleRepeatedTask(
                initialDelay: .zero, delay: .nanoseconds(Int64(max(interval.nanoseconds, 1_000_000)))
            ) { _ in
                each()
                self.look()
            }
        }
    }

    /// Stands behind the status until it is replaced; nil: nothing does.
    func note(_ text: String?) { note.withLock { $0 = text } }

    /// As it would be told now.
    func status() async -> String {
        await withCheckedContinuation { continuation in loop.execute { continuation.resume(returning: self.statusOnLoop) } }
    }

    private var statusOnLoop: String { statusLine() + (note.withLock { $0 }.map { "; " + $0 } ?? "") }

    /// Nothing is said any more.
    func end() { loop.execute { self.seat.value.task?.cancel() } }

    private func look() {
        let signs = disk.signsOfLife
        var status = statusOnLoop
        switch seat.value.watchdog.look(signs: signs, at: now()) {
        case .alive: service.feedWatchdog()
        case .aliveAgain(let silence):
            service.feedWatchdog()
            logger.log(.notice, LogLine("disk-answers", ("SILENT_MS", silence.milliseconds)))
        case .silentForLong(let silence):
            logger.log(.error, LogLine("disk-silent", ("SILENT_MS", silence.milliseconds), ("WATCHDOG", watchdogWords)))
            status = "the disk has been silent for \(silence.milliseconds / 1000) s; " + status
        case .silent(let silence):
            if silence >= Watchdog.long { status = "the disk has been silent for \(silence.milliseconds / 1000) s; " + status }
        }
        disk.askForSign()
        if status != seat.value.told {
            seat.value.told = status
            service.status(status)
        }
    }

    private var watchdogWords: String {
        service.watchdogInterval.map {
            "the service manager ends this process \($0.milliseconds / 1000) s after the disk's last sign of life"
        }
            ?? "no service manager watches this process"
    }
}
