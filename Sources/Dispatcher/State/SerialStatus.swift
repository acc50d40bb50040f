// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What an agent knows of the dispatcher's certificates, in ctrl-exec's words (protocol page, 16.7).

import Consensus
import CtrlExec

package enum SerialStatus: String, Hashable, Sendable, CaseIterable {
    /// It has confirmed the newest identity.
    case current
    /// It is to be told, or waits for its turn.
    case pending
    /// It trusts no identity that could still be presented: pair it again.
    case stale
    /// What it trusts is not known.
    case unknown
}

extension DispatcherState {
    package func serialStatus(of agent: AgentRecord, now: WallClock) -> SerialStatus {
        guard !agent.confirmedIdentities.isEmpty else { return .unknown }
        if let newest = newestIdentity, agent.confirmedIdentities.contains(newest.serial) { return .current }
        return agent.confirmedIdentities.contains { (identity($0)?.notAfter ?? now) > now } ? .pending : .stale
    }
}
