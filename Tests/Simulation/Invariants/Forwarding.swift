// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is forwarded is what somebody asked for at the member that carries it, with the rights of who asked and never with the carrier's or the
// leader's; it takes one hop, within the time that the caller gave, and not more often than it can be tried again in that time.

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct Forwarding: Sendable {
    private struct Asked: Hashable {
        let life: Life
        let principal: Principal
        let operation: ExclusiveOperation
        /// Few are asked of one life by one person; what they asked for is compared, which costs less than hashing all of it.
        func hash(into hasher: inout Hasher) {
            hasher.combine(life)
            hasher.combine(principal)
        }
    }
    private struct Budget: Sendable {
        var times: UInt64 = 0
        var longest = TimeSpan.zero
    }
    /// What a leader turned away is tried again after so long at the earliest, unless another shows up before.
    private let leastInterval: TimeSpan
    private var asked: [Asked: Budget] = [:]
    package init(leastInterval: TimeSpan) { self.leastInterval = leastInterval }

    /// Somebody waits for this for `span` at most.
    package mutating func asks(_ life: Life, _ operation: ExclusiveOperation, as principal: Principal, within span: TimeSpan) {
        let key = Asked(life: life, principal: principal, operation: Forwarding.kept(operation))
        var budget = asked[key] ?? Budget()
        budget.times += span.milliseconds / max(1, leastInterval.milliseconds) + 10
        budget.longest = max(budget.longest, span)
        asked[key] = budget
    }

    /// `hears`: in a step in which it heard this forwarded request, if it did.
    package mutating func sends(_ life: Life, _ request: ForwardedRequest, hears: ForwardedRequest?) throws(Broken) {
        func broken(_ what: String) -> Broken { Broken("Forwarding", [life.member], "\(life) \(what)") }
        guard request.principal != .leader else { throw broken("forwards work of a leader: \(request.request)") }
        if let hears, hears.request == request.request, hears.principal == request.principal {
            throw broken("forwards \(request.request), which was forwarded to it")
        }
        let key = Asked(life: life, principal: request.principal, operation: Forwarding.kept(request.operation))
        guard let budget = asked[key] else {
            throw broken("forwards \(request.request) as \(request.principal), and nobody asked it for that as \(request.principal)")
        }
        guard request.remainingMilliseconds <= min(budget.longest.milliseconds, 60_000) else {
            throw broken("forwards \(request.request) with \(request.remainingMilliseconds) ms, more than its caller gave")
        }
        guard budget.times > 0 else { throw broken("forwards \(request.request) without end") }
        asked[key]?.times -= 1
    }

    /// What a leader finds to do by itself has no request id: nobody carries it, and nobody repeats it.
    package func committed(_ proposal: Proposal, at index: LogIndex) throws(Broken) {
        guard proposal.principal == .leader, let request = proposal.request else { return }
        throw Broken("Forwarding", [], "the entry at index \(index) is a leader's work that came under \(request), from somebody else")
    }

    package mutating func dies(_ life: Life) {
        asked = asked.filter { $0.key.life != life }
    }

    /// The reqid of a submission is drawn by whoever takes it, and may be drawn anew.
    private static func kept(_ operation: ExclusiveOperation) -> ExclusiveOperation {
        guard case .command(.submitPairing(var submission)) = operation else { return operation }
        submission.reqid = Reqid(0)
        return .command(.submitPairing(submission))
    }
}
