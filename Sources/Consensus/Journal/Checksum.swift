// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The one checksum of the journal: CRC-64 with the polynomial of ECMA-182, reflected (known as CRC-64/XZ). It finds every flipped bit and
// every burst of up to 64 bits for certain, anything else but for one case in 2^64. It guards against disks, not against people.
// Everything in the journal is a multiple of eight bytes, so it takes whole words; `bytes` pads the last one with zeros. That is why a
// length must always be mixed in beside the bytes that it counts: the padding alone does not tell five bytes from six.

/// A running checksum, begun from an earlier one so that checksums form a chain.
package struct Checksum: Sendable {
    private var register: UInt64

    /// Goes on from `previous`, zero for the first of a chain.
    package init(continuing previous: UInt64 = 0) { register = ~previous }

    package var value: UInt64 { ~register }

    /// Mixes in a word as its eight bytes, least significant first.
    package mutating func mix(_ word: UInt64) {
        register = Checksum.tables.withUnsafeBufferPointer { Checksum.step(register, word, $0) }
    }

    /// Mixes in the bytes; the last word is padded with zeros.
    package mutating func mix(bytes: UnsafeRawBufferPointer) {
        register = Checksum.tables.withUnsafeBufferPointer { tables in
            var register = register
            let whole = bytes.count & ~7
            var offset = 0
            while offset < whole {
                register = Checksum.step(
                    register, UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)), tables)
                offset += 8
            }
            guard offset < bytes.count else { return register }
            var last: UInt64 = 0
            for place in offset..<bytes.count { last |= UInt64(bytes[place]) << UInt64(8 * (place - offset)) }
            return Checksum.step(register, last, tables)
        }
    }

    package mutating func mix(bytes: [UInt8]) { bytes.withUnsafeBytes { mix(bytes: $0) } }

    /// Eight bytes at once: the table `n` holds what a byte does that `n` more bytes follow.
    @inline(__always)
    private static func step(_ register: UInt64, _ word: UInt64, _ tables: UnsafeBufferPointer<UInt64>) -> UInt64 {
        let mixed = register ^ word
        var next = tables[7 << 8 | Int(mixed & 0xff)]
        next ^= tables[6 << 8 | Int(mixed >> 8 & 0xff)]
        next ^= tables[5 << 8 | Int(mixed >> 16 & 0xff)]
        next ^= tables[4 << 8 | Int(mixed >> 24 & 0xff)]
        next ^= tables[3 << 8 | Int(mixed >> 32 & 0xff)]
        next ^= tables[2 << 8 | Int(mixed >> 40 & 0xff)]
        next ^= tables[1 << 8 | Int(mixed >> 48 & 0xff)]
        next ^= tables[Int(mixed >> 56)]
        return next
    }

    private static let tables: [UInt64] = {
        let polynomial: UInt64 = 0xc96c_5795_d787_0f42
        var tables = [UInt64](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var register = UInt64(byte)
            for _ in 0..<8 { register = register & 1 == 1 ? register >> 1 ^ polynomial : register >> 1 }
            tables[byte] = register
        }
        for following in 1..<8 {
            for byte in 0..<256 {
                let before = tables[(following - 1) << 8 | byte]
                tables[following << 8 | byte] = before >> 8 ^ tables[Int(before & 0xff)]
            }
        }
        return tables
    }()
}
