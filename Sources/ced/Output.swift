// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Results on standard output, everything else on standard error; under `--json` standard output is JSON and nothing else.

import AgentLink
import ArgumentParser
import CtrlExec
import Glibc

enum Output {
    static func out(_ text: String) { write(text, to: 1) }
    static func line(_ text: String) { write(text + "\n", to: 1) }
    static func note(_ text: String) { write(text + "\n", to: 2) }
    static func json(_ value: JSONValue) { write(value.bytes + [10], to: 1) }

    private static func write(_ text: String, to descriptor: Int32) { write(Array(text.utf8), to: descriptor) }

    /// Whole, whatever the pipe takes at a time. A reader that has gone wants no more.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Columns as wide as their widest cell, two spaces apart, a rule under the heading.
    static func table(_ heading: [String], _ rows: [[String]]) { out(tableText(heading, rows)) }

    static func tableText(_ heading: [String], _ rows: [[String]]) -> String {
        let all = [heading] + rows
        let widths = heading.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        func text(_ row: [String]) -> String {
            let cells = row.indices.map { column in
                column == row.count - 1 ? row[column] : row[column] + String(repeating: " ", count: widths[column] - row[column].count)
            }
            return cells.joined(separator: "  ")
        }
        let rule = String(repeating: "-", count: widths.reduce(0, +) + 2 * (widths.count - 1))
        return ([text(heading), rule] + rows.map(text)).map { $0 + "\n" }.joined()
    }
}

/// Runs a command's body; what it throws becomes a sentence on standard error, JSON on standard output if that is asked for, and a code.
func reporting(json: Bool, _ body: () async throws -> Void) async throws {
    do {
        try await body()
    } catch let failure as ClientFailure {
        Output.note("ced: \(failure)")
        if json {
            Output.json(failure.answer ?? .record(["ok": .boolean(false), "error": .text(failure.description)]))
        }
        throw ArgumentParser.ExitCode(failure.code.rawValue)
    }
}

/// Nil if it is not set, or empty.
func environment(_ name: String) -> String? {
    guard let value = getenv(name) else { return nil }
    let text = String(cString: value)
    return text.isEmpty ? nil : text
}

extension JSONValue {
    /// A member as text; empty if there is none.
    func text(_ key: String) -> String { self[key]?.scalarText ?? "" }
    func integer(_ key: String) -> Int64? { self[key]?.scalarText.flatMap(Int64.init) }
    func flag(_ key: String) -> Bool { self[key]?.isTrue ?? false }
    func list(_ key: String) -> [JSONValue] { if case .array(let elements) = self[key] { elements } else { [] } }
}

/// A word as a shell reads it back.
func shellQuoted(_ word: String) -> String {
    let plain = word.utf8.allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "-_./:=,@%+".utf8.contains($0)
    }
    return plain && !word.isEmpty
        ? word : "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}
