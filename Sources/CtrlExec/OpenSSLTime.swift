// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Calendar text as the protocol writes it: OpenSSL's form of a certificate's end, and ISO 8601 with a Z.
// Proleptic Gregorian arithmetic on Unix seconds; no time zones, no leap seconds, no locale.

/// `Jun  7 16:28:00 2027 GMT`: dispatchers parse it to decide renewal (protocol page, 6.3, 25.2).
package enum OpenSSLTime {
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Day padded with a space, English month.
    package static func text(unixSeconds: Int64) -> String {
        let civil = CivilTime(unixSeconds: unixSeconds)
        let day = civil.day < 10 ? " \(civil.day)" : "\(civil.day)"
        let clock = "\(twoDigits(civil.hour)):\(twoDigits(civil.minute)):\(twoDigits(civil.second))"
        return "\(months[civil.month - 1]) \(day) \(clock) \(civil.year) GMT"
    }

    /// Reads that form, the day padded with a space, a zero or nothing; nil for anything else.
    package static func unixSeconds(_ text: String) -> Int64? {
        let words = text.wordsBetweenWhiteSpace
        guard words.count == 5, words[4] == "GMT", let month = months.firstIndex(of: words[0]), let day = number(words[1], digits: 1...2),
            let year = number(words[3], digits: 4...4)
        else { return nil }
        let clock = words[2].split(separator: ":", omittingEmptySubsequences: false)
        guard clock.count == 3, let hour = number(clock[0], digits: 1...2), let minute = number(clock[1], digits: 2...2),
            let second = number(clock[2], digits: 2...2)
        else { return nil }
        return CivilTime(year: year, month: month + 1, day: day, hour: hour, minute: minute, second: second)?.unixSeconds
    }
}

/// `2026-11-23T16:45:42Z`: the time stamps in records, contexts and answers.
package enum ISO8601Time {
    package static func text(unixSeconds: Int64) -> String {
        let civil = CivilTime(unixSeconds: unixSeconds)
        let year = String(repeating: "0", count: max(0, 4 - String(civil.year).count)) + String(civil.year)
        return "\(year)-\(twoDigits(civil.month))-\(twoDigits(civil.day))T"
            + "\(twoDigits(civil.hour)):\(twoDigits(civil.minute)):\(twoDigits(civil.second))Z"
    }

    /// Exactly that form; nil for anything else.
    package static func unixSeconds(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count == 20, bytes[4] == 45, bytes[7] == 45, bytes[10] == 84, bytes[13] == 58, bytes[16] == 58, bytes[19] == 90 else {
            return nil
        }
        func field(_ range: Range<Int>) -> Int? { number(String(decoding: bytes[range], as: UTF8.self), digits: range.count...range.count) }
        guard let year = field(0..<4), let month = field(5..<7), let day = field(8..<10), let hour = field(11..<13),
            let minute = field(14..<16), let second = field(17..<19)
        else { return nil }
        return CivilTime(year: year, month: month, day: day, hour: hour, minute: minute, second: second)?.unixSeconds
    }
}

private func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }

private func number(_ text: some StringProtocol, digits: ClosedRange<Int>) -> Int? {
    guard digits.contains(text.utf8.count), text.utf8.allSatisfy({ $0.isASCIIDigit }) else { return nil }
    return Int(text)
}

/// A civil date and time of day in UTC. The arithmetic counts days in eras of 400 years that begin on the first of March.
private struct CivilTime {
    var year: Int
    var month: Int
    var day: Int
    var hour: Int
    var minute: Int
    var second: Int

    init(unixSeconds: Int64) {
        let days = floorDivide(Int(unixSeconds), 86_400)
        let rest = Int(unixSeconds) - days * 86_400
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        hour = rest / 3_600
        minute = rest / 60 % 60
        second = rest % 60
    }

    /// Nil for a day that the calendar does not have.
    init?(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard (1...12).contains(month), (1...lengths[month - 1]).contains(day), (0...23).contains(hour), (0...59).contains(minute),
            (0...60).contains(second)
        else { return nil }
        (self.year, self.month, self.day, self.hour, self.minute, self.second) = (year, month, day, hour, minute, second)
    }

    var unixSeconds: Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = floorDivide(shiftedYear, 400)
        let yearOfEra = shiftedYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let days = era * 146_097 + dayOfEra - 719_468
        return Int64(days * 86_400 + hour * 3_600 + minute * 60 + second)
    }
}

private func floorDivide(_ dividend: Int, _ divisor: Int) -> Int {
    let quotient = dividend / divisor
    return dividend % divisor < 0 ? quotient - 1 : quotient
}
