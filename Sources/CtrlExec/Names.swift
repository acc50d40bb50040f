// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The names that cross the wire, each with the grammar that ctrl-exec gives it.

/// Letters, digits and `.`, `_`, `-`, beginning with a letter or digit: the grammar of agent names and dispatcher ids.
private func isName(_ bytes: [UInt8], limit: Int) -> Bool {
    func isAlphanumeric(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) }
    guard let first = bytes.first, isAlphanumeric(first), bytes.count <= limit else { return false }
    return bytes.allSatisfy { isAlphanumeric($0) || $0 == 45 || $0 == 46 || $0 == 95 }
}

/// An agent's name in the registry: `^[A-Za-z0-9][A-Za-z0-9._-]*$` (protocol page, 7.2), at most 253 bytes as a DNS name.
package struct AgentName: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package init?(_ text: String) {
        guard isName(Array(text.utf8), limit: 253) else { return nil }
        self.text = text
    }
    package static func < (left: AgentName, right: AgentName) -> Bool { left.text.utf8.lexicographicallyPrecedes(right.text.utf8) }
    package var description: String { text }
}

/// The logical dispatcher that agents trust: `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$` (protocol page, 4.6).
package struct DispatcherID: Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package init?(_ text: String) {
        guard isName(Array(text.utf8), limit: 64) else { return nil }
        self.text = text
    }
    package var description: String { text }
}

/// An operator's name, as it stands in the certificate: the same grammar, at most 64 bytes.
package struct OperatorName: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let text: String
    package init?(_ text: String) {
        guard isName(Array(text.utf8), limit: 64) else { return nil }
        self.text = text
    }
    package static func < (left: OperatorName, right: OperatorName) -> Bool { left.text.utf8.lexicographicallyPrecedes(right.text.utf8) }
    package var description: String { text }
}

/// ctrl-exec's 16 lower-case hexadecimal digits that correlate one dispatch or pairing.
package struct Reqid: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package init?(_ text: String) {
        guard text.utf8.count == 16, text.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
            let number = UInt64(text, radix: 16)
        else { return nil }
        self.number = number
    }
    package static func < (left: Reqid, right: Reqid) -> Bool { left.number < right.number }
    package var description: String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
