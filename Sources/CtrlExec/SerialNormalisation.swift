// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Serial numbers as text. Perl agents compare serials by a canonical text N(s) that is neither injective nor idempotent (protocol page, 4.5);
// we compare integers, and need N only to know what such an agent will make of our certificates.

extension SerialNumber {
    /// N(s) as 0.12.2 computes it: `nan` for what is no number.
    package static func normalised(_ text: String) -> String {
        var rest = Array(text.utf8)
        func dropPrefix(_ prefix: String) {
            let bytes = Array(prefix.utf8)
            if rest.count >= bytes.count, rest.prefix(bytes.count).map(lowerCase) == bytes { rest.removeFirst(bytes.count) }
        }
        dropPrefix("0x")
        dropPrefix("serial=")
        rest = rest.map(lowerCase)
        if rest.contains(58) { return String(decoding: withoutLeadingZeros(rest.filter { $0 != 58 }), as: UTF8.self) }
        if rest.isEmpty { return "" }
        if rest.allSatisfy({ $0.isASCIIDigit }) { return hexadecimalOfDecimal(rest) }
        if rest.allSatisfy({ $0.isASCIIDigit || (97...102).contains($0) }) {
            return String(decoding: withoutLeadingZeros(rest), as: UTF8.self)
        }
        return "nan"
    }

    /// Whether a Perl agent of any release will recognise a certificate with this serial however often it applies N: true if the hexadecimal
    /// text has a letter, for a text of digits is taken for decimal. (Uniqueness comes from length and randomness, not from N.)
    package var isStableUnderNormalisation: Bool { hexadecimal.utf8.contains { !$0.isASCIIDigit } }

    /// A serial in a file or message, read as the hexadecimal integer that it is: `5c01…`, `0x5c01`, `serial=5C01`, `5C:01`.
    /// Digits alone are hexadecimal too: so `openssl x509 -serial`, dispatchers and our own files write them.
    package init?(notation text: String) {
        var rest = text.trimmedOfWhiteSpace
        for prefix in ["0x", "serial="] where rest.lowercased().hasPrefix(prefix) { rest.removeFirst(prefix.count) }
        rest.removeAll { $0 == ":" }
        self.init(hexadecimal: rest)
    }

    /// Decimal digits; nil for anything else or more than 20 bytes.
    package init?(decimal text: String) {
        let digits = Array(text.utf8)
        guard (1...60).contains(digits.count), digits.allSatisfy({ $0.isASCIIDigit }) else { return nil }
        self.init(hexadecimal: SerialNumber.hexadecimalOfDecimal(digits))
    }

    private static func lowerCase(_ byte: UInt8) -> UInt8 { (65...90).contains(byte) ? byte + 32 : byte }

    /// Keeps at least one digit.
    private static func withoutLeadingZeros(_ digits: [UInt8]) -> [UInt8] {
        let significant = Array(digits.drop { $0 == 48 })
        return significant.isEmpty ? Array(digits.prefix(1)) : significant
    }

    private static func hexadecimalOfDecimal(_ digits: [UInt8]) -> String {
        // Little-endian nibbles, multiplied by ten for each digit.
        var nibbles: [UInt32] = [0]
        for digit in digits {
            var carry = UInt32(digit - 48)
            for index in nibbles.indices {
                let value = nibbles[index] * 10 + carry
                nibbles[index] = value & 15
                carry = value >> 4
            }
            while carry > 0 {
                nibbles.append(carry & 15)
                carry >>= 4
            }
        }
        return nibbles.reversed().map { String($0, radix: 16) }.joined()
    }
}
