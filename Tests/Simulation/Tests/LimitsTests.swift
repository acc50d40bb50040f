// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Making a failing run smaller, tried on failures whose smallest run is known.

import Consensus
import Simulation
import Testing

@Suite("Making a failing seed smaller")
struct LimitsTests {
    private var plan: FaultPlan {
        var generator = SeededGenerator(seed: 11)
        var plan = FaultPlan(using: &generator)
        plan.kinds = [.cutPower, .isolate, .isolate, .swizzle, .hangDisk, .drain]
        plan.clients = 9
        return plan
    }

    @Test("what a failure needs stays, everything else goes")
    func smallest() {
        let limits = Limits.smallest(from: Limits(), plan: plan, faults: 40) { limits in
            !limits.without.contains(.isolate) && !limits.without.contains(.hangDisk) && limits.faults ?? .max >= 3
                && limits.clients ?? .max >= 5 && limits.safetyPhase ?? .seconds(60) >= .seconds(12)
        }
        #expect(Set(limits.without) == [.cutPower, .swizzle, .drain])
        #expect(limits.faults == 3)
        #expect(limits.clients == 5)
        #expect(limits.safetyPhase == .seconds(12))
        #expect(limits.isCalm)
        #expect(limits.arguments == "--safety-phase 12000 --without cutPower,swizzle,drain --faults 3 --clients 5 --calm")
    }

    @Test("what fails whatever is taken away ends as nothing; what fails only as it is stays as it is")
    func extremes() {
        let nothing = Limits.smallest(from: Limits(), plan: plan, faults: 40) { _ in true }
        #expect(nothing.faults == 0 && nothing.safetyPhase == .seconds(3) && nothing.clients == 3)
        var tries = 0
        let all = Limits.smallest(from: Limits(), plan: plan, faults: 40, attempts: 30) { _ in
            tries += 1
            return false
        }
        #expect(all == Limits())
        #expect(tries <= 30)
    }

    @Test("a limited seed is the same seed each time, without what was taken away")
    func limited() {
        var limits = Limits()
        (limits.faults, limits.clients, limits.isCalm, limits.safetyPhase) = (2, 4, true, .seconds(5))
        let first = World(seed: 9, limits: limits).run()
        #expect(first.hash == World(seed: 9, limits: limits, drawing: true).run().hash)
        #expect(first.coverage[.faultsMade] <= 2)
        #expect(first.coverage[.duplicatedMessages] == 0 && first.coverage[.slowMessages] == 0)
    }
}
