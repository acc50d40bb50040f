// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The two clocks that a member is told: one that counts on while the machine sleeps, and the calendar.

import Consensus
import Glibc

package enum BootClock {
    /// `CLOCK_BOOTTIME`: nanoseconds since boot, suspended time included, never set back. A call of about 50 ns.
    package static func instant() -> Instant {
        let time = read(CLOCK_BOOTTIME)
        return Instant(nanosecondsSinceBoot: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    /// `CLOCK_REALTIME`, in whole seconds.
    package static func wallClock() -> WallClock { WallClock(secondsSince1970: Int64(read(CLOCK_REALTIME).tv_sec)) }

    /// Calendar time in milliseconds since 1970, for lines of the log.
    package static func wallMilliseconds() -> Int64 {
        let time = read(CLOCK_REALTIME)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    package static func moment() -> Moment { Moment(instant: instant(), wallClock: wallClock()) }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        let result = clock_gettime(clock, &time)
        precondition(result == 0, "the kernel has no clock \(clock)")
        return time
    }
}
