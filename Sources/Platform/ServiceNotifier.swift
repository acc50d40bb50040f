// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What systemd is told about this process, and what it wants. Without systemd nothing happens and nothing fails.

import CSystemd
import Consensus
import Glibc

package struct ServiceNotifier: Sendable {
    package init() {}

    /// The service is up: its journal is recovered and its ports listen.
    package func ready(status: String? = nil) { notify(["READY=1"] + (status.map { ["STATUS=" + oneLine($0)] } ?? [])) }

    /// One line for `systemctl status`.
    package func status(_ text: String) { notify(["STATUS=" + oneLine(text)]) }

    /// The configuration is being read again; `ready` ends it. The instant lets the service manager tell this from an earlier reload.
    package func reloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        notify(["RELOADING=1", "MONOTONIC_USEC=\(UInt64(now.tv_sec) * 1_000_000 + UInt64(now.tv_nsec) / 1_000)"])
    }

    package func stopping(status: String? = nil) { notify(["STOPPING=1"] + (status.map { ["STATUS=" + oneLine($0)] } ?? [])) }

    /// Still alive. To be said by the loop whose life it vouches for, at half of `watchdogInterval`.
    package func feedWatchdog() { notify(["WATCHDOG=1"]) }

    /// Within which the watchdog wants to be fed; nil if there is none.
    package var watchdogInterval: TimeSpan? {
        var microseconds: UInt64 = 0
        guard sd_watchdog_enabled(0, &microseconds) > 0 else { return nil }
        return TimeSpan(nanoseconds: microseconds.multipliedReportingOverflow(by: 1000).partialValue)
    }

    /// A failure is not ours to mend: the service manager will draw its own conclusions.
    private func notify(_ lines: [String]) { _ = sd_notify(0, lines.joined(separator: "\n")) }

    private func oneLine(_ text: String) -> String { String(decoding: text.utf8.map { $0 < 32 ? 32 : $0 }, as: UTF8.self) }
}
