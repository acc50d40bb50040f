// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the grammars of this room share: ASCII white space, lines, and the word that a person probably meant.

extension UInt8 {
    /// Space, tab, vertical tab, form feed, carriage return, newline: Perl's `\s` as far as ASCII goes.
    var isASCIIWhiteSpace: Bool { self == 32 || (9...13).contains(self) }
    var isASCIIDigit: Bool { (48...57).contains(self) }
    /// Perl's `\w` as far as ASCII goes.
    var isWordByte: Bool { isASCIIDigit || (65...90).contains(self) || (97...122).contains(self) || self == 95 }
}

extension StringProtocol {
    /// Without ASCII white space at either end.
    package var trimmedOfWhiteSpace: String {
        let bytes = Array(utf8)
        guard let first = bytes.firstIndex(where: { !$0.isASCIIWhiteSpace }),
            let last = bytes.lastIndex(where: { !$0.isASCIIWhiteSpace })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }

    /// The words between ASCII white space.
    package var wordsBetweenWhiteSpace: [String] {
        utf8.split(whereSeparator: { $0.isASCIIWhiteSpace }).map { String(decoding: Array($0), as: UTF8.self) }
    }

    /// Lines without their ends (`\n`, `\r\n`), numbered from 1.
    package var numberedLines: [(number: Int, text: String)] {
        utf8.split(separator: 10, omittingEmptySubsequences: false).enumerated().map { index, line in
            let bytes = Array(line.last == 13 ? line.dropLast() : line)
            return (index + 1, String(decoding: bytes, as: UTF8.self))
        }
    }

    /// The text before the first `#`.
    package var beforeComment: String { String(decoding: Array(utf8.prefix { $0 != 35 }), as: UTF8.self) }
}

/// The candidate that is nearest to `word`, if it is near enough that a typing error explains the difference.
package func nearestWord(to word: String, among candidates: [String]) -> String? {
    let limit = word.utf8.count < 5 ? 1 : 1 + word.utf8.count / 4
    var best: (word: String, distance: Int)?
    for candidate in candidates {
        let distance = editDistance(Array(word.utf8), Array(candidate.utf8))
        if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    if let best { return best.word }
    // Cut short, or with something added: only if it can be but one.
    let longer = word.utf8.count < 4 ? [] : candidates.filter { $0.hasPrefix(word) || word.hasPrefix($0) }
    return longer.count == 1 ? longer.first : nil
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for i in left.indices {
        var row = [i + 1]
        for j in right.indices {
            var best = Swift.min(last[j + 1] + 1, row[j] + 1, last[j] + (left[i] == right[j] ? 0 : 1))
            if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] { best = Swift.min(best, beforeLast[j - 1] + 1) }
            row.append(best)
        }
        beforeLast = last
        last = row
    }
    return last[right.count]
}
