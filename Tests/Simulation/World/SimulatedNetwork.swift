// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The network between members: every message travels alone, is lost, doubled, delayed or overtaken by another, and links fail one way or
// both. What connections would forbid is allowed, so that nothing in a member may rest on it.

import Consensus

package struct SimulatedNetwork: Sendable {
    /// How the time that a message takes beyond the least is distributed.
    package enum Shape: CaseIterable, Hashable, Sendable {
        case even
        /// Two speeds: nearly all are quick, one in sixteen takes eight times as long.
        case twofold
        /// Each doubling is half as likely as the one before it, up to 64 times the usual.
        case longTailed
        /// In waves: for a while all are quick, then for a while all are slow.
        case waves
    }

    package struct Weather: Hashable, Sendable {
        package var latency: TimeSpan = .zero
        /// Added to the latency, drawn as `shape` says.
        package var jitter: TimeSpan = .zero
        package var shape = Shape.even
        /// So many messages may be on one link at a time; what comes on top is lost. Nil: as many as like.
        package var capacity: Int?
        package var lossPerMille: UInt64 = 0
        package var duplicationPerMille: UInt64 = 0
        /// So many messages take up to `delay` longer.
        package var delayedPerMille: UInt64 = 0
        package var delay: TimeSpan = .zero
        package init() {}
    }

    private struct Link: Sendable {
        /// More than one fault may hold it down.
        var cuts = 0
        var extraLossPerMille: UInt64 = 0
        var extraDelay = TimeSpan.zero
        var leastExtraDelay = TimeSpan.zero
        var newestArrival = TrueTime.zero
        /// Nothing arrives before; what was sent meanwhile arrives then.
        var cloggedUntil = TrueTime.zero
        /// Counts the connections: what was under way on an earlier one is lost.
        var connection: UInt64 = 0
        /// When those that are under way arrive; only where a link has a limit.
        var underway: [TrueTime] = []
    }

    package var weather: Weather
    private var links: [[Link]]
    private var generator: SeededGenerator
    /// Members between which nothing fails any more.
    private var isSound: [Bool]

    package init(members: Int, weather: Weather, generator: SeededGenerator) {
        self.weather = weather
        self.generator = generator
        isSound = Array(repeating: false, count: members)
        links = Array(repeating: Array(repeating: Link(), count: members), count: members)
    }

    package mutating func cut(from: Int, to: Int) { links[from][to].cuts += 1 }
    package mutating func mend(from: Int, to: Int) { links[from][to].cuts -= 1 }
    package func isCut(from: Int, to: Int) -> Bool { !isHealed(from, to) && links[from][to].cuts > 0 }
    private func isHealed(_ from: Int, _ to: Int) -> Bool { isSound[from] && isSound[to] }
    /// The link is stuck: nothing is lost, and nothing arrives before `end`.
    package mutating func clog(from: Int, to: Int, until end: TrueTime) {
        links[from][to].cloggedUntil = max(links[from][to].cloggedUntil, end)
    }
    /// The connection breaks and is made anew: what is under way is lost.
    package mutating func reset(from: Int, to: Int) { links[from][to].connection += 1 }
    package func connection(from: Int, to: Int) -> UInt64 { links[from][to].connection }
    /// Messages on this link take from `atLeast` to `atLeast + delay` longer, and some are lost.
    package mutating func degrade(from: Int, to: Int, lossPerMille: UInt64, delay: TimeSpan, atLeast: TimeSpan = .zero) {
        links[from][to].extraLossPerMille = lossPerMille
        links[from][to].leastExtraDelay = atLeast
        links[from][to].extraDelay = delay
    }

    /// No more faults between these, for ever; to and from the others everything stays as it is.
    package mutating func heal(between places: [Int]) {
        for place in places { isSound[place] = true }
    }

    /// When a message that leaves now arrives: never, once or twice.
    package mutating func arrivals(from: Int, to: Int, at now: TrueTime, coverage: inout Coverage) -> [TrueTime] {
        // Always as many draws, so that one fault more or less does not change what follows it.
        let (loss, duplication, slowness) = (generator.below(1000), generator.below(1000), generator.below(1000))
        let delays = [delay(slowness, from, to), delay(generator.below(1000), from, to)]
        let link = links[from][to]
        let isHealed = isHealed(from, to)
        if !isHealed, isCut(from: from, to: to) || loss < weather.lossPerMille + link.extraLossPerMille {
            coverage.note(.lostMessages)
            return []
        }
        if !isHealed, slowness < weather.delayedPerMille { coverage.note(.slowMessages) }
        var arrivals = [now + delays[0]]
        if !isHealed, link.cloggedUntil > now {
            coverage.note(.messagesStuck)
            // They come out in one go, nearly.
            arrivals = [max(arrivals[0], link.cloggedUntil + TimeSpan(nanoseconds: delays[1].nanoseconds % 1_000_000))]
        }
        if !isHealed, let capacity = weather.capacity {
            links[from][to].underway.removeAll { $0 <= now }
            guard links[from][to].underway.count < capacity else {
                coverage.note(.linksOverflowed)
                return []
            }
            links[from][to].underway.append(arrivals[0])
        }
        if !isHealed, duplication < weather.duplicationPerMille {
            arrivals.append(now + delays[1])
            coverage.note(.duplicatedMessages)
        }
        if arrivals[0] < link.newestArrival { coverage.note(.reorderedMessages) }
        links[from][to].newestArrival = max(link.newestArrival, arrivals[0])
        return arrivals
    }

    private mutating func delay(_ slowness: UInt64, _ from: Int, _ to: Int) -> TimeSpan {
        let jitter = shaped(generator.next())
        let delay = generator.span(upTo: weather.delay)
        let isHealed = isHealed(from, to)
        let extra = generator.span(upTo: isHealed ? .zero : links[from][to].extraDelay)
        let least = isHealed ? .zero : links[from][to].leastExtraDelay
        return weather.latency + jitter + least + extra + (!isHealed && slowness < weather.delayedPerMille ? delay : .zero)
    }

    private var waveCount: UInt64 = 0

    /// Whole numbers only: every build draws the same.
    private mutating func shaped(_ random: UInt64) -> TimeSpan {
        let share = random >> 40
        let even = TimeSpan(nanoseconds: (weather.jitter.nanoseconds * share) >> 24)
        switch weather.shape {
        case .even: return even
        case .twofold: return TimeSpan(nanoseconds: random & 15 == 0 ? even.nanoseconds * 8 : even.nanoseconds / 2)
        case .longTailed:
            return TimeSpan(nanoseconds: (even.nanoseconds / 2) << UInt64(min(7, (random & 0xffff | 1 << 16).trailingZeroBitCount)))
        case .waves:
            waveCount += 1
            return TimeSpan(nanoseconds: waveCount % 800 < 100 ? even.nanoseconds * 3 : even.nanoseconds / 2)
        }
    }
}
