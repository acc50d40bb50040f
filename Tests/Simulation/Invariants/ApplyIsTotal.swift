// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Whatever an entry says, it is applied: the state moves on by one index, time does not go back, and an entry that was applied before changes
// nothing. (An apply that traps ends the simulator, which then says in which seeds.)

import Consensus
import DispatcherState

package struct ApplyIsTotal: Sendable {
    package init() {}

    package func applied(
        _ what: @autoclosure () -> String, before: (index: LogIndex, time: ClusterTime), after: (index: LogIndex, time: ClusterTime)
    ) throws(Broken) {
        guard after.index == before.index.next, after.time >= before.time else {
            throw Broken("ApplyIsTotal", [], "\(what()): the state went from index \(before.index) to \(after.index)")
        }
    }

    package func repeated(_ what: @autoclosure () -> String, before: UInt64, after: UInt64) throws(Broken) {
        guard before == after else { throw Broken("ApplyIsTotal", [], "\(what()): an entry that was applied before changed the state") }
    }
}
