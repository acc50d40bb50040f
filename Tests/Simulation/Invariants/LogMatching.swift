// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// If two logs hold an entry of the same index and term, they are the same up to there (Raft paper, figure 3).

import Consensus

package struct LogMatching: Sendable {
    private struct Place: Hashable {
        let index: LogIndex
        let term: Term
    }
    private var chains: [Place: (chain: UInt64, by: MemberID)] = [:]
    package init() {}

    /// Whether anybody ever had exactly this log up to `index`.
    package func isKnown(_ mark: LogMark, at index: LogIndex) -> Bool {
        chains[Place(index: index, term: mark.term)]?.chain == mark.chain
    }

    /// `mark` is what `member` now has at `index`.
    package mutating func wrote(_ member: MemberID, at index: LogIndex, _ mark: LogMark) throws(Broken) {
        let place = Place(index: index, term: mark.term)
        guard let known = chains[place] else {
            chains[place] = (mark.chain, member)
            return
        }
        guard known.chain == mark.chain else {
            throw Broken(
                "LogMatching", [known.by, member],
                "their logs differ at or before index \(index), where both have an entry of term \(mark.term)")
        }
    }
}
