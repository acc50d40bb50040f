// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One machine's clocks: a boot clock with an origin and a rate of its own, and a wall clock that is somewhat off.

import Consensus

/// Within the bound that the protocol assumes (`Timing.clockRateBoundPerMille`), the rate may be anything and may change.
package struct SimulatedClock: Sendable {
    /// The rate of a perfect clock.
    package static let exact: UInt64 = 1_000_000
    /// Since `origin`, the clock counts `rate` millionths of true time, from `reading` on.
    package private(set) var rate: UInt64
    private var origin: TrueTime
    private var reading: UInt64
    /// How far the wall clock is off, in seconds.
    package private(set) var wallOffset: Int64

    package init(reading: UInt64, rate: UInt64, wallOffset: Int64, at now: TrueTime) {
        self.reading = reading
        self.rate = rate
        self.wallOffset = wallOffset
        origin = now
    }

    package func instant(at now: TrueTime) -> Instant {
        let product = now.since(origin).nanoseconds.multipliedFullWidth(by: rate)
        return Instant(nanosecondsSinceBoot: reading + SimulatedClock.exact.dividingFullWidth(product).quotient)
    }

    package func moment(at now: TrueTime) -> Moment {
        Moment(instant: instant(at: now), wallClock: wallClock(at: now))
    }

    package func wallClock(at now: TrueTime) -> WallClock {
        WallClock(secondsSince1970: 1_780_000_000 + wallOffset + Int64(now.nanoseconds / 1_000_000_000))
    }

    /// The first true time at which the clock shows `instant` or more.
    package func time(of instant: Instant) -> TrueTime {
        guard instant.nanosecondsSinceBoot > reading else { return origin }
        let ahead = instant.nanosecondsSinceBoot - reading
        guard ahead < 1 << 43 else { return .never }
        return origin + TimeSpan(nanoseconds: (ahead * SimulatedClock.exact + rate - 1) / rate)
    }

    package var isWallClockNearlyRight: Bool { wallOffset.magnitude <= 2 }

    package mutating func setWallClock(off offset: Int64) { wallOffset = offset }

    /// The clock goes on from what it shows now, faster or slower.
    package mutating func changeRate(to rate: UInt64, at now: TrueTime) {
        reading = instant(at: now).nanosecondsSinceBoot
        origin = now
        self.rate = rate
    }
}
