// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A request id settles with one outcome for ever, and its effect is in the state once, however often it was asked and proposed.

import Consensus
import DispatcherState
import Wire

package struct ExactlyOnce: Sendable {
    private struct Key: Hashable {
        let principal: Principal
        let request: RequestID
    }
    private var answers: [Key: Outcome] = [:]
    private var applied: [Key: (index: LogIndex, outcome: Outcome)] = [:]
    private var answered: [Key] = []
    package init() {}

    /// Somebody was told this. Refusals that depend on nothing but the request itself are no outcomes.
    package mutating func answered(_ member: MemberID, _ principal: Principal, _ request: RequestID, _ outcome: Outcome) throws(Broken) {
        if case .underway = outcome {
            throw Broken("ExactlyOnce", [member], "it answered \(request) before its obligation ended")
        }
        let key = Key(principal: principal, request: request)
        guard let known = answers[key] else {
            answers[key] = outcome
            return
        }
        guard known == outcome else {
            throw Broken("ExactlyOnce", [member], "\(request) was answered with \(known), and now with \(outcome)")
        }
    }

    /// The entry at `index` carries this request. `changed`: it changed more of the state than where the log stands and what time it is.
    /// `isSame`: the request is the one that this id was first used for. True if it is in the log for the first time.
    @discardableResult
    package mutating func applied(
        _ principal: Principal, _ request: RequestID, at index: LogIndex, outcome: Outcome, changed: Bool
    ) throws(Broken) -> Bool {
        let key = Key(principal: principal, request: request)
        guard let first = applied[key] else {
            applied[key] = (index, outcome)
            return true
        }
        guard !changed else {
            throw Broken("ExactlyOnce", [], "\(request) took effect at index \(first.index) and again at index \(index)")
        }
        return false
    }
}
