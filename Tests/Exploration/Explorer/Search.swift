// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Breadth first: every state that is one step away before any that is two. So the first thing found is found by the shortest way. A state that
// was met before, by its fingerprint of 64 bits, is not gone on from; among ten million states the chance that any two share one by accident
// is one in three hundred thousand.

package struct Search {
    package struct Found: Sendable {
        package let broken: Broken
        /// From the root to what does not hold, in words.
        package let path: [String]
    }

    package struct Outcome: Sendable {
        package var states = 0
        package var steps = 0
        package var depth = 0
        /// Every state within the bounds was gone on from.
        package var isExhausted = false
        package var found: Found?
    }

    private let root: Cluster
    private var seen: FingerprintTable
    /// By state, in the order in which they were met: from which one, and by which step.
    private var parents: [Int32] = [-1]
    private var steps: [Step?] = [nil]

    package init(from root: Cluster) {
        self.root = root
        seen = FingerprintTable()
        _ = seen.insert(root.fingerprint)
    }

    /// Until everything within the bounds is seen, something does not hold, so many states were met, or `isTimeOver`.
    package mutating func run(states limit: Int, isTimeOver: () -> Bool = { false }) -> Outcome {
        var outcome = Outcome()
        outcome.states = 1
        var current: [(cluster: Cluster, number: Int)] = [(root, 0)]
        while !current.isEmpty {
            var next: [(cluster: Cluster, number: Int)] = []
            for (cluster, number) in current {
                if number % 256 == 0, isTimeOver() { return outcome }
                for step in cluster.steps() {
                    outcome.steps += 1
                    var successor = cluster
                    do throws(Broken) { try successor.take(step) } catch {
                        outcome.found = Found(broken: error, path: path(to: number, then: step))
                        return outcome
                    }
                    guard seen.insert(successor.fingerprint) else { continue }
                    outcome.states += 1
                    parents.append(Int32(number))
                    steps.append(step)
                    if outcome.states >= limit { return outcome }
                    if successor.isWithinBounds { next.append((successor, parents.count - 1)) }
                }
            }
            outcome.depth += 1
            current = next
        }
        outcome.isExhausted = true
        return outcome
    }

    private func path(to number: Int, then last: Step) -> [String] {
        var taken = [last]
        var place = number
        while let step = steps[place] {
            taken.append(step)
            place = Int(parents[place])
        }
        var cluster = root
        var lines = ["    \(cluster.summary)"]
        for step in taken.reversed() {
            lines.append(cluster.words(for: step))
            do throws(Broken) { try cluster.take(step) } catch { lines.append("*** \(error)") }
            lines.append("    \(cluster.summary)")
        }
        return lines
    }
}

/// A set of fingerprints: they are spread well already, so that a place is found without hashing again.
struct FingerprintTable {
    private var places = [UInt64](repeating: 0, count: 1 << 16)
    private var count = 0

    /// False if it was there.
    mutating func insert(_ fingerprint: UInt64) -> Bool {
        if count * 2 >= places.count { grow() }
        // Zero means "free".
        let wanted = fingerprint == 0 ? 1 : fingerprint
        var place = Int(truncatingIfNeeded: wanted) & (places.count - 1)
        while places[place] != 0 {
            if places[place] == wanted { return false }
            place = (place + 1) & (places.count - 1)
        }
        places[place] = wanted
        count += 1
        return true
    }

    private mutating func grow() {
        let old = places
        places = [UInt64](repeating: 0, count: old.count * 2)
        for wanted in old where wanted != 0 {
            var place = Int(truncatingIfNeeded: wanted) & (places.count - 1)
            while places[place] != 0 { place = (place + 1) & (places.count - 1) }
            places[place] = wanted
        }
    }
}
