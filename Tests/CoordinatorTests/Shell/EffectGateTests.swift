// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Durable before visible: what the gate lets through, and when.

import Consensus
import CoordinatorCore
import Testing
import Wire

@testable import Coordinator

@Suite("The gate of effects")
struct EffectGateTests {
    private func log(_ name: String, after write: UInt64? = nil) -> Effect {
        Effect(.log(LogRecord(.info, name)), gate: write.map { .durable(WriteID($0)) } ?? .none)
    }

    private func names(_ effects: [Effect]) -> [String] {
        effects.compactMap { if case .log(let record) = $0.action { record.action } else { nil } }
    }

    @Test("An effect that waits for nothing runs at once, past others that wait")
    func ungated() {
        var gate = EffectGate()
        #expect(names([gate.admit(log("late", after: 1))].compactMap { $0 }).isEmpty)
        #expect(names([gate.admit(log("now"))].compactMap { $0 }) == ["now"])
        #expect(gate.waitingCount == 1)
    }

    @Test("Nothing comes out before its write is durable, and then in the order in which it went in")
    func order() {
        var gate = EffectGate()
        for (name, write) in [("a", 1), ("b", 2), ("c", 1), ("d", 3)] as [(String, UInt64)] {
            #expect(names([gate.admit(log(name, after: write))].compactMap { $0 }).isEmpty)
        }
        #expect(names(gate.wrote(WriteID(1))) == ["a", "c"])
        #expect(names(gate.wrote(WriteID(3))) == ["b", "d"])
        #expect(gate.waitingCount == 0)
    }

    @Test("A write that is durable already holds nothing back")
    func already() {
        var gate = EffectGate()
        #expect(gate.wrote(WriteID(5)).isEmpty)
        #expect(names([gate.admit(log("covered", after: 4))].compactMap { $0 }) == ["covered"])
        #expect(names([gate.admit(log("next", after: 6))].compactMap { $0 }).isEmpty)
    }

    @Test("Of messages that wait for a disk without end the oldest are lost, and nothing else is")
    func endless() {
        var gate = EffectGate()
        _ = gate.admit(log("kept", after: 1))
        let member = MemberID("b")!
        let limit = UInt64(EffectGate.waitingLimit)
        for number in 1...limit + 10 {
            _ = gate.admit(Effect(.send(.reportRequest(number: number), to: member), gate: .durable(WriteID(1))))
        }
        #expect(gate.waitingCount == EffectGate.waitingLimit)
        let open = gate.wrote(WriteID(1))
        #expect(names(open) == ["kept"])
        let numbers = open.compactMap { effect -> UInt64? in
            if case .send(.reportRequest(number: let number), _) = effect.action { number } else { nil }
        }
        #expect(numbers.first == 12 && numbers.last == limit + 10)
    }

    @Test("An old report does not take back what was durable")
    func oldReport() {
        var gate = EffectGate()
        _ = gate.wrote(WriteID(5))
        _ = gate.wrote(WriteID(3))
        #expect(gate.durable == WriteID(5))
    }
}
