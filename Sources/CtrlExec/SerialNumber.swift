// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Certificate serial numbers, compared as the integers that they are.

/// A positive certificate serial number: big-endian bytes without leading zeros, 1 to 20 of them (RFC 5280, 4.1.2.2).
package struct SerialNumber: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]

    /// Nil if nothing remains without the leading zeros, or more than 20 bytes.
    package init?(bytes: [UInt8]) {
        let significant = Array(bytes.drop { $0 == 0 })
        guard (1...20).contains(significant.count) else { return nil }
        self.bytes = significant
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
        left.bytes.count != right.bytes.count ? left.bytes.count < right.bytes.count : left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}
