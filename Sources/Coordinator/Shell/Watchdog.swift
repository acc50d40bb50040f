// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Whether the service manager may be told that this process lives. The loop that steps the member says it, so that a loop which hangs says
// nothing; it says it only for a sign of life of the journal's thread, each sign once, so that a disk which never returns ends it too.
// Signs are counted, time is not: a machine that slept is no disk that hangs. How long a silence may last is the service manager's to say
// (`WatchdogSec=`); what it does about it, as well.

import Consensus

package struct Watchdog: Hashable, Sendable {
    package enum Verdict: Hashable, Sendable {
        /// Tell the service manager.
        case alive
        /// Tell it, and people that the silence of which they heard is over.
        case aliveAgain(after: TimeSpan)
        /// Say nothing.
        case silent(for: TimeSpan)
        /// Say nothing, but tell people: the silence has become long.
        case silentForLong(TimeSpan)
    }

    /// Longer than a disk that is only busy; a leader gives leadership up then.
    package static let long = TimeSpan.seconds(1)

    private var spent: UInt64 = 0
    private var lastSign: Instant
    private var hasTold = false

    package init(now: Instant) { lastSign = now }

    /// One look, some time after a sign was asked for.
    package mutating func look(signs: UInt64, at now: Instant) -> Verdict {
        let silence = now.since(lastSign)
        if signs != spent {
            spent = signs
            lastSign = now
            defer { hasTold = false }
            return hasTold ? .aliveAgain(after: silence) : .alive
        }
        if silence >= Self.long, !hasTold {
            hasTold = true
            return .silentForLong(silence)
        }
        return .silent(for: silence)
    }
}
