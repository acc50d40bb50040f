// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How often the members of a seed take snapshots, how much of their logs they keep, and how long it takes to write and to fetch one. Drawn by
// a generator of its own, so that the rest of a seed is what it would be without. Far smaller than in life: a log of some hundred entries
// must be cut many times.

import Consensus
import CoordinatorCore

package struct SnapshotPlan: Sendable {
    /// Nil: the members keep their whole logs.
    package var policy: SnapshotPolicy?
    /// From the state to the write of its bytes.
    package var encoding: TimeSpan
    /// What one question of a fetch brings, and how long it takes.
    package var partBytes: Int
    package var part: TimeSpan
    /// How often the power fails while a snapshot is written, and how often the process dies right after, before anybody knows.
    package var breaksPerMille: UInt64

    /// As it is where nothing fails any more.
    package mutating func hurry() {
        partBytes = max(partBytes, 1 << 12)
        part = min(part, .milliseconds(5))
    }

    package init(using generator: inout SeededGenerator) {
        func below(_ bound: UInt64) -> UInt64 { generator.below(bound) }
        let entries = below(8) == 0 ? 6 + below(20) : 30 + below(120)
        let kept = RetentionLimit(entries: below(2) == 0 ? 0 : Int(below(200)), bytes: 1 << (10 + Int(below(10))))
        let chosen = SnapshotPolicy(
            entries: entries, bytes: 1 << (13 + Int(below(6))), margin: below(3) == 0 ? 0 : below(entries), keptForOthers: kept)
        policy = below(12) == 0 ? nil : chosen
        encoding = .milliseconds(below(below(3) == 0 ? 400 : 20))
        // Now and then so slowly that whoever has it has taken a newer one before all of it is fetched.
        let isSlow = below(5) == 0
        partBytes = isSlow ? 1 << (9 + Int(below(3))) : 1 << (12 + Int(below(4)))
        part = isSlow ? .milliseconds(50 + below(350)) : TimeSpan(nanoseconds: (100 + below(below(3) == 0 ? 8_000 : 1_000)) * 1_000)
        breaksPerMille = below(2) == 0 ? 0 : 20 + below(180)
    }
}
