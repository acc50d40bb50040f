// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Every caller gets exactly one answer, and gets it by its deadline, unless it went away or the process died.

import Consensus
import CoordinatorCore

package struct OneAnswerPerCaller: Sendable {
    private struct Waiting {
        let life: Life
        let ticket: Ticket
        let deadline: Instant
    }
    private var waiting: [Waiting] = []
    package init() {}

    package mutating func asks(_ life: Life, _ ticket: Ticket, deadline: Instant) {
        waiting.append(Waiting(life: life, ticket: ticket, deadline: deadline))
    }

    package mutating func goes(_ life: Life, _ ticket: Ticket) { waiting.removeAll { $0.life == life && $0.ticket == ticket } }
    package mutating func dies(_ life: Life) { waiting.removeAll { $0.life == life } }

    /// `isGone`: the caller went away, and the answer may have crossed with that.
    package mutating func answers(_ life: Life, _ ticket: Ticket, isGone: Bool) throws(Broken) {
        guard let place = waiting.firstIndex(where: { $0.life == life && $0.ticket == ticket }) else {
            if isGone { return }
            throw Broken("OneAnswerPerCaller", [life.member], "a caller was answered twice")
        }
        waiting.remove(at: place)
    }

    /// After a tick at `now`, by the clock of the member, which answers these.
    package func ticked(_ life: Life, at now: Instant, grace: TimeSpan, answering: [Ticket]) throws(Broken) {
        for caller in waiting where caller.life == life && caller.deadline + grace < now && !answering.contains(caller.ticket) {
            throw Broken(
                "OneAnswerPerCaller", [life.member],
                "a caller was not answered by \(now.since(caller.deadline).milliseconds) ms after its deadline")
        }
    }
}
