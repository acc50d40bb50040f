// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Hashes that are the same in every process and on every platform: of requests, of applied entries and of the whole state.
// Not cryptographic. The standard library's hashing is seeded anew in each process and therefore useless here.

import Consensus
import CtrlExec

/// Two independent 64-bit lanes over a canonical encoding: every number as eight bytes, every text and byte string with its length before it.
struct CanonicalHasher {
    private var first: UInt64
    private var second: UInt64

    /// Hashes of different domains have nothing to do with each other.
    enum Domain: UInt64 { case request = 1, entry = 2, state = 3 }

    init(_ domain: Domain) {
        first = 0x243f_6a88_85a3_08d3 ^ domain.rawValue
        second = 0x1319_8a2e_0370_7344 &+ domain.rawValue
    }

    mutating func add(_ word: UInt64) {
        var mixed = (first ^ word) &+ 0x9e37_79b9_7f4a_7c15
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        first = mixed ^ (mixed >> 31)
        let turned = ((second << 29) | (second >> 35)) &+ word
        let scrambled = (turned ^ (turned >> 32)) &* 0xd6e8_feb8_6659_fd93
        second = scrambled ^ (scrambled >> 32)
    }

    mutating func add(_ number: Int) { add(UInt64(bitPattern: Int64(number))) }
    mutating func add(_ flag: Bool) { add(flag ? 1 : UInt64(0)) }

    mutating func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { add(raw: $0) } }
    mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { add(raw: UnsafeRawBufferPointer($0)) }
    }

    private mutating func add(raw: UnsafeRawBufferPointer) {
        add(raw.count)
        var offset = 0
        while offset + 8 <= raw.count {
            add(UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset += 8
        }
        guard offset < raw.count else { return }
        var tail: UInt64 = 0
        for byte in raw[offset...].reversed() { tail = tail << 8 | UInt64(byte) }
        add(tail)
    }

    mutating func add(_ value: some Canonical) { value.feed(&self) }
    mutating func add<Value: Canonical>(_ value: Value?) {
        add(value != nil)
        if let value { value.feed(&self) }
    }
    mutating func add<Value: Canonical>(_ values: [Value]) {
        add(values.count)
        for value in values { value.feed(&self) }
    }
    mutating func add<Key: Canonical, Value: Canonical>(_ map: SortedArrayMap<Key, Value>) {
        add(map.keys)
        add(map.values)
    }

    var digest: UInt64 { first ^ (second &* 0x9e37_79b9_7f4a_7c15) }
    var fingerprint: Fingerprint { Fingerprint(first: first, second: second) }
}

/// A request as 128 bits: two requests under one id are the same if these are.
package struct Fingerprint: Hashable, Sendable {
    package let first: UInt64
    package let second: UInt64

    /// Covers all of the command that two honest attempts at the same request have in common. The reqid of a pairing submission is not
    /// part of it: the member draws one for each attempt, and the first attempt's stands (`Outcome.pairingQueued` names it).
    init(of command: Command) {
        var hasher = CanonicalHasher(.request)
        if case .submitPairing(var submission) = command {
            submission.reqid = Reqid(0)
            hasher.add(Command.submitPairing(submission))
        } else {
            hasher.add(command)
        }
        self = hasher.fingerprint
    }

    package init(first: UInt64, second: UInt64) {
        self.first = first
        self.second = second
    }
}

/// What can be fed to a canonical hash. Distinct values feed distinct sequences.
protocol Canonical {
    func feed(_ hasher: inout CanonicalHasher)
}
