// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Certificate serial numbers, compared as the integers that they are.

/// A positive certificate serial number of at most 160 bits (RFC 5280, 4.1.2.2). Held in three words: serials are compared all the time.
package struct SerialNumber: Comparable, Hashable, Sendable, CustomStringConvertible {
    private let high: UInt32
    private let middle: UInt64
    private let low: UInt64

    /// Big-endian. Nil if nothing remains without the leading zeros, or more than 20 bytes.
    package init?(bytes: [UInt8]) {
        let significant = bytes.drop { $0 == 0 }
        guard (1...20).contains(significant.count) else { return nil }
        var (high, middle, low): (UInt64, UInt64, UInt64) = (0, 0, 0)
        for byte in significant {
            high = high << 8 | middle >> 56
            middle = middle << 8 | low >> 56
            low = low << 8 | UInt64(byte)
        }
        (self.high, self.middle, self.low) = (UInt32(truncatingIfNeeded: high), middle, low)
    }

    /// The number, the highest 32 bits first.
    package var words: (high: UInt64, middle: UInt64, low: UInt64) { (UInt64(high), middle, low) }

    /// Big-endian, without leading zeros: 1 to 20.
    package var bytes: [UInt8] {
        var all: [UInt8] = []
        all.reserveCapacity(20)
        for shift in stride(from: 24, through: 0, by: -8) { all.append(UInt8(truncatingIfNeeded: high >> UInt32(shift))) }
        for word in [middle, low] {
            for shift in stride(from: 56, through: 0, by: -8) { all.append(UInt8(truncatingIfNeeded: word >> UInt64(shift))) }
        }
        return Array(all.drop { $0 == 0 })
    }

    /// Hexadecimal digits, upper or lower case, an odd number of them too.
    package init?(hexadecimal text: String) {
        var digits: [UInt8] = []
        for character in text.utf8 {
            switch character {
            case 48...57: digits.append(character - 48)
            case 65...70: digits.append(character - 55)
            case 97...102: digits.append(character - 87)
            default: return nil
            }
        }
        guard (1...80).contains(digits.count) else { return nil }
        if digits.count % 2 == 1 { digits.insert(0, at: 0) }
        self.init(bytes: stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] })
    }

    /// Whole bytes, lower case: what an agent reads from the certificate.
    package var hexadecimal: String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
    package var description: String { hexadecimal }

    package static func < (left: SerialNumber, right: SerialNumber) -> Bool {
        (left.high, left.middle, left.low) < (right.high, right.middle, right.low)
    }
}
