// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What happened, as one number and, if asked for, in words. Two runs of one seed must agree on the number, whatever process, machine or
// build they run in; the words are made only when somebody will read them.

import Consensus

package struct Trace {
    package private(set) var hash: UInt64 = 0x243f_6a88_85a3_08d3
    /// The newest lines; nil if nobody reads them.
    private var lines: [String]?
    private let limit: Int
    private var next = 0
    /// Called with each line as it is made.
    private let follow: ((String) -> Void)?

    init(recording: Bool, limit: Int = 160, follow: ((String) -> Void)? = nil) {
        lines = recording ? [] : nil
        self.limit = limit
        self.follow = follow
    }

    var isRecording: Bool { lines != nil }

    mutating func mix(_ word: UInt64) { hash = mixed(hash, word) }

    mutating func mix(_ bytes: [UInt8]) { hash = mixed(hash, digest(of: bytes)) }

    mutating func say(_ time: TrueTime, _ words: @autoclosure () -> String) {
        guard lines != nil else { return }
        let line = "\(time)  \(words())"
        follow?(line)
        if lines?.count ?? 0 < limit { lines?.append(line) } else { lines?[next % limit] = line }
        next += 1
    }

    /// Oldest first.
    package var lastLines: [String] {
        guard let lines else { return [] }
        guard next > limit else { return lines }
        return Array(lines[(next % limit)...] + lines[..<(next % limit)])
    }
}

/// One step of a 64-bit mixing function: every bit of both words reaches every bit of the result.
func mixed(_ left: UInt64, _ right: UInt64) -> UInt64 {
    var value = (left ^ right) &* 0x9e37_79b9_7f4a_7c15
    value = (value ^ (value >> 29)) &+ left.multipliedFullWidth(by: 0xbf58_476d_1ce4_e5b9).high
    value = (value ^ (value >> 32)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 29)
}

func digest(of bytes: [UInt8]) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(bytes.count)
    bytes.withUnsafeBytes { raw in
        var position = 0
        while position + 8 <= raw.count {
            let word = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            hash = (hash ^ word) &* 0x9e37_79b9_7f4a_7c15
            hash ^= hash >> 32
            position += 8
        }
        while position < raw.count {
            hash = (hash ^ UInt64(raw[position])) &* 0x0000_0100_0000_01b3
            position += 1
        }
    }
    return mixed(hash, 0x1319_8a2e_0370_7344)
}

func digest(of text: String) -> UInt64 { digest(of: Array(text.utf8)) }
