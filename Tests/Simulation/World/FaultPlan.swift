// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What may go wrong in one seed, and how badly: drawn before anything happens. In the way of swarm testing each kind of fault is there or
// is not there at all, so that none hides behind another; some seeds are all storm and some are nearly calm.

import Consensus

package struct FaultPlan: Sendable {
    package enum Kind: CaseIterable, Sendable {
        case killProcess, killWithinFlush, cutPower, cutPowerOfAll, failPowerWithinWrite
        case isolate, cutOneWay, cutLink, split, degradeLink
        case pause, slowDisk, stallDisk, failDisk, fillDisk, changeRate, setWallClock
        case leaderMeetsTrouble, leaderHearsLate, drain
    }
    package enum Clocks: Sendable { case exact, drawn, extreme }

    package var members: Int
    package var clients: Int
    package var safetyPhase: TimeSpan
    /// Between two requests of one client.
    package var think: TimeSpan
    package var weather = SimulatedNetwork.Weather()
    /// Those that exist in this seed.
    package var kinds: [Kind] = []
    /// Between two faults.
    package var faultGap: TimeSpan
    package var clocks: Clocks
    /// How often, in a million, a crash comes right between two things that the shell does.
    package var crashPerMillion: UInt64 = 0
    package var pauseBeforeStepPerMillion: UInt64 = 0
    package var pauseBeforeEffectPerMillion: UInt64 = 0
    package var pause: TimeSpan = .zero
    package var flush: TimeSpan
    package var flushJitter: TimeSpan
    package var segmentBytes: Int
    package var signing: TimeSpan
    package var slowSigningPerMille: UInt64
    /// Whether effects that waited for a write leave before the member hears of it, or after.
    package var gatesOpenFirst: Bool

    package init(using generator: inout SeededGenerator) {
        func chance(_ perMille: UInt64, _ generator: inout SeededGenerator) -> Bool { generator.below(1000) < perMille }
        func microseconds(_ least: UInt64, _ most: UInt64, _ generator: inout SeededGenerator) -> TimeSpan {
            TimeSpan(nanoseconds: (least + generator.below(most - least + 1)) * 1_000)
        }
        switch generator.below(100) {
        case 0..<6: members = 1
        case 6..<24: members = 5
        default: members = 3
        }
        clients = 4 + Int(generator.below(7))
        safetyPhase = .milliseconds(20_000 + generator.below(25_000))
        think = chance(300, &generator) ? .milliseconds(60 + generator.below(240)) : .milliseconds(200 + generator.below(600))
        weather.latency = microseconds(50, chance(300, &generator) ? 8_000 : 800, &generator)
        weather.jitter = microseconds(20, chance(300, &generator) ? 20_000 : 1_000, &generator)
        if chance(500, &generator) { weather.lossPerMille = generator.below(chance(200, &generator) ? 200 : 40) }
        if chance(500, &generator) { weather.duplicationPerMille = generator.below(100) }
        if chance(600, &generator) {
            weather.delayedPerMille = 1 + generator.below(60)
            weather.delay = .milliseconds(20 + generator.below(chance(500, &generator) ? 200 : 1_500))
        }
        faultGap = .milliseconds(500 + generator.below(3_000))
        clocks = chance(250, &generator) ? .exact : chance(400, &generator) ? .extreme : .drawn
        if chance(400, &generator) { crashPerMillion = 20 + generator.below(400) }
        if chance(500, &generator) { pauseBeforeStepPerMillion = 20 + generator.below(600) }
        if chance(500, &generator) { pauseBeforeEffectPerMillion = 20 + generator.below(600) }
        pause = .milliseconds(1 + generator.below(chance(500, &generator) ? 30 : 900))
        flush = microseconds(40, chance(200, &generator) ? 8_000 : 400, &generator)
        flushJitter = microseconds(10, chance(200, &generator) ? 10_000 : 500, &generator)
        segmentBytes = 1 << (14 + Int(generator.below(4)))
        signing = microseconds(100, chance(300, &generator) ? 60_000 : 4_000, &generator)
        slowSigningPerMille = chance(500, &generator) ? generator.below(200) : 0
        gatesOpenFirst = chance(500, &generator)
        for kind in Kind.allCases {
            let isThere = chance(550, &generator)
            if isThere { kinds.append(kind) }
        }
        // What is hard to survive comes more often, where it exists.
        kinds += kinds.filter { [.leaderMeetsTrouble, .leaderHearsLate].contains($0) }
        // A sole voter that is cut off does nothing; without its peers most faults of the network mean nothing.
        if kinds.isEmpty { kinds = [.cutPower] }
    }
}
