// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// DER in the armour in which files and messages carry it (RFC 7468). Writing only: what comes in is read by OpenSSL, which looks at it too.

package enum PEM {
    package static func certificate(_ der: [UInt8]) -> String { text(der, label: "CERTIFICATE") }
    package static func certificateRequest(_ der: [UInt8]) -> String { text(der, label: "CERTIFICATE REQUEST") }

    /// Lines of 64 characters, each with its end, as OpenSSL writes them.
    private static func text(_ der: [UInt8], label: String) -> String {
        let digits = base64(der)
        var lines = "-----BEGIN \(label)-----\n"
        for start in stride(from: 0, to: digits.count, by: 64) {
            lines += String(decoding: digits[start..<min(start + 64, digits.count)], as: UTF8.self) + "\n"
        }
        return lines + "-----END \(label)-----\n"
    }

    private static func base64(_ bytes: [UInt8]) -> [UInt8] {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var digits: [UInt8] = []
        digits.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            let word = group.enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << UInt32(16 - 8 * $1.offset) }
            for place in 0..<4 {
                digits.append(place <= group.count ? alphabet[Int(word >> UInt32(18 - 6 * place)) & 63] : UInt8(ascii: "="))
            }
        }
        return digits
    }
}
