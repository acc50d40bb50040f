// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a caller was told is in the state of every later leader and, in the end, of every member.

import Consensus
import DispatcherState
import Wire

package struct Acknowledged: Hashable, Sendable {
    package let principal: Principal
    package let request: RequestID
    package let command: Command
    package let outcome: Outcome
    package init(principal: Principal, request: RequestID, command: Command, outcome: Outcome) {
        self.principal = principal
        self.request = request
        self.command = command
        self.outcome = outcome
    }
}

package struct Durability: Sendable {
    package private(set) var acknowledged: [Acknowledged] = []
    package init() {}

    package mutating func acknowledge(_ answer: Acknowledged) { acknowledged.append(answer) }

    /// `outcome(of:)` is what the state of `member` says about the request.
    package func mustHold(_ member: MemberID, outcome: (Acknowledged) -> Outcome?) throws(Broken) {
        for answer in acknowledged {
            let found = outcome(answer)
            guard found == answer.outcome else {
                throw Broken(
                    "Durability", [member],
                    "a caller was told \(answer.outcome) under \(answer.request); its state says \(found.map { "\($0)" } ?? "nothing") about it"
                )
            }
        }
    }
}
