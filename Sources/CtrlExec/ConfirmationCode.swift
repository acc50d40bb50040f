// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The six digits that agent and operator compare at pairing (protocol page, 7.5).

/// Binds the certificate request only; it does not authenticate the dispatcher to the agent, and never travels.
package struct ConfirmationCode: Hashable, Sendable, CustomStringConvertible {
    package let text: String

    /// `sha256` is the digest of the request's PEM text exactly as carried in the JSON string; nil unless it has at least 4 bytes.
    package init?(sha256 digest: [UInt8]) {
        guard digest.count >= 4 else { return nil }
        let number = digest.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) } % 1_000_000
        text = String(repeating: "0", count: 6 - String(number).utf8.count) + String(number)
    }
    package var description: String { text }
}
