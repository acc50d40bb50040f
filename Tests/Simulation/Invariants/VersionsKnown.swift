// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member stops for a version of the state machine only if that is newer than what its release knows.

import Consensus
import DispatcherState

package struct VersionsKnown: Sendable {
    package init() {}

    /// - Parameter said: what it says that it knows; `known`: what its release knows.
    package func stops(_ member: MemberID, needing needed: MachineVersion, said: MachineVersion, known: MachineVersion) throws(Broken) {
        guard known == said, needed > known else {
            throw Broken("VersionsKnown", [member], "it stops for version \(needed) and knows \(known)")
        }
    }
}
