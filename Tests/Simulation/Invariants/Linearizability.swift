// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What clients asked and were told can be put into one order in which everything happens at once, at some instant between question and answer:
// the search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993), with the memory of Lowe and partitioned by object, which
// loses nothing because linearizability is local. A call that was never answered may have taken effect at any time after it was made, or never.
// This looks at nothing but clients: no log, no index, no term.

import Consensus

/// What one object may do, one call after the other.
package protocol SequentialObject: Hashable {
    /// What was asked and what was told.
    associatedtype Action: Sendable
    /// What the object may be after this action; empty if it could not be told this.
    func after(_ action: Action) -> [Self]
}

package struct TimedCall<Action: Sendable>: Sendable {
    package var action: Action
    package let invoked: TrueTime
    /// Nil: nobody heard how it ended.
    package let returned: TrueTime?
    package init(_ action: Action, invoked: TrueTime, returned: TrueTime?) {
        self.action = action
        self.invoked = invoked
        self.returned = returned
    }
}

package enum Linearizability {
    package enum Verdict: Hashable, Sendable {
        case linearizable
        /// So many of the answered calls can be put in order at most; these cannot be the next.
        case refused(ordered: Int, stuck: [Int])
        /// The search was ended: it says nothing.
        case undecided
    }

    /// A search that looks at more than this is given up, and counted.
    package static let configurationLimit = 200_000

    private struct Configuration<Object: SequentialObject>: Hashable {
        var done: [UInt64]
        let object: Object
        func has(_ place: Int) -> Bool { done[place / 64] & (1 << UInt64(place % 64)) != 0 }
        func adding(_ place: Int, _ object: Object) -> Configuration {
            var done = done
            done[place / 64] |= 1 << UInt64(place % 64)
            return Configuration(done: done, object: object)
        }
    }

    package static func judge<Object: SequentialObject>(
        _ calls: [TimedCall<Object.Action>], from object: Object, limit: Int = configurationLimit
    ) -> Verdict {
        // By their ends, those without one last: a search that tries what ended first mostly goes straight on.
        let order = calls.indices.sorted { left, right in
            let (first, second) = (calls[left].returned ?? .never, calls[right].returned ?? .never)
            return first == second ? left < right : first < second
        }
        let answered = calls.count { $0.returned != nil }
        let begin = Configuration(done: Array(repeating: 0, count: calls.count / 64 + 1), object: object)
        var stack = [begin]
        var seen: Set<Configuration<Object>> = [begin]
        var best: (ordered: Int, stuck: [Int]) = (-1, [])
        while let configuration = stack.popLast() {
            // What begins after another has ended comes behind it.
            let firstEnd = order.first { !configuration.has($0) }.flatMap { calls[$0].returned }
            guard let firstEnd else { return .linearizable }
            var next: [Configuration<Object>] = []
            var stuck: [Int] = []
            for place in order where !configuration.has(place) && calls[place].invoked <= firstEnd {
                let possible = configuration.object.after(calls[place].action)
                if possible.isEmpty { stuck.append(place) }
                for object in possible {
                    let configuration = configuration.adding(place, object)
                    if seen.insert(configuration).inserted { next.append(configuration) }
                }
            }
            let ordered = answered - order.count { calls[$0].returned != nil && !configuration.has($0) }
            if ordered > best.ordered { best = (ordered, stuck) }
            guard seen.count <= limit else { return .undecided }
            stack.append(contentsOf: next.reversed())
        }
        return .refused(ordered: best.ordered, stuck: best.stuck)
    }
}
