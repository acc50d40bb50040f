// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Real bytes exchanged by ctrl-exec 0.9.4 and 0.12.3, from the folder `traces`: `---- RECEIVED n bytes ----`, then exactly n bytes, then a newline.

import FoundationEssentials

package struct Trace {
    package enum Direction: String { case received = "RECEIVED", sent = "SENT" }

    package struct Part {
        package let direction: Direction
        package let bytes: [UInt8]
        /// The text up to and with the first blank line, and what follows it.
        package var head: String { String(decoding: bytes.prefix(bodyStart), as: UTF8.self) }
        package var body: [UInt8] { Array(bytes.dropFirst(bodyStart)) }
        package var statusCode: Int? { firstLine.hasPrefix("HTTP/") ? Int(firstLine.split(separator: " ")[1]) : nil }
        package var firstLine: String { String(decoding: bytes.prefix { $0 != 13 && $0 != 10 }, as: UTF8.self) }
        /// Nil for an answer.
        package var path: String? { statusCode == nil ? firstLine.split(separator: " ").dropFirst().first.map(String.init) : nil }
        package init(direction: Direction, bytes: [UInt8]) {
            self.direction = direction
            self.bytes = bytes
        }
        private var bodyStart: Int {
            let end: [UInt8] = [13, 10, 13, 10]
            return bytes.indices.first { bytes[$0...].starts(with: end) }.map { $0 + 4 } ?? bytes.count
        }
    }

    package let name: String
    package let parts: [Part]

    package static let directory: String =
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/traces"

    // A missing directory leaves no names, which a test of its own notices.
    package static let names: [String] = ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).sorted()

    package init(name: String) throws {
        self.name = name
        let bytes = Array(try Data(contentsOf: URL(filePath: Trace.directory + "/" + name)))
        var parts: [Part] = []
        var position = 0
        while position < bytes.count, let lineEnd = bytes[position...].firstIndex(of: 10) {
            let words = String(decoding: bytes[position..<lineEnd], as: UTF8.self).split(separator: " ")
            guard words.count == 5, let direction = Direction(rawValue: String(words[1])), let count = Int(words[2]) else { break }
            parts.append(Part(direction: direction, bytes: Array(bytes[(lineEnd + 1)..<(lineEnd + 1 + count)])))
            position = lineEnd + 2 + count
        }
        self.parts = parts
    }
}
