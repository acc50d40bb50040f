// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How often a dispatcher may dial one agent: old agents refuse the eleventh connection within 60 s from one address, for five minutes (9.4).
// The budget keeps below that, with room for connections that others make from the same address.

/// A pure value; the caller hands in milliseconds of a clock that does not jump.
package struct ConnectionBudget: Sendable {
    package let limit: Int
    package let windowMilliseconds: UInt64
    /// Sorted by agent and source, so that equal histories are equal values.
    private var lanes: [Lane] = []

    private struct Lane: Sendable {
        let agent: String
        let source: String
        /// Ascending, at most `limit`.
        var instants: [UInt64]
    }

    package init(limit: Int = Limits.connectionsPerAgent, windowMilliseconds: UInt64 = Limits.connectionsPerAgentWindowMilliseconds) {
        self.limit = max(1, limit)
        self.windowMilliseconds = windowMilliseconds
    }

    package enum Verdict: Hashable, Sendable {
        case granted
        /// Ask again then; nothing was taken.
        case wait(untilMilliseconds: UInt64)
    }

    /// Takes one connection to `agent` from our address `source`, or says when one will be free.
    package mutating func take(agent: String, source: String, nowMilliseconds now: UInt64) -> Verdict {
        let place = place(agent, source)
        guard place < lanes.count, lanes[place].agent == agent, lanes[place].source == source else {
            lanes.insert(Lane(agent: agent, source: source, instants: [now]), at: place)
            return .granted
        }
        lanes[place].instants.removeAll { $0 + windowMilliseconds <= now }
        if lanes[place].instants.count >= limit, let first = lanes[place].instants.first {
            return .wait(untilMilliseconds: first + windowMilliseconds)
        }
        lanes[place].instants.append(now)
        return .granted
    }

    /// A connection that was taken at this instant did not come about: the agent has not seen it.
    package mutating func giveBack(agent: String, source: String, takenMilliseconds taken: UInt64) {
        let place = place(agent, source)
        guard place < lanes.count, lanes[place].agent == agent, lanes[place].source == source else { return }
        if let last = lanes[place].instants.lastIndex(of: taken) { lanes[place].instants.remove(at: last) }
    }

    /// Drops what no longer counts; call it now and then, for the number of lanes is the number of agents ever dialled.
    package mutating func forgetOld(nowMilliseconds now: UInt64) {
        lanes.removeAll { lane in lane.instants.allSatisfy { $0 + windowMilliseconds <= now } }
    }

    private func place(_ agent: String, _ source: String) -> Int {
        var low = 0
        var high = lanes.count
        while low < high {
            let middle = (low + high) / 2
            if (lanes[middle].agent, lanes[middle].source) < (agent, source) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
