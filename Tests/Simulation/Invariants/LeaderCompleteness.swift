// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What was committed in a term is in the log of every leader of a later term (Raft paper, figure 3).

import Consensus

package struct LeaderCompleteness: Sendable {
    private struct Committed {
        let term: Term
        let mark: LogMark
    }
    /// From index 1 on. Terms of commitment never fall along the log.
    private var committed: [Committed] = []
    package init() {}

    /// The next index was committed; `term` is that of the leader who committed it.
    package mutating func committed(_ mark: LogMark, in term: Term) {
        committed.append(Committed(term: max(term, committed.last?.term ?? .zero), mark: mark))
    }

    /// `mark(at:)` gives what the new leader has at an index.
    package func leads(_ member: MemberID, in term: Term, mark: (LogIndex) -> LogMark?) throws(Broken) {
        guard let position = committed.lastIndex(where: { $0.term < term }) else { return }
        let index = LogIndex(UInt64(position) + 1)
        guard mark(index) == committed[position].mark else {
            throw Broken(
                "LeaderCompleteness", [member],
                "it leads term \(term) without the log up to index \(index), which was committed in term \(committed[position].term)")
        }
    }
}
