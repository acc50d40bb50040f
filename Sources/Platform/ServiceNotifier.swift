// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What systemd is told about this process, and what it wants. Without systemd nothing happens and nothing fails.

import CSystemd
import Consensus

package struct ServiceNotifier: Sendable {
    package init() {}

    /// The service is up: its journal is recovered and its ports listen.
    package func ready(status: String? = nil) { notify(["READY=1"] + (status.map { ["STATUS=" + oneLine($0)] } ?? [])) }

    /// One line for `systemctl status`.
    package func status(_ text: String) { notify(["STATUS=" + oneLine(text)]) }

    package func stopping(status: String? = nil) { notify(["STOPPING=1"] + (status.map { ["STATUS=" + oneLine($0)] } ?? [])) }

    /// Still alive. To be said by the loop whose life it vouches for, at half of `watchdogInterval`.
    package func feedWatchdog() { notify(["WATCHDOG=1"]) }

    /// Within which the watchdog wants to be fed; nil if there is none.
    package var watchdogInterval: TimeSpan? {
        var microseconds: UInt64 = 0
        guard sd_watchdog_enabled(0, &microseconds) > 0 else { return nil }
        return TimeSpan(nanoseconds: microseconds.multipliedReportingOverflow(by: 1000).partialValue)
    }

    /// Sockets that systemd has opened for us, in the order of the unit; empty without socket activation.
    package var inheritedSockets: [Int32] {
        let count = sd_listen_fds(0)
        return count > 0 ? (0..<count).map { SD_LISTEN_FDS_START + $0 } : []
    }

    /// A failure is not ours to mend: the service manager will draw its own conclusions.
    private func notify(_ lines: [String]) { _ = sd_notify(0, lines.joined(separator: "\n")) }

    private func oneLine(_ text: String) -> String { String(decoding: text.utf8.map { $0 < 32 ? 32 : $0 }, as: UTF8.self) }
}
