// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When the service manager is told that the process lives, and when people are told that the disk does not answer.

import Consensus
import Testing

@testable import Coordinator

@Suite("The watchdog")
struct WatchdogTests {
    private func at(_ milliseconds: UInt64) -> Instant { Instant(nanosecondsSinceBoot: milliseconds * 1_000_000) }

    @Test("is fed once for each sign of life of the disk's thread, and for nothing else")
    func oncePerSign() {
        var watchdog = Watchdog(now: at(0))
        #expect(watchdog.look(signs: 1, at: at(500)) == .alive)
        #expect(watchdog.look(signs: 1, at: at(900)) == .silent(for: .milliseconds(400)))
        #expect(watchdog.look(signs: 7, at: at(1_000)) == .alive)
        #expect(watchdog.look(signs: 7, at: at(1_100)) == .silent(for: .milliseconds(100)))
    }

    @Test("is not fed while the disk's thread hangs, however long and however often the loop looks")
    func hangs() {
        var watchdog = Watchdog(now: at(0))
        #expect(watchdog.look(signs: 5, at: at(0)) == .alive)
        let verdicts = (1...200).map { watchdog.look(signs: 5, at: at($0 * 500)) }
        #expect(!verdicts.contains { $0 == .alive })
        #expect(verdicts.filter { if case .silentForLong = $0 { true } else { false } } == [.silentForLong(.seconds(1))], "said once")
        #expect(verdicts.last == .silent(for: .seconds(100)))
    }

    @Test("is fed again when the disk answers, and people hear that it does")
    func recovers() {
        var watchdog = Watchdog(now: at(0))
        #expect(watchdog.look(signs: 0, at: at(1_500)) == .silentForLong(.milliseconds(1_500)))
        #expect(watchdog.look(signs: 1, at: at(2_000)) == .aliveAgain(after: .milliseconds(2_000)))
        #expect(watchdog.look(signs: 2, at: at(2_500)) == .alive)
        #expect(watchdog.look(signs: 2, at: at(4_000)) == .silentForLong(.milliseconds(1_500)), "the next silence is told too")
    }

    @Test("is fed at once after the whole machine slept: the sign that was asked for before has come")
    func slept() {
        var watchdog = Watchdog(now: at(0))
        #expect(watchdog.look(signs: 1, at: at(500)) == .alive)
        #expect(watchdog.look(signs: 2, at: at(3_600_000)) == .alive)
    }
}
