// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// No agent is lost: at every instant every agent of the registry that was not revoked accepts every member that serves, if not the first
// identity that the member presents then one of the others. A member that is cut off serves too, and presents what it knew when it was cut off.
// And none is left behind with what is over: the last few identities that are finished are kept, so that it would be lost much later.

import Consensus
import CtrlExec
import DispatcherState

package struct AgentsAcceptMembers: Sendable {
    package init() {}

    package func presents(
        _ member: MemberID, _ identities: [SerialNumber], to agent: AgentName, whichTrusts trusted: [SerialNumber]
    ) throws(Broken) {
        guard !identities.contains(where: trusted.contains) else { return }
        throw Broken(
            "AgentsAcceptMembers", [member], "it could present \(identities) to \(agent), which trusts \(trusted): the agent is lost to it")
    }

    /// An identity is over; `inUse`: those that are not.
    package func retires(_ identity: SerialNumber, inUse: [SerialNumber], agent: AgentName, trusts trusted: [SerialNumber]) throws(Broken) {
        guard !inUse.contains(where: trusted.contains) else { return }
        throw Broken("AgentsAcceptMembers", [], "\(identity) is retired, and \(agent) trusts nothing newer: \(trusted)")
    }
}
