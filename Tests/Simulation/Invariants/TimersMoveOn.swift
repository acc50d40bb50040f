// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// No member asks for a tick at an instant that has passed already: a shell that runs its timers first would never again hear what others say.

import Consensus

package struct TimersMoveOn: Sendable {
    package init() {}

    /// A step at `now`, by the member's clock, is over.
    package func stepped(_ member: MemberID, at now: Instant, nextDeadline: Instant) throws(Broken) {
        guard nextDeadline <= now else { return }
        throw Broken("TimersMoveOn", [member], "it asks for a tick in the past")
    }
}
