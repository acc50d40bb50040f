// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who was removed leads no term that began after it knew of that, and nobody leaves who was not removed.

import Consensus

package struct RemovedStaysOut: Sendable {
    private var removed: [MemberID: LogIndex] = [:]
    package init() {}

    package mutating func removes(_ member: MemberID, at index: LogIndex) { removed[member] = index }

    /// It was elected, and knows that so much is committed.
    package func leads(_ member: MemberID, knowingCommitted commit: LogIndex) throws(Broken) {
        guard let index = removed[member], commit >= index else { return }
        throw Broken("RemovedStaysOut", [member], "it is elected, and knows that it was removed (entry \(index))")
    }

    /// It stops, since it takes itself for removed.
    package func leaves(_ member: MemberID) throws(Broken) {
        guard removed[member] == nil else { return }
        throw Broken("RemovedStaysOut", [member], "it leaves, and was not removed")
    }
}
