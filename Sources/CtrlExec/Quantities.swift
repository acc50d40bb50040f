// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Spans and sizes as people read them: few digits, the unit that fits.

package enum Quantity {
    /// `42 s`, `90 min`, `12 h`, `30 days`.
    package static func span(seconds: Int64) -> String {
        switch seconds {
        case ..<120: "\(seconds) s"
        case ..<7_200: "\(seconds / 60) min"
        case ..<172_800: "\(seconds / 3_600) h"
        default: "\(seconds / 86_400) days"
        }
    }

    /// Whole seconds of `90s`, `5m`, `12h`, `30d`; nil for anything else, or more than `limit` seconds.
    package static func seconds(of text: String, atMost limit: Int64) -> Int64? {
        guard let unit = text.utf8.last, let number = Int64(text.dropLast()), number >= 0, number <= limit else { return nil }
        let factor: Int64
        switch unit {
        case UInt8(ascii: "s"): factor = 1
        case UInt8(ascii: "m"): factor = 60
        case UInt8(ascii: "h"): factor = 3_600
        case UInt8(ascii: "d"): factor = 86_400
        default: return nil
        }
        let (seconds, overflow) = number.multipliedReportingOverflow(by: factor)
        return !overflow && seconds <= limit ? seconds : nil
    }

    /// `312 MiB`, `1.5 GiB`, `12 GiB`.
    package static func size(bytes: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        var place = 0
        var tenths = bytes > .max / 10 ? .max : bytes * 10
        while tenths >= 10_240, place < units.count - 1 {
            tenths /= 1_024
            place += 1
        }
        let text = tenths < 100 && place > 0 ? "\(tenths / 10).\(tenths % 10)" : "\(tenths / 10)"
        return "\(text) \(units[place])"
    }
}
