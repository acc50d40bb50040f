// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Less of a seed than it draws: for whoever looks for the smallest run that still fails. What is left is drawn as before; each limit can be
// given to `ced-sim` by hand, so that a small run can be repeated.

import Consensus

package struct Limits: Hashable, Sendable {
    package var without: [FaultPlan.Kind] = []
    package var faults: Int?
    package var clients: Int?
    /// Nothing is lost, doubled or slow on the way but by faults.
    package var isCalm = false
    package var safetyPhase: TimeSpan?
    package init() {}

    /// Never fewer than the last two, which are hosts, and one that asks.
    static let leastClients = 3

    func restrict(_ plan: inout FaultPlan) {
        plan.kinds.removeAll { without.contains($0) }
        if plan.kinds.isEmpty { plan.faultLimit = 0 }
        if let faults { plan.faultLimit = min(plan.faultLimit, faults) }
        if let clients { plan.clients = min(plan.clients, max(Limits.leastClients, clients)) }
        if isCalm {
            (plan.weather.lossPerMille, plan.weather.duplicationPerMille, plan.weather.delayedPerMille) = (0, 0, 0)
            plan.weather.capacity = nil
        }
        if let safetyPhase { plan.safetyPhase = safetyPhase }
    }

    /// As arguments of `ced-sim`.
    package var arguments: String {
        var words: [String] = []
        if let safetyPhase { words.append("--safety-phase \(safetyPhase.milliseconds)") }
        if !without.isEmpty { words.append("--without \(without.map { "\($0)" }.joined(separator: ","))") }
        if let faults { words.append("--faults \(faults)") }
        if let clients { words.append("--clients \(clients)") }
        if isCalm { words.append("--calm") }
        return words.joined(separator: " ")
    }

    /// The smallest that still `fails`, as far as taking away one thing after the other leads. `start` fails.
    /// - Parameters:
    ///   - plan: what the seed draws.
    ///   - faults: as many as it made.
    package static func smallest(
        from start: Limits, plan: FaultPlan, faults: Int, attempts: Int = 200, fails: (Limits) -> Bool
    ) -> Limits {
        var (best, left) = (start, attempts)
        func attempt(_ change: (inout Limits) -> Void) -> Bool {
            var limits = best
            change(&limits)
            guard left > 0, limits != best else { return false }
            left -= 1
            guard fails(limits) else { return false }
            best = limits
            return true
        }
        // A shorter run first: all that follows is quicker then.
        for milliseconds in [3_000, 6_000, 12_000, 24_000, 40_000] as [UInt64] where TimeSpan.milliseconds(milliseconds) < plan.safetyPhase
        {
            if attempt({ $0.safetyPhase = .milliseconds(milliseconds) }) { break }
        }
        _ = attempt { $0.isCalm = true }
        var kinds: [FaultPlan.Kind] = []
        for kind in plan.kinds where !kinds.contains(kind) && !start.without.contains(kind) { kinds.append(kind) }
        _ = attempt { $0.without = kinds }
        if best.without != kinds {
            for kind in kinds { _ = attempt { $0.without.append(kind) } }
        }
        var count = 0
        while count < faults {
            if attempt({ $0.faults = count }) { break }
            count = count == 0 ? 1 : count < 4 ? count + 1 : count + count / 2
        }
        for clients in leastClients..<max(leastClients, plan.clients) where attempt({ $0.clients = clients }) { break }
        return best
    }
}
