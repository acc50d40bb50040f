// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The network between members: every message travels alone, is lost, doubled, delayed or overtaken by another, and links fail one way or
// both. What connections would forbid is allowed, so that nothing in a member may rest on it.

import Consensus

package struct SimulatedNetwork: Sendable {
    package struct Weather: Hashable, Sendable {
        package var latency: TimeSpan = .zero
        /// Added to the latency, drawn evenly.
        package var jitter: TimeSpan = .zero
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
    }

    package var weather: Weather
    private var links: [[Link]]
    private var generator: SeededGenerator
    private var isHealed = false

    package init(members: Int, weather: Weather, generator: SeededGenerator) {
        self.weather = weather
        self.generator = generator
        links = Array(repeating: Array(repeating: Link(), count: members), count: members)
    }

    package mutating func cut(from: Int, to: Int) { links[from][to].cuts += 1 }
    package mutating func mend(from: Int, to: Int) { links[from][to].cuts -= 1 }
    package func isCut(from: Int, to: Int) -> Bool { !isHealed && links[from][to].cuts > 0 }
    /// Messages on this link take from `atLeast` to `atLeast + delay` longer, and some are lost.
    package mutating func degrade(from: Int, to: Int, lossPerMille: UInt64, delay: TimeSpan, atLeast: TimeSpan = .zero) {
        links[from][to].extraLossPerMille = lossPerMille
        links[from][to].leastExtraDelay = atLeast
        links[from][to].extraDelay = delay
    }

    /// No more faults, for ever.
    package mutating func heal() {
        isHealed = true
        weather.lossPerMille = 0
        weather.duplicationPerMille = 0
        weather.delayedPerMille = 0
    }

    /// When a message that leaves now arrives: never, once or twice.
    mutating func arrivals(from: Int, to: Int, at now: TrueTime, coverage: inout Coverage) -> [TrueTime] {
        // Always as many draws, so that one fault more or less does not change what follows it.
        let (loss, duplication, slowness) = (generator.below(1000), generator.below(1000), generator.below(1000))
        let delays = [delay(slowness, from, to), delay(generator.below(1000), from, to)]
        let link = links[from][to]
        if isCut(from: from, to: to) || loss < weather.lossPerMille + (isHealed ? 0 : link.extraLossPerMille) {
            coverage.note(.lostMessages)
            return []
        }
        if slowness < weather.delayedPerMille { coverage.note(.slowMessages) }
        var arrivals = [now + delays[0]]
        if duplication < weather.duplicationPerMille {
            arrivals.append(now + delays[1])
            coverage.note(.duplicatedMessages)
        }
        if arrivals[0] < link.newestArrival { coverage.note(.reorderedMessages) }
        links[from][to].newestArrival = max(link.newestArrival, arrivals[0])
        return arrivals
    }

    private mutating func delay(_ slowness: UInt64, _ from: Int, _ to: Int) -> TimeSpan {
        let jitter = generator.span(upTo: weather.jitter)
        let delay = generator.span(upTo: weather.delay)
        let extra = generator.span(upTo: isHealed ? .zero : links[from][to].extraDelay)
        let least = isHealed ? .zero : links[from][to].leastExtraDelay
        return weather.latency + jitter + least + extra + (slowness < weather.delayedPerMille ? delay : .zero)
    }
}
