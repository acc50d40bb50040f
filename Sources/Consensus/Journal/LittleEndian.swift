// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How numbers and strings stand in the journal's files: little-endian, fixed width, strings behind a 32-bit count.

/// Appends values to bytes.
package struct LittleEndianWriter: Sendable {
    package private(set) var bytes: [UInt8] = []
    package init() {}
    package mutating func put(_ number: UInt64) { withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) } }
    package mutating func put(_ number: UInt32) { withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) } }
    package mutating func put(_ string: [UInt8]) {
        put(UInt32(string.count))
        bytes.append(contentsOf: string)
    }
    package mutating func put(_ string: String) { put(Array(string.utf8)) }
    /// Zeros up to the next multiple of eight.
    package mutating func pad() { while bytes.count & 7 != 0 { bytes.append(0) } }
}

/// Takes values off bytes; nil where they end too early.
package struct LittleEndianReader: Sendable {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    package init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }
    package init(_ bytes: [UInt8]) { self.init(bytes[...]) }

    package var remaining: Int { bytes.endIndex - position }

    package mutating func takeUInt64() -> UInt64? {
        guard remaining >= 8 else { return nil }
        defer { position += 8 }
        return bytes.word(at: position)
    }
    package mutating func takeUInt32() -> UInt32? {
        guard remaining >= 4 else { return nil }
        defer { position += 4 }
        return bytes.withUnsafeBytes {
            UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: position - bytes.startIndex, as: UInt32.self))
        }
    }
    package mutating func takeString() -> ArraySlice<UInt8>? {
        guard let count = takeUInt32(), remaining >= Int(count) else { return nil }
        defer { position += Int(count) }
        return bytes[position..<position + Int(count)]
    }
    package mutating func takeRest() -> ArraySlice<UInt8> {
        defer { position = bytes.endIndex }
        return bytes[position...]
    }
}

extension ArraySlice<UInt8> {
    /// The little-endian word at an index, which must have eight bytes behind it.
    package func word(at index: Int) -> UInt64 {
        precondition(index >= startIndex && index + 8 <= endIndex, "a word beyond the bytes")
        return withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: index - startIndex, as: UInt64.self)) }
    }
}

extension [UInt8] {
    package func word(at index: Int) -> UInt64 {
        precondition(index >= 0 && index + 8 <= count, "a word beyond the bytes")
        return withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: index, as: UInt64.self)) }
    }
    package mutating func setWord(_ word: UInt64, at index: Int) {
        precondition(index >= 0 && index + 8 <= count, "a word beyond the bytes")
        withUnsafeMutableBytes { $0.storeBytes(of: word.littleEndian, toByteOffset: index, as: UInt64.self) }
    }
}
