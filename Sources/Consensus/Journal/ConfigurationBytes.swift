// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How a configuration stands in the journal: the voters, then the learners, each a count and the names.

extension Configuration {
    func put(into writer: inout LittleEndianWriter) {
        for members in [voters, learners] {
            writer.put(UInt32(members.count))
            for member in members { writer.put(member.name) }
        }
    }

    /// Nil where the bytes are none.
    init?(takenFrom reader: inout LittleEndianReader) {
        func takeMembers() -> [MemberID]? {
            guard let count = reader.takeUInt32(), count <= 16 else { return nil }
            var members: [MemberID] = []
            for _ in 0..<count {
                guard let name = reader.takeString(), let member = MemberID(String(decoding: name, as: UTF8.self)) else { return nil }
                members.append(member)
            }
            return members
        }
        guard let voters = takeMembers(), let learners = takeMembers() else { return nil }
        self.init(voters: voters, learners: learners)
    }
}
