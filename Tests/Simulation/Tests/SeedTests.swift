// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The world in small: tens of seeds, shortened so that a debug build has time for them. Thousands run with `make simulate`.

import Consensus
import Simulation
import Testing

@Suite("Whole members under faults")
struct SeedTests {
    @Test("every invariant holds", arguments: UInt64(1)...16)
    func seed(_ seed: UInt64) throws {
        if let failure = World(seed: seed, safetyPhase: .seconds(6)).run().failure { throw failure }
    }

    @Test("what once failed holds", arguments: RegressionSeeds.all)
    func regression(_ seed: UInt64) throws {
        if let failure = World(seed: seed).run().failure { throw failure }
    }

    @Test("the same seed leaves the same trace, recorded in words or not", arguments: [UInt64(3), 4])
    func repeats(_ seed: UInt64) {
        let first = World(seed: seed, safetyPhase: .seconds(4)).run()
        let second = World(seed: seed, safetyPhase: .seconds(4), recording: true).run()
        #expect(first.hash == second.hash)
        #expect(first.steps == second.steps)
    }

    @Test("another seed leaves another trace")
    func differs() {
        #expect(World(seed: 3, safetyPhase: .seconds(3)).run().hash != World(seed: 4, safetyPhase: .seconds(3)).run().hash)
    }
}
