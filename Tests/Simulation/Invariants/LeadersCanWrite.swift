// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A leader whose journal has made no progress with what waits for it does not go on leading: it would be heard by everybody and could commit
// nothing but what the others hold without it, for as long as its disk hangs.

import Consensus

package struct LeadersCanWrite: Sendable {
    private struct Waiting {
        let life: Life
        /// Oldest first.
        var writes: [(id: WriteID, made: Instant)] = []
        /// When something became durable last.
        var progress = Instant.zero
    }
    private let limit: TimeSpan
    private var waiting = PerMember<Waiting>()
    package init(timing: Timing) { limit = timing.journalStall + timing.heartbeat }

    /// It gave its journal something to write.
    package mutating func writes(_ life: Life, _ id: WriteID, at now: Instant) {
        if waiting[life.member]?.life != life { waiting[life.member] = Waiting(life: life) }
        waiting[life.member]?.writes.append((id, now))
    }

    /// It heard that this and all before it is on its disk.
    package mutating func wrote(_ life: Life, through id: WriteID, at now: Instant) {
        guard waiting[life.member]?.life == life else { return }
        waiting[life.member]?.writes.removeAll { $0.id <= id }
        waiting[life.member]?.progress = now
    }

    /// It leads after a tick at `now`, by its own clock.
    package func leads(_ life: Life, at now: Instant) throws(Broken) {
        guard let waiting = waiting[life.member], waiting.life == life, let oldest = waiting.writes.first else { return }
        let since = max(oldest.made, waiting.progress)
        guard now.since(since) > limit else { return }
        throw Broken(
            "LeadersCanWrite", [life.member], "\(life) leads, and its journal has stood still for \(now.since(since).milliseconds) ms")
    }
}
