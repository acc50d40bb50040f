// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The genesis file: written once under another name, synchronized, renamed; so it is there whole or not at all, and what does not read
// back is damage. Its checksum begins the chain of the segments: another member's segments do not fit it.

package enum GenesisFile {
    private static let magic: UInt64 = 0x7369_7365_6e65_6763  // "cgenesis"

    static func encode(_ genesis: Genesis) -> [UInt8] {
        var body = LittleEndianWriter()
        body.put(genesis.member.name)
        genesis.configuration.put(into: &body)
        body.put(genesis.payload)
        body.pad()
        var file = LittleEndianWriter()
        file.put(magic)
        file.put(UInt64(JournalFormat.current))
        file.put(UInt64(body.bytes.count))
        let head = file.bytes
        return head + body.bytes + checksum(head + body.bytes)
    }

    private static func checksum(_ bytes: [UInt8]) -> [UInt8] {
        var checksum = Checksum()
        checksum.mix(bytes: bytes)
        var writer = LittleEndianWriter()
        writer.put(checksum.value)
        return writer.bytes
    }

    /// The genesis and the file's checksum.
    package static func decode(_ bytes: [UInt8]) throws(JournalRefusal) -> (genesis: Genesis, checksum: UInt64) {
        func damaged(_ offset: Int, _ reason: String) -> JournalRefusal {
            .damaged(JournalFormat.genesis, offset: UInt64(offset), reason: reason)
        }
        var reader = LittleEndianReader(bytes)
        guard let magic = reader.takeUInt64(), let format = reader.takeUInt64(), let bodyBytes = reader.takeUInt64() else {
            throw damaged(0, "the file is cut short")
        }
        guard magic == GenesisFile.magic else { throw damaged(0, "it does not begin as a genesis file does") }
        guard format == UInt64(JournalFormat.current) else { throw .unknownFormat(UInt32(truncatingIfNeeded: format)) }
        guard bytes.count >= 32, bodyBytes == UInt64(bytes.count - 32) else {
            throw damaged(16, "the file has not the size that it states")
        }
        let end = bytes.count - 8
        guard Array(bytes[end...]) == checksum(Array(bytes[..<end])) else { throw damaged(0, "it does not read back as it was written") }

        guard let name = reader.takeString(), let member = MemberID(String(decoding: name, as: UTF8.self)) else {
            throw damaged(24, "it holds no valid member id where there should be one")
        }
        guard let configuration = Configuration(takenFrom: &reader) else {
            throw damaged(24, "its configuration is not one to five voters, each named once")
        }
        guard let payload = reader.takeString() else { throw damaged(24, "it ends within its payload") }
        return (Genesis(member: member, configuration: configuration, payload: Array(payload)), bytes.word(at: end))
    }
}
