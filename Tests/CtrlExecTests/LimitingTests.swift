// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's limiter, the dispatcher's budget, and the log line that tells of them.

import Testing

@testable import CtrlExec

@Suite struct LimitingTests {
    @Test("the eleventh connection within a minute is refused, and all others for five minutes") func volume() {
        var limiter = RateLimiter()
        for n in 0..<10 { #expect(limiter.connection(from: "192.0.2.1", nowMilliseconds: UInt64(n) * 1_000).verdict == .allowed) }
        #expect(limiter.connection(from: "192.0.2.1", nowMilliseconds: 59_999).verdict == .refused(.volume))
        #expect(limiter.connection(from: "192.0.2.1", nowMilliseconds: 300_000).verdict == .refused(nil))
        #expect(limiter.connection(from: "192.0.2.2", nowMilliseconds: 300_000).verdict == .allowed)
        #expect(limiter.connection(from: "192.0.2.1", nowMilliseconds: 359_999).verdict == .allowed)
    }

    @Test("the third failed handshake blocks for an hour") func probe() {
        var limiter = RateLimiter()
        #expect(limiter.handshakeFailed(from: "a", nowMilliseconds: 0) == nil)
        #expect(limiter.handshakeFailed(from: "a", nowMilliseconds: 1) == nil)
        #expect(limiter.connection(from: "a", nowMilliseconds: 2).verdict == .allowed)
        #expect(limiter.handshakeFailed(from: "a", nowMilliseconds: 3) == .probe)
        #expect(limiter.handshakeFailed(from: "a", nowMilliseconds: 4) == nil)
        #expect(limiter.connection(from: "a", nowMilliseconds: 3_600_002).verdict == .refused(nil))
        #expect(limiter.connection(from: "a", nowMilliseconds: 3_600_003).verdict == .allowed)
    }

    @Test("a table that is full forgets an address without a block first") func eviction() {
        var limiter = RateLimiter(volume: .init(count: 1, windowSeconds: 60, blockSeconds: 60), capacity: 2)
        _ = limiter.connection(from: "a", nowMilliseconds: 0)
        #expect(limiter.connection(from: "a", nowMilliseconds: 1).verdict == .refused(.volume))
        _ = limiter.connection(from: "b", nowMilliseconds: 2)
        #expect(limiter.connection(from: "c", nowMilliseconds: 3).evicted == 1)
        #expect(limiter.count == 2)
        #expect(limiter.connection(from: "a", nowMilliseconds: 4).verdict == .refused(nil))
    }

    @Test("a limit of 0 disables its part, the switch disables both, a reload forgets") func disabled() {
        var off = RateLimiter(volume: .init(count: 0, windowSeconds: 60, blockSeconds: 60))
        var none = RateLimiter(isDisabled: true)
        for n in 0..<100 {
            #expect(off.connection(from: "a", nowMilliseconds: UInt64(n)).verdict == .allowed)
            #expect(none.connection(from: "a", nowMilliseconds: UInt64(n)).verdict == .allowed)
        }
        var limiter = RateLimiter()
        for n in 0..<11 { _ = limiter.connection(from: "a", nowMilliseconds: UInt64(n)) }
        limiter.clear()
        #expect(limiter.connection(from: "a", nowMilliseconds: 12).verdict == .allowed)
    }

    @Test("a budget grants eight connections in a minute per agent and source, and says when the next one is free") func budget() {
        var budget = ConnectionBudget()
        for n in 0..<8 { #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: UInt64(n)) == .granted) }
        #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: 9) == .wait(untilMilliseconds: 60_000))
        #expect(budget.take(agent: "web", source: "127.0.0.3", nowMilliseconds: 9) == .granted)
        #expect(budget.take(agent: "db", source: "127.0.0.2", nowMilliseconds: 9) == .granted)
        #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: 60_000) == .granted)
        #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: 60_000) == .wait(untilMilliseconds: 60_001))
        // What did not come about does not count.
        budget.giveBack(agent: "web", source: "127.0.0.2", takenMilliseconds: 60_000)
        budget.giveBack(agent: "web", source: "127.0.0.2", takenMilliseconds: 60_000)
        #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: 60_000) == .granted)
        #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: 60_000) == .wait(untilMilliseconds: 60_001))
        budget.forgetOld(nowMilliseconds: 200_000)
        #expect(budget.take(agent: "web", source: "127.0.0.2", nowMilliseconds: 200_000) == .granted)
    }

    @Test("a log line begins with its action, the other keys follow in order, white space is quoted, nothing begins a second line")
    func logLine() {
        let line = LogLine(
            "run", ("SCRIPT", "hello"), ("EXIT", 0), ("PEER", "192.0.2.7"), ("DISPATCHER", nil as String?), ("REQID", "a b\nACTION=x"))
        #expect(line.description == "ACTION=run EXIT=0 PEER=192.0.2.7 REQID=\"a b ACTION=x\" SCRIPT=hello")
    }
}
