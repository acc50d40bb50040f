// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The judge of client histories, judged: what it must accept, and what it must refuse.

import Consensus
import CtrlExec
import DispatcherState
import Simulation
import Testing

@Suite("Linearizability")
struct LinearizabilityTests {
    private func at(_ milliseconds: UInt64) -> TrueTime { .zero + .milliseconds(milliseconds) }
    private func call<Action>(_ action: Action, _ from: UInt64, _ to: UInt64?) -> TimedCall<Action> {
        TimedCall(action, invoked: at(from), returned: to.map(at))
    }
    private func serial(_ byte: UInt8) throws -> SerialNumber { try #require(SerialNumber(bytes: [0x5c, byte])) }

    @Test("calls at the same time may happen in any order, one after the other only in theirs")
    func order() throws {
        let (one, two) = (try serial(1), try serial(2))
        #expect(Linearizability.judge([call(two, 0, 10), call(one, 5, 20)], from: CounterObject()) == .linearizable)
        #expect(
            Linearizability.judge([call(two, 0, 10), call(one, 11, 20)], from: CounterObject()) == .refused(ordered: 1, stuck: [1]))
        #expect(Linearizability.judge([call(one, 0, 10), call(one, 5, 20)], from: CounterObject()) != .linearizable)
    }

    @Test("what nobody heard of may have happened late, or never")
    func openEnded() throws {
        let one = AgentObject.Record(serial: try serial(1), port: 7443)
        let paired = call(AgentObject.Action.paired(one.serial), 0, 10)
        let removal = call(AgentObject.Action.perhapsRemoved, 20, nil)
        let there = call(AgentObject.Action.read(one), 30, 40)
        let gone = call(AgentObject.Action.read(nil), 50, 60)
        #expect(Linearizability.judge([paired, removal, there], from: AgentObject()) == .linearizable)
        #expect(Linearizability.judge([paired, removal, there, gone], from: AgentObject()) == .linearizable)
        #expect(Linearizability.judge([paired, there, gone], from: AgentObject()) != .linearizable)
        let back = call(AgentObject.Action.read(one), 70, 80)
        #expect(Linearizability.judge([paired, removal, there, gone, back], from: AgentObject()) != .linearizable)
        #expect(Linearizability.judge([paired, call(.perhapsRemoved, 90, nil), there, gone], from: AgentObject()) != .linearizable)
    }

    @Test("a stale read, a lost removal, a renaming to a taken name, another's port")
    func agents() throws {
        let (first, second) = (try serial(1), try serial(2))
        func record(_ serial: SerialNumber, _ port: UInt16) -> AgentObject.Record { .init(serial: serial, port: port) }
        func verdict(_ calls: [TimedCall<AgentObject.Action>]) -> Linearizability.Verdict {
            Linearizability.judge(calls, from: AgentObject())
        }
        let history: [TimedCall<AgentObject.Action>] = [
            call(.paired(first), 0, 10), call(.edited(port: 5), 20, 30), call(.read(record(first, 5)), 40, 50), call(.removed, 60, 70),
            call(.told(exists: false), 80, 90), call(.paired(second), 100, 110), call(.paired(first), 120, 130),
            call(.read(record(second, 9)), 140, 150), call(.wentByName, 160, 170), call(.cameByName, 180, 190),
        ]
        #expect(verdict(history) == .linearizable)
        for place in [0, 2, 4, 7] {
            var swapped = history
            swapped[place].action = place == 4 ? .told(exists: true) : .read(record(place == 7 ? first : second, 6))
            #expect(verdict(swapped) != .linearizable, "at \(place)")
        }
        #expect(verdict([call(.paired(first), 0, 10), call(.cameByName, 20, 30)]) != .linearizable)
        #expect(verdict([call(.wentByName, 20, 30)]) != .linearizable)
        #expect(verdict([call(.paired(first), 0, 10), call(.read(record(second, 1)), 20, 30)]) != .linearizable)
    }

    @Test("a request id with two outcomes, or for two requests")
    func requests() {
        func verdict(_ calls: [TimedCall<RequestObject.Action>]) -> Linearizability.Verdict {
            Linearizability.judge(calls, from: RequestObject())
        }
        #expect(
            verdict([
                call(.asked(fingerprint: 0, nil), 0, nil), call(.asked(fingerprint: 0, .pairingClosed), 5, 9),
                call(.asked(fingerprint: 1, .refused(.requestIDReused)), 10, 20), call(.asked(fingerprint: 0, .pairingClosed), 30, 40),
            ]) == .linearizable)
        #expect(
            verdict([call(.asked(fingerprint: 0, .pairingClosed), 0, 9), call(.asked(fingerprint: 0, .rotationAborted), 10, 20)])
                != .linearizable)
        #expect(
            verdict([call(.asked(fingerprint: 0, .pairingClosed), 0, 9), call(.asked(fingerprint: 1, .pairingClosed), 10, 20)])
                != .linearizable)
        #expect(verdict([call(.asked(fingerprint: 0, .refused(.requestIDReused)), 0, 9)]) != .linearizable)
    }

    @Test("a pairing that is decided twice, and a host that is let in after the session was closed")
    func pairings() throws {
        let one = try serial(1)
        func verdict(_ calls: [TimedCall<PairingObject.Action>]) -> Linearizability.Verdict {
            Linearizability.judge(calls, from: PairingObject.unknown)
        }
        let queued = call(PairingObject.Action.queued, 0, 10)
        #expect(
            verdict([queued, call(.perhapsApproved, 11, nil), call(.approved(one), 20, 30), call(.toldApproved, 40, 50)]) == .linearizable)
        #expect(verdict([queued, call(.denied, 20, 30), call(.approved(one), 40, 50)]) != .linearizable)
        #expect(verdict([queued, call(.approved(one), 20, 30), call(.approved(try serial(2)), 40, 50)]) != .linearizable)
        #expect(verdict([queued, call(.toldUnknown, 20, 30)]) != .linearizable)
        func session(_ calls: [TimedCall<SessionObject.Action>]) -> Linearizability.Verdict {
            Linearizability.judge(calls, from: SessionObject.isClosed)
        }
        #expect(session([call(.opened, 0, 10), call(.foundOpen, 20, 30), call(.closed, 25, 40)]) == .linearizable)
        #expect(session([call(.opened, 0, 10), call(.closed, 20, 30), call(.foundOpen, 35, 40)]) != .linearizable)
        func operators(_ calls: [TimedCall<OperatorObject.Action>]) -> Linearizability.Verdict {
            Linearizability.judge(calls, from: OperatorObject())
        }
        #expect(
            operators([call(.issued(one), 0, 10), call(.read(one), 20, 30), call(.revokedAll, 35, 40), call(.read(nil), 45, 50)])
                == .linearizable)
        #expect(operators([call(.issued(one), 0, 10), call(.revoked(one), 20, 30), call(.read(one), 35, 40)]) != .linearizable)
    }

    @Test("a search without end is given up, and says so")
    func bounded() throws {
        let calls =
            (0..<20).map { _ in call(AgentObject.Action.paired(nil), 0, nil) } + [
                call(.told(exists: false), 0, 10), call(.removed, 20, 30),
            ]
        #expect(
            Linearizability.judge(calls + [call(.cameByName, 40, 50), call(.cameByName, 60, 70)], from: AgentObject(), limit: 20)
                == .undecided)
    }

    @Test("the history of a seed, in which one reply is swapped for another's", arguments: [UInt64(6), 11])
    func swapped(_ seed: UInt64) throws {
        let world = World(seed: seed, safetyPhase: .seconds(12))
        if let failure = world.run().failure { throw failure }
        let history = world.clientHistory
        _ = try history.judge()
        // Serials: whoever swaps two that were not issued at the same time is found out, always.
        let serials = try #require(history.counter.calls.first?.calls)
        var swaps = 0
        for left in serials.indices {
            for right in serials.indices where serials[left].returned ?? .never < serials[right].invoked {
                var swapped = serials
                (swapped[left].action, swapped[right].action) = (serials[right].action, serials[left].action)
                swaps += 1
                #expect(Linearizability.judge(swapped, from: CounterObject()) != .linearizable, "\(left) and \(right)")
            }
        }
        #expect(swaps > 10)
        // Everything else: an answer that belongs to another call of the same object.
        var refused = 0
        for (_, calls) in history.agents.calls {
            for left in calls.indices {
                for right in calls.indices where left < right {
                    guard calls[left].returned != nil, calls[right].returned != nil, calls[left].action != calls[right].action else {
                        continue
                    }
                    var swapped = calls
                    (swapped[left].action, swapped[right].action) = (calls[right].action, calls[left].action)
                    if Linearizability.judge(swapped, from: AgentObject()) != .linearizable { refused += 1 }
                }
            }
        }
        #expect(refused > 0)
    }
}
