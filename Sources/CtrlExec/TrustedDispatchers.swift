// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's map of dispatcher certificates that it obeys: `<serial> <dispatcher-id>` a line (protocol page, 4.6).
// Entries are integers here, so that an ordinary certificate cannot share a dispatcher's canonical text.

package struct TrustedDispatchers: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        package let serial: SerialNumber
        package let dispatcher: DispatcherID
    }

    /// Ascending by serial, no serial twice; several serials may carry the same id.
    package private(set) var entries: [Entry] = []

    package init() {}

    /// Malformed lines are skipped; of lines with the same serial the last one wins. `#` begins a comment anywhere.
    package init(text: String) {
        for (_, line) in text.numberedLines {
            let words = line.beforeComment.wordsBetweenWhiteSpace
            guard words.count >= 2, let serial = SerialNumber(notation: words[0]), let dispatcher = DispatcherID(words[1]) else { continue }
            add(serial, dispatcher)
        }
    }

    package var isEmpty: Bool { entries.isEmpty }

    /// The dispatcher to which the serial belongs; nil: not trusted.
    package subscript(serial: SerialNumber) -> DispatcherID? { entries.first { $0.serial == serial }?.dispatcher }

    /// Inserts, or gives the serial to another dispatcher.
    package mutating func add(_ serial: SerialNumber, _ dispatcher: DispatcherID) {
        entries.removeAll { $0.serial == serial }
        entries.insert(Entry(serial: serial, dispatcher: dispatcher), at: entries.firstIndex { serial < $0.serial } ?? entries.count)
    }

    /// Does nothing if the serial is absent.
    package mutating func remove(_ serial: SerialNumber) { entries.removeAll { $0.serial == serial } }

    /// The file's text, as the original writes it, so that it may be read by either program. Serials are written without leading zeros.
    package var text: String {
        entries.reduce("# ctrl-exec trusted dispatchers: <serial> <id>, one per line.\n# Managed by pairing - do not edit by hand.\n") {
            let hexadecimal = $1.serial.hexadecimal
            return $0 + "\(hexadecimal.first == "0" ? String(hexadecimal.dropFirst()) : hexadecimal) \($1.dispatcher)\n"
        }
    }
}
