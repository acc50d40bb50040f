// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The time of the world itself, which no member can see.

import Consensus

/// Nanoseconds since the world began.
package struct TrueTime: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    package static let zero = TrueTime(nanoseconds: 0)
    package static let never = TrueTime(nanoseconds: .max)
    package static func < (left: TrueTime, right: TrueTime) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func + (time: TrueTime, span: TimeSpan) -> TrueTime {
        let (sum, overflow) = time.nanoseconds.addingReportingOverflow(span.nanoseconds)
        return overflow ? .never : TrueTime(nanoseconds: sum)
    }
    /// How long after `earlier` this is; zero if it is not after it.
    package func since(_ earlier: TrueTime) -> TimeSpan {
        TimeSpan(nanoseconds: self > earlier ? nanoseconds - earlier.nanoseconds : 0)
    }
    package var description: String {
        let microseconds = nanoseconds / 1_000
        let fraction = String(microseconds % 1_000_000)
        return "\(microseconds / 1_000_000)." + String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
    }
}
