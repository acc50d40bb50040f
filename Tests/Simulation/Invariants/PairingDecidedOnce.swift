// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A pairing is decided once: every member announces the same decision, at any time.

import Consensus
import CtrlExec
import DispatcherState

package struct PairingDecidedOnce: Sendable {
    private var decisions: [Reqid: PairingDecision] = [:]
    package init() {}

    package mutating func announces(_ member: MemberID, _ decision: PairingDecision) throws(Broken) {
        guard let known = decisions[decision.reqid] else {
            decisions[decision.reqid] = decision
            return
        }
        guard known == decision else {
            throw Broken("PairingDecidedOnce", [member], "the pairing \(decision.reqid) was decided otherwise before")
        }
    }
}
