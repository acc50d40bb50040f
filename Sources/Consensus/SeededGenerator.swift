// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The only randomness in the core: a generator that is a value, so that a run repeats byte for byte from its seed.

/// SplitMix64 (Steele, Lea, Flood 2014): jitter and tie-breaking, never secrets. Each member has a seed of its own.
package struct SeededGenerator: RandomNumberGenerator, Hashable, Sendable {
    private var state: UInt64
    package init(seed: UInt64) { state = seed }
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
    /// A number in `0 ..< bound`; `bound` is at least 1. Written out, so that the sequence does not depend on the standard library's version.
    package mutating func below(_ bound: UInt64) -> UInt64 {
        precondition(bound > 0, "a bound of zero has no number below it")
        return next().multipliedFullWidth(by: bound).high
    }
    package mutating func span(upTo bound: TimeSpan) -> TimeSpan { TimeSpan(nanoseconds: below(bound.nanoseconds + 1)) }
}
