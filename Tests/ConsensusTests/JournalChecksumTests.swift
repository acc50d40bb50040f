// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The journal's checksum against its definition, and what it is there to find.

import Consensus
import Testing

@Suite("The journal's checksum")
struct JournalChecksumTests {
    @Test("is CRC-64/XZ")
    func knownValue() {
        // The catalogue's check value is that of nine bytes; ours takes whole words, so this is the value of "12345678".
        #expect(Self.bytewise(Array("123456789".utf8)) == 0x995d_c9bb_df19_39fa)
        var checksum = Checksum()
        checksum.mix(bytes: Array("12345678".utf8))
        #expect(checksum.value == Self.bytewise(Array("12345678".utf8)))
    }

    @Test("is the same in pieces as in one")
    func pieces() {
        var generator = SeededGenerator(seed: 3)
        let bytes = (0..<64).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        var whole = Checksum()
        whole.mix(bytes: bytes)
        var pieces = Checksum()
        for place in stride(from: 0, to: 64, by: 8) { pieces.mix(bytes.word(at: place)) }
        #expect(whole.value == pieces.value)
        var continued = Checksum()
        continued.mix(bytes: Array(bytes[..<24]))
        continued = Checksum(continuing: continued.value)
        continued.mix(bytes: Array(bytes[24...]))
        #expect(whole.value == continued.value)
        #expect(whole.value == Self.bytewise(bytes))
    }

    @Test("pads with zeros, which is why lengths are mixed in")
    func padding() {
        var five = Checksum()
        five.mix(bytes: [1, 2, 3, 4, 5])
        var six = Checksum()
        six.mix(bytes: [1, 2, 3, 4, 5, 0])
        #expect(five.value == six.value)
    }

    @Test("changes with every flipped bit and every burst of up to 64 bits")
    func bursts() {
        var generator = SeededGenerator(seed: 4)
        let bytes = (0..<40).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
        var intact = Checksum()
        intact.mix(bytes: bytes)
        for bit in 0..<320 {
            for length in 1...min(64, 320 - bit) {
                var damaged = bytes
                for place in bit..<bit + length where place == bit || place == bit + length - 1 || generator.below(2) == 0 {
                    damaged[place / 8] ^= 1 << UInt8(place % 8)
                }
                var checksum = Checksum()
                checksum.mix(bytes: damaged)
                #expect(checksum.value != intact.value)
            }
        }
    }

    /// The definition, a bit at a time.
    private static func bytewise(_ bytes: [UInt8]) -> UInt64 {
        var register = UInt64.max
        for byte in bytes {
            register ^= UInt64(byte)
            for _ in 0..<8 { register = register & 1 == 1 ? register >> 1 ^ 0xc96c_5795_d787_0f42 : register >> 1 }
        }
        return ~register
    }
}
