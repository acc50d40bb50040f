// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is committed is an entry of the committing leader's own term or stands below one, is on the disks of a quorum, is the same for
// everybody, and is never cut off again by anybody.

import Consensus

package struct CommittedStays: Sendable {
    private var marks: [LogMark] = []
    package init() {}

    package var last: LogIndex { LogIndex(UInt64(marks.count)) }
    private func mark(at index: LogIndex) -> LogMark? {
        if index == .zero { return .origin }
        return index <= last ? marks[Int(index.position) - 1] : nil
    }

    /// The first member to know that everything up to `index` is committed. `holders` are the voters with exactly this on disk.
    package mutating func advanced(
        by member: MemberID, term: Term, isLeader: Bool, adding new: [LogMark], holders: [MemberID], quorum: Int
    ) throws(Broken) {
        marks += new
        if isLeader, let mark = marks.last, mark.term != term {
            throw Broken(
                "CommittedStays", [member],
                "as leader of term \(term) it committed index \(last), an entry of term \(mark.term), by counting")
        }
        guard holders.count >= quorum else {
            throw Broken(
                "CommittedStays", [member],
                "index \(last) is committed and on the disks of \(holders.map(\.name)) alone, where \(quorum) are a quorum")
        }
    }

    /// `member` believes everything up to `index` committed, and has `mark` there.
    package func believes(_ member: MemberID, _ index: LogIndex, _ mark: LogMark?) throws(Broken) {
        guard index <= last, mark == self.mark(at: index) else {
            throw Broken("CommittedStays", [member], "it takes another log for committed up to index \(index) than others do")
        }
    }

    /// `member` is about to cut off its log from `index` on; `mark` is what it has there.
    package func truncates(_ member: MemberID, from index: LogIndex, _ mark: LogMark?) throws(Broken) {
        guard let committed = self.mark(at: index), committed == mark else { return }
        throw Broken("CommittedStays", [member], "it cuts off its log from index \(index), which is committed up to \(last)")
    }
}
