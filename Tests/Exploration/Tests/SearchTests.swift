// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The exhaustive search in small, and what it rests on: that a fingerprint covers all of the core.

import Consensus
import Exploration
import Testing

@Suite("Every order of events, as far as it goes")
struct SearchTests {
    @Test("everything holds in the first states from each beginning")
    func holds() throws {
        for root in try Root.all() {
            var search = Search(from: root.cluster)
            let outcome = search.run(states: 4_000)
            if let found = outcome.found {
                Issue.record("\(root.name): \(found.broken)\n\(found.path.joined(separator: "\n"))")
            }
            #expect(outcome.states >= 4_000 || outcome.isExhausted)
            #expect(outcome.depth > 3)
        }
    }

    @Test("a search is the same each time")
    func repeats() throws {
        for root in try Root.all() {
            var first = Search(from: root.cluster)
            var second = Search(from: root.cluster)
            let (left, right) = (first.run(states: 1_000), second.run(states: 1_000))
            #expect((left.states, left.steps, left.depth) == (right.states, right.steps, right.depth))
        }
    }

    /// Whoever gives the core a new field decides here whether two members that differ in it alone may count as the same.
    @Test("the fingerprint knows every field of the core")
    func fingerprintIsWhole() throws {
        let id = try #require(MemberID("a"))
        let configuration = try #require(Configuration(voters: [id]))
        let raft = LeaseRaft(id: id, configuration: configuration, recovered: .nothing, timing: Timing(), seed: 1, now: .zero)
        let covered = [
            "term", "vote", "termWrite", "ballotWrite", "state", "commitIndex", "announcedCommit", "log", "writes", "promise", "campaignAt",
            "failedCampaigns", "diskFullUntil", "snapshot", "fetching", "fetchNotBefore",
        ]
        // The configuration is the newest in the log, which is covered, or its base's.
        let leftOut = ["id", "configuration", "configurationIndex", "timing", "lastContact", "generator", "nextQuestion", "announced"]
        let fields = Mirror(reflecting: raft).children.compactMap(\.label)
        #expect(fields.sorted() == (covered + leftOut).sorted())
    }

    @Test("an instant that is over counts no more, one that is ahead counts by its distance")
    func fingerprintsCountFromNow() {
        func fingerprint(_ deadline: UInt64, at now: UInt64) -> CoreFingerprint {
            var fingerprint = CoreFingerprint()
            fingerprint.add(deadline: Instant(nanosecondsSinceBoot: deadline), at: Instant(nanosecondsSinceBoot: now))
            return fingerprint
        }
        #expect(fingerprint(5, at: 10) == fingerprint(9, at: 10))
        #expect(fingerprint(15, at: 10) == fingerprint(25, at: 20))
        #expect(fingerprint(15, at: 10) != fingerprint(16, at: 10))
    }
}
