// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Time as the core sees it: readings handed in from outside. Nothing in here reads a clock.

/// A reading of one member's own `CLOCK_BOOTTIME`. Never compared between members, and not across a restart.
package struct Instant: Comparable, Hashable, Sendable {
    package let nanosecondsSinceBoot: UInt64
    package init(nanosecondsSinceBoot: UInt64) { self.nanosecondsSinceBoot = nanosecondsSinceBoot }
    package static let zero = Instant(nanosecondsSinceBoot: 0)
    package static func < (left: Instant, right: Instant) -> Bool { left.nanosecondsSinceBoot < right.nanosecondsSinceBoot }
    package static func + (instant: Instant, span: TimeSpan) -> Instant {
        Instant(nanosecondsSinceBoot: instant.nanosecondsSinceBoot &+ span.nanoseconds)
    }
    /// How long after `earlier` this instant is; zero if it is not after it.
    package func since(_ earlier: Instant) -> TimeSpan {
        TimeSpan(nanoseconds: self > earlier ? nanosecondsSinceBoot - earlier.nanosecondsSinceBoot : 0)
    }
}

/// A length of time in nanoseconds, never negative.
package struct TimeSpan: Comparable, Hashable, Sendable {
    package let nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    package static func milliseconds(_ count: UInt64) -> TimeSpan { TimeSpan(nanoseconds: count * 1_000_000) }
    package static func seconds(_ count: UInt64) -> TimeSpan { TimeSpan(nanoseconds: count * 1_000_000_000) }
    package static let zero = TimeSpan(nanoseconds: 0)
    package static func < (left: TimeSpan, right: TimeSpan) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func + (left: TimeSpan, right: TimeSpan) -> TimeSpan { TimeSpan(nanoseconds: left.nanoseconds + right.nanoseconds) }
    package var milliseconds: UInt64 { nanoseconds / 1_000_000 }
}

/// Calendar time in seconds since 1970-01-01T00:00:00Z. Stamps certificates and records; decides nothing in the state machine.
package struct WallClock: Comparable, Hashable, Sendable {
    package let secondsSince1970: Int64
    package init(secondsSince1970: Int64) { self.secondsSince1970 = secondsSince1970 }
    package static func < (left: WallClock, right: WallClock) -> Bool { left.secondsSince1970 < right.secondsSince1970 }
}

/// What the shell reads for each event, after it has the event's bytes.
package struct Moment: Hashable, Sendable {
    package let instant: Instant
    /// Only stamps what this member leads.
    package let wallClock: WallClock
    package init(instant: Instant, wallClock: WallClock) {
        self.instant = instant
        self.wallClock = wallClock
    }
}
