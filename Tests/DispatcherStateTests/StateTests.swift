// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Time, position and hashes; and that nothing in a proposal can stop a member.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

@Suite struct StateTests {
    @Test("cluster time is the greatest that an entry carried, and sums of it stick at the end")
    func time() throws {
        var log = try Log()
        log.milliseconds = 500
        log.apply(.expire, by: .leader)
        log.milliseconds = 100
        log.apply(.expire, by: .leader)
        #expect(log.state.time == ClusterTime(milliseconds: 500))
        #expect(ClusterTime(milliseconds: .max) + 1 == ClusterTime(milliseconds: .max))
    }

    @Test("an entry that was applied changes nothing when it comes again")
    func appliedTwice() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: 1_000))
        let before = log.state
        _ = log.state.apply(log.proposal(.closePairing, .client("x")), at: LogIndex(1), term: Term(1))
        log.state.applyNothing(at: LogIndex(1), term: Term(1))
        #expect(log.state == before)
    }

    @Test("an entry without a proposal moves only the position")
    func nothing() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: 1_000))
        let hash = log.state.stateHash
        log.state.applyNothing(at: LogIndex(2), term: Term(2))
        #expect(log.state.appliedIndex == LogIndex(2))
        #expect(log.state.stateHash != hash)
        #expect(log.state.pairingOpenUntil == ClusterTime(milliseconds: 2_000))
    }

    @Test("states that differ in an entry, its term, its place or its outcome differ in their hash")
    func hashDiffers() throws {
        let start = try Log()
        var hashes: [UInt64] = [start.state.stateHash]
        func add(_ change: (inout Log) -> Void) {
            var log = start
            change(&log)
            hashes.append(log.state.stateHash)
        }
        add { $0.apply(.closePairing) }
        add { $0.apply(.closePairing, .client("y")) }
        add { $0.apply(.closePairing, by: .localUser(uid: 1)) }
        add { $0.apply(.openPairing(milliseconds: 1_000)) }
        add { $0.apply(.openPairing(milliseconds: 1_001)) }
        add {
            ($0.term, $0.index) = (Term(2), 0); $0.apply(.closePairing)
        }
        add {
            $0.index = 1; $0.apply(.closePairing)
        }
        add {
            $0.milliseconds = 9; $0.apply(.closePairing)
        }
        add {
            $0.calendar = WallClock(secondsSince1970: -1); $0.apply(.closePairing)
        }
        add { $0.state.applyNothing(at: LogIndex(1), term: Term(1)) }
        add { $0.state.applyNothing(at: LogIndex(1), term: Term(2)) }
        #expect(zip(hashes.sorted(), hashes.sorted().dropFirst()).allSatisfy { $0 != $1 })
    }

    @Test("hashes are the same in every process")
    func hashIsFixed() {
        var hasher = CanonicalHasher(.state)
        hasher.add("ctrl-exec")
        hasher.add([1, 2, 3] as [UInt8])
        hasher.add(7 as UInt64)
        #expect(hasher.digest == 1_865_880_573_848_898_624)
    }

    @Test("the hash of everything covers what the chained hash does not say")
    func fullHash() throws {
        var log = try Log()
        try log.pair(1, "web")
        var other = log.state
        other.registry.remove(try agentName("web"))
        #expect(other.stateHash == log.state.stateHash)
        #expect(other.fullStateHash() != log.state.fullStateHash())
        other = log.state
        _ = other.serials.reserve()
        #expect(other.fullStateHash() != log.state.fullStateHash())
    }

    @Test("one flipped bit anywhere in a byte string changes both lanes of the hash", arguments: [1, 7, 8, 9, 16, 31])
    func avalanche(_ count: Int) {
        func fingerprint(_ bytes: [UInt8]) -> Fingerprint {
            var hasher = CanonicalHasher(.request)
            hasher.add(bytes)
            return hasher.fingerprint
        }
        let zeros = [UInt8](repeating: 0, count: count)
        let base = fingerprint(zeros)
        for bit in 0..<count * 8 {
            var flipped = zeros
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            let other = fingerprint(flipped)
            #expect(other.first != base.first && other.second != base.second)
        }
        #expect(fingerprint(zeros + [0]) != base)
    }

    @Test("every refusal has a text that a person can act on")
    func refusalTexts() throws {
        let refusals: [Refusal] = [
            .notAllowed, .requestIDReused, .requestForgotten, .requestTableFull, .unknownPairing(Reqid(1)),
            .unknownAgent(try agentName("a")),
            .agentNameTaken(try agentName("a")), .operatorNameTaken(try operatorName("a")), .pairingClosed, .pairingQueueFull,
            .pairingReqidTaken(Reqid(1)), .pairingAlreadyApproved(Reqid(1)), .invalid("x"), .tooMany("x"), .reservationGone,
            .signingFailed("x"),
        ]
        for refusal in refusals { #expect(refusal.text.utf8.count > 10) }
        #expect(Refusal.unknownPairing(Reqid(1)).text.contains("0000000000000001"))
    }
}

@Suite struct ContainerTests {
    @Test("a sorted map behaves like a dictionary with its keys in order", arguments: 0..<5 as Range<UInt64>)
    func sortedMap(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var map = SortedArrayMap<UInt64, UInt64>()
        var model: [UInt64: UInt64] = [:]
        for step in 0..<2_000 as Range<UInt64> {
            let key = generator.below(100)
            switch generator.below(4) {
            case 0:
                map[key] = nil
                model[key] = nil
            case 1:
                map.update(key) { $0 &+= 1 }
                if let value = model[key] { model[key] = value &+ 1 }
            default:
                map[key] = step
                model[key] = step
            }
            #expect(map[key] == model[key])
        }
        #expect(map.keys == model.keys.sorted())
        #expect(map.keys.map { map[$0] } == map.keys.map { model[$0] })
    }

    @Test("a queue gives back what it got, in order, and forgets what it gave")
    func queue() {
        var queue = Queue<Int>()
        var expected = 0
        for number in 0..<1_000 {
            queue.append(number)
            if number % 3 != 0 {
                #expect(queue.first == expected)
                queue.removeFirst()
                expected += 1
            }
        }
        #expect(queue.count == 1_000 - expected)
        var fresh = Queue<Int>()
        for number in expected..<1_000 { fresh.append(number) }
        #expect(queue == fresh)
        for _ in 0..<2_000 { queue.removeFirst() }
        #expect(queue.first == nil && queue.count == 0)
    }
}
