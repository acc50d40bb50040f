// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Whoever has applied the log up to an index has the same state there, by hash: other members, and the same member in another life.

import Consensus

package struct StateMachineSafety: Sendable {
    private var hashes: [LogIndex: UInt64] = [:]
    private var wholeHashes: [LogIndex: UInt64] = [:]
    package init() {}

    package mutating func applied(_ who: MemberID?, through index: LogIndex, hash: UInt64) throws(Broken) {
        guard let known = hashes[index] else {
            hashes[index] = hash
            return
        }
        guard known == hash else {
            throw Broken("StateMachineSafety", who.map { [$0] } ?? [], "its state at index \(index) is not the one that others have there")
        }
    }

    /// The hash that a state carries along says by which entries it came about; this one is computed from all that is in it.
    package mutating func appliedWhole(_ who: MemberID?, through index: LogIndex, hash: UInt64) throws(Broken) {
        guard let known = wholeHashes[index] else {
            wholeHashes[index] = hash
            return
        }
        guard known == hash else {
            throw Broken(
                "StateMachineSafety", who.map { [$0] } ?? [], "what is in its state at index \(index) is not what others have there")
        }
    }

    /// No member applies what it has not on its own disk.
    package func isDurable(_ member: MemberID, applied: LogIndex, durable: LogIndex) throws(Broken) {
        guard applied > durable else { return }
        throw Broken("StateMachineSafety", [member], "it has applied index \(applied), and only \(durable) is on its disk")
    }
}
