// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's list of certificates that it refuses whoever signed them: a serial a line (protocol page, 4.7).

package struct RevokedSerials: Hashable, Sendable {
    /// Ascending, none twice.
    private var serials: [SerialNumber] = []
    /// The numbers of lines that are no serial; the agent says so, for a revocation that is not understood revokes nothing.
    package private(set) var malformedLines: [Int] = []

    package init() {}

    /// Plain hexadecimal, colon form, `0x…`, `serial=…`, decimal; `#` begins a comment. A line of digits alone is decimal to the original and
    /// hexadecimal to `openssl`: both readings are revoked.
    package init(text: String) {
        for (number, line) in text.numberedLines {
            let word = line.beforeComment.trimmedOfWhiteSpace
            if word.isEmpty { continue }
            let readings = [SerialNumber(notation: word), SerialNumber(decimal: word)].compactMap { $0 }
            if readings.isEmpty { malformedLines.append(number) }
            for serial in readings where !contains(serial) {
                serials.insert(serial, at: serials.firstIndex { serial < $0 } ?? serials.count)
            }
        }
    }

    package var count: Int { serials.count }
    package func contains(_ serial: SerialNumber) -> Bool { serials.contains(serial) }
}
