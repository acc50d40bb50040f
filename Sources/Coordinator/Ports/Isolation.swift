// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member without a leader (architecture, rule 5): it goes on with what needs no agreement, says so in every answer, and ends that when it
// has been alone for too long, because what it has not heard in the meantime, a revocation for one, grows with every minute.

import CtrlExec
import Synchronization

/// That a member was ready once and has no leader now.
package struct Isolation: Hashable, Sendable {
    package let milliseconds: UInt64

    /// Nil: it hears from a leader, or has never been ready since it started, which is refused otherwise.
    /// - Parameter hasServed: whether it was ready at any time since it started.
    package init?(_ glance: MemberGlance, hasServed: Bool) {
        guard hasServed, !glance.isReady, let milliseconds = glance.leaderContactMilliseconds else { return nil }
        self.milliseconds = milliseconds
    }

    /// Whole ones: 0 is an election as a rule.
    package var seconds: UInt64 { milliseconds / 1_000 }

    /// - Parameter now: this member's calendar, in seconds since 1970.
    func headers(now: Int64) -> [PortResponse.Header] {
        [
            PortResponse.Header("X-Ced-Isolated", String(seconds)),
            // Until then it had what a leader had, but for the entries that were on their way.
            PortResponse.Header("X-Ced-As-Of", ISO8601Time.text(unixSeconds: now - Int64(clamping: seconds))),
        ]
    }
}

/// `isolation_limit`, which may change while the ports are open.
package final class IsolationLimit: Sendable {
    private let limit: Atomic<UInt64>
    package init(seconds: UInt64) { limit = Atomic(seconds) }
    package var seconds: UInt64 { limit.load(ordering: .relaxed) }
    package func change(seconds: UInt64) { limit.store(seconds, ordering: .relaxed) }

    /// A limit of 0 ends it at once.
    package func isPassed(by isolation: Isolation) -> Bool {
        let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000)
        return !overflow && isolation.milliseconds >= milliseconds
    }
}

/// Notices when isolation begins, passes the limit, and ends, for the log.
struct IsolationWatch: Hashable, Sendable {
    /// Shorter than this it is an election, of which other lines tell.
    static let worthTellingMilliseconds: UInt64 = 2_000

    enum Change: Hashable, Sendable {
        case begun(Isolation)
        case limitPassed(Isolation)
        /// After so many seconds, as far as was seen.
        case ended(seconds: UInt64)
    }

    private enum Phase: Hashable, Sendable {
        case connected
        case isolated(seconds: UInt64)
        case silenced(seconds: UInt64)
    }
    private var phase = Phase.connected

    mutating func look(_ isolation: Isolation?, isPastLimit: Bool) -> Change? {
        switch (phase, isolation) {
        case (.connected, nil): return nil
        case (.isolated(let seconds), nil), (.silenced(let seconds), nil):
            phase = .connected
            return .ended(seconds: seconds)
        case (.connected, let isolation?):
            guard isPastLimit || isolation.milliseconds >= Self.worthTellingMilliseconds else { return nil }
            phase = isPastLimit ? .silenced(seconds: isolation.seconds) : .isolated(seconds: isolation.seconds)
            return isPastLimit ? .limitPassed(isolation) : .begun(isolation)
        case (.isolated, let isolation?):
            phase = isPastLimit ? .silenced(seconds: isolation.seconds) : .isolated(seconds: isolation.seconds)
            return isPastLimit ? .limitPassed(isolation) : nil
        case (.silenced, let isolation?):
            // The limit may have been raised in the meantime; that it serves again is no news of the network.
            phase = isPastLimit ? .silenced(seconds: isolation.seconds) : .isolated(seconds: isolation.seconds)
            return nil
        }
    }
}

extension IsolationWatch.Change {
    func line(limitSeconds: UInt64) -> LogLine {
        switch self {
        case .begun(let isolation):
            LogLine(
                "isolated", ("SECONDS", isolation.seconds), ("LIMIT", limitSeconds),
                ("MSG", "no leader; goes on with work on agents, from the registry as it was, until the limit"))
        case .limitPassed(let isolation):
            LogLine(
                "isolation-limit", ("SECONDS", isolation.seconds), ("LIMIT", limitSeconds),
                ("MSG", "no leader for too long; serves nothing until it hears from one"))
        case .ended(let seconds): LogLine("isolation-over", ("SECONDS", seconds), ("MSG", "hears from a leader again"))
        }
    }
}
