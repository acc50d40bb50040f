// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The leader's calls to agents, each a task of its own beside the peer loop. How an agent is told what is AgentLink's business.

import AgentLink
import CoordinatorCore
import CtrlExec
import DispatcherState
import PKI

package struct AgentCalls: AgentCalling {
    private let caller: AgentCaller
    private let dispatcher: DispatcherID

    package init(caller: AgentCaller, dispatcher: DispatcherID) {
        self.caller = caller
        self.dispatcher = dispatcher
    }

    package func call(_ call: AgentCall, done: @escaping @Sendable (AgentTaskAnswer) -> Void) {
        Task {
            guard let number = try? SystemRandom.number() else {
                // Without randomness nothing may be named.
                return done(AgentTaskAnswer(.unreachable("the system's random generator failed")))
            }
            done(
                await caller.carryOut(
                    call.task, dialect: call.dialect, dispatcher: dispatcher, on: AgentTarget(call.agent, identities: call.identities),
                    reqid: Reqid(number).description))
        }
    }
}
