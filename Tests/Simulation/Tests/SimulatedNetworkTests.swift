// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The simulated network does what its faults say, and nothing to those who are sound.

import Consensus
import Simulation
import Testing

@Suite("Simulated network")
struct SimulatedNetworkTests {
    private func at(_ milliseconds: UInt64) -> TrueTime { .zero + .milliseconds(milliseconds) }

    private func network(_ weather: SimulatedNetwork.Weather) -> SimulatedNetwork {
        SimulatedNetwork(members: 3, weather: weather, generator: SeededGenerator(seed: 7))
    }

    private var calm: SimulatedNetwork.Weather {
        var weather = SimulatedNetwork.Weather()
        (weather.latency, weather.jitter) = (.milliseconds(1), .milliseconds(2))
        return weather
    }

    @Test("a link that is stuck loses nothing and lets nothing through before its end")
    func clogged() {
        var (network, coverage) = (network(calm), Coverage())
        network.clog(from: 0, to: 1, until: at(500))
        for time in stride(from: UInt64(0), to: 490, by: 10) {
            let arrivals = network.arrivals(from: 0, to: 1, at: at(time), coverage: &coverage)
            #expect(arrivals.count == 1 && arrivals.allSatisfy { $0 >= at(500) })
        }
        let others = network.arrivals(from: 1, to: 0, at: at(10), coverage: &coverage)
        #expect(others.allSatisfy { $0 < at(100) })
        let later = network.arrivals(from: 0, to: 1, at: at(501), coverage: &coverage)
        #expect(later.allSatisfy { $0 < at(510) })
        #expect(coverage[.messagesStuck] == 49)
    }

    @Test("a link with room for three loses the fourth, until one has arrived")
    func overflows() {
        var weather = calm
        (weather.capacity, weather.jitter) = (3, .zero)
        var (network, coverage) = (network(weather), Coverage())
        let arrived = (0..<5).map { _ in network.arrivals(from: 0, to: 1, at: at(0), coverage: &coverage).count }
        #expect(arrived == [1, 1, 1, 0, 0])
        let later = network.arrivals(from: 0, to: 1, at: at(1), coverage: &coverage)
        #expect(later.count == 1)
        #expect(coverage[.linksOverflowed] == 2)
    }

    @Test("a connection that was reset is another one")
    func resets() {
        var network = network(calm)
        let before = network.connection(from: 0, to: 1)
        network.reset(from: 0, to: 1)
        #expect(network.connection(from: 0, to: 1) != before)
        #expect(network.connection(from: 1, to: 0) == before)
    }

    @Test("between members that are sound nothing is lost, doubled or stuck any more; to the others everything stays")
    func heals() {
        var weather = calm
        (weather.lossPerMille, weather.duplicationPerMille, weather.capacity) = (500, 500, 1)
        var (network, coverage) = (network(weather), Coverage())
        network.cut(from: 0, to: 1)
        network.cut(from: 0, to: 2)
        network.clog(from: 1, to: 0, until: at(9_000))
        network.heal(between: [0, 1])
        for time in UInt64(0)..<200 {
            let there = network.arrivals(from: 0, to: 1, at: at(time), coverage: &coverage)
            let back = network.arrivals(from: 1, to: 0, at: at(time), coverage: &coverage)
            #expect(there.count == 1 && back.count == 1)
            #expect((there + back).allSatisfy { $0 <= at(time + 3) })
            let lost = network.arrivals(from: 0, to: 2, at: at(time), coverage: &coverage)
            #expect(lost.isEmpty)
        }
    }

    @Test("each shape of latency keeps its bounds, and no two are alike", arguments: SimulatedNetwork.Shape.allCases)
    func shapes(_ shape: SimulatedNetwork.Shape) {
        var weather = calm
        (weather.latency, weather.jitter, weather.shape) = (.milliseconds(1), .milliseconds(8), shape)
        var (network, coverage) = (network(weather), Coverage())
        let delays = (0..<4_000).flatMap { _ in network.arrivals(from: 0, to: 1, at: at(0), coverage: &coverage) }.map { $0.since(.zero) }
        let slow = delays.count { $0 > .milliseconds(9) }
        #expect(delays.count == 4_000 && delays.allSatisfy { $0 >= .milliseconds(1) })
        switch shape {
        case .even: #expect(slow == 0)
        case .twofold: #expect((100...300).contains(slow) && delays.allSatisfy { $0 <= .milliseconds(65) })
        case .longTailed: #expect((300...1_500).contains(slow) && delays.contains { $0 > .milliseconds(65) })
        case .waves: #expect((200...500).contains(slow) && delays.allSatisfy { $0 <= .milliseconds(25) })
        }
    }

    @Test("plans of faults: full size, and over many seeds every kind, every clock, few kinds and many")
    func plans() {
        var generator = SeededGenerator(seed: 5)
        let plans = (0..<400).map { _ in FaultPlan(using: &generator) }
        #expect(plans.allSatisfy { $0.safetyPhase >= FaultPlan.leastSafetyPhase && !$0.kinds.isEmpty })
        for kind in FaultPlan.Kind.allCases {
            #expect(plans.contains { $0.kinds.contains(kind) } && plans.contains { !$0.kinds.contains(kind) }, "\(kind)")
        }
        #expect(plans.contains { $0.kinds.count <= 4 } && plans.contains { $0.kinds.count >= 20 })
        let beyond = plans.count { $0.clocks == .beyond }
        #expect((8...80).contains(beyond))
    }
}
