// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What may go wrong in one seed, and how badly: drawn before anything happens. In the way of swarm testing each kind of fault is there or
// is not there at all, so that none hides behind another; some seeds are all storm and some are nearly calm.

import Consensus

package struct FaultPlan: Sendable {
    package enum Kind: CaseIterable, Hashable, Sendable {
        case killProcess, killWithinFlush, cutPower, cutPowerOfAll, failPowerWithinWrite
        case isolate, cutOneWay, cutLink, split, ring, swizzle, resetConnections, degradeLink
        case pause, slowDisk, stallDisk, hangDisk, failDisk, failWrite, fillDisk, damageDisk, rollDiskBack, changeRate, setWallClock
        case leaderMeetsTrouble, leaderHearsLate, drain
        case crashOften, leaderWritesAlone
    }
    /// `beyond` is a class of seeds of its own: rates that the protocol does not allow for. There a lease proves nothing.
    package enum Clocks: Sendable { case exact, drawn, extreme, beyond }

    /// No seed is shorter, asks less or breaks less.
    package static let leastSafetyPhase = TimeSpan.seconds(60)
    package static let leastOperations = 200
    package static let leastFaults = 3
    /// How long a client waits for an answer, about: milliseconds.
    private static let usualAnswer: UInt64 = 150

    package var members: Int
    package var clients: Int
    package var safetyPhase: TimeSpan
    /// Between two requests of one client: from a quarter of it to five quarters.
    package var think: TimeSpan
    /// What the members of this seed take for the time between heartbeats.
    package var heartbeat = Timing().heartbeat
    package var weather = SimulatedNetwork.Weather()
    /// Those that exist in this seed.
    package var kinds: [Kind] = []
    /// Between two faults.
    package var faultGap: TimeSpan
    /// How long faults last: in hundredths of what is usual.
    package var lengthPercent: UInt64
    /// How many more come: a limit for those who look for the smallest number that still fails.
    package var faultLimit = Int.max
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
    /// Machines that may become members; none where nobody comes and goes.
    package var guests = 0
    /// How many members there are to be, one after the other.
    package var memberTargets: [Int] = []

    /// Members come and go in some seeds. Drawn apart, so that nothing else changes by it.
    package mutating func drawGuests(using generator: inout SeededGenerator) {
        guard generator.below(100) < 40 else { return }
        guests = 8
        let ways: [[Int]] =
            switch members {
            case 1: [[1, 3, 1, 3], [2, 3, 5, 3], [3, 5, 3, 1]]
            case 3: [[3, 5, 3], [5, 3, 1, 3], [3, 4, 2, 3]]
            default: [[5, 3, 5], [5, 3, 1, 3]]
            }
        memberTargets = ways[Int(generator.below(UInt64(ways.count)))]
    }

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
        safetyPhase = FaultPlan.leastSafetyPhase + .milliseconds(generator.below(15_000))
        // Most seeds ask a little more than they must, so that faults and not requests fill their time; some ask without a pause.
        let operations =
            chance(60, &generator) ? 600 + generator.below(900) : UInt64(FaultPlan.leastOperations) + 10 + generator.below(130)
        let interval = UInt64(clients) * FaultPlan.leastSafetyPhase.milliseconds / operations
        think = .milliseconds(max(60, (max(interval, FaultPlan.usualAnswer) - FaultPlan.usualAnswer) * 4 / 3))
        // The longest of which the lease still has three is 78 ms.
        if chance(600, &generator) { heartbeat = .milliseconds(50 + generator.below(29)) }
        weather.latency = microseconds(50, chance(300, &generator) ? 8_000 : 800, &generator)
        weather.jitter = microseconds(20, chance(300, &generator) ? 20_000 : 1_000, &generator)
        let shapes = SimulatedNetwork.Shape.allCases
        weather.shape = shapes[Int(generator.below(UInt64(shapes.count)))]
        if chance(250, &generator) { weather.capacity = 2 + Int(generator.below(chance(400, &generator) ? 4 : 40)) }
        if chance(500, &generator) { weather.lossPerMille = generator.below(chance(200, &generator) ? 200 : 40) }
        if chance(500, &generator) { weather.duplicationPerMille = generator.below(100) }
        if chance(600, &generator) {
            weather.delayedPerMille = 1 + generator.below(60)
            weather.delay = .milliseconds(20 + generator.below(chance(500, &generator) ? 200 : 1_500))
        }
        faultGap = .milliseconds(chance(250, &generator) ? 300 + generator.below(700) : 1_000 + generator.below(4_000))
        lengthPercent = chance(500, &generator) ? 100 : 25 + generator.below(200)
        clocks =
            chance(80, &generator) ? .beyond : chance(250, &generator) ? .exact : chance(400, &generator) ? .extreme : .drawn
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
        // Some seeds have nearly every kind, some have two or three.
        let share = [150, 400, 550, 800][Int(generator.below(4))] as UInt64
        for kind in Kind.allCases {
            let isThere = chance(share, &generator)
            if isThere { kinds.append(kind) }
        }
        // What is hard to survive comes more often, where it exists.
        kinds += kinds.filter { [.leaderMeetsTrouble, .leaderHearsLate].contains($0) }
        // A sole voter that is cut off does nothing; without its peers most faults of the network mean nothing.
        if kinds.isEmpty { kinds = [.cutPower] }
    }
}
