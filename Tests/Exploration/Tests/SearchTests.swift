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

    @Test("who lacks what its leader has forgotten fetches the snapshot, dies, and begins behind it", arguments: [5, 6])
    func installs(root: Int) throws {
        let roots = try Root.all()
        #expect(roots.count == 7)
        var cluster = roots[root].cluster
        // In the first of these beginnings member 0 leads and 2 lacks all; in the second member 1 leads, and 0 has another entry there.
        let (leader, other) = root == 5 ? (0, 2) : (1, 0)
        func take(_ wanted: String) throws {
            let step = try #require(
                cluster.steps().first { cluster.words(for: $0).contains(wanted) }, "no step is '\(wanted)': \(cluster.summary)")
            try cluster.take(step)
        }
        func writeAll() throws {
            while cluster.steps().contains(.finishWrite(other)) { try cluster.take(.finishWrite(other)) }
        }
        try cluster.take(.pass)
        try cluster.take(.tick(leader))
        try take("\(leader) → \(other): t\(root == 5 ? 1 : 2) offer")
        #expect(!cluster.steps().contains(.install(other)))
        try writeAll()
        try cluster.take(.install(other))
        // What its journal has of the log is void, whether or not it says so already.
        try cluster.take(.crash(other))
        try cluster.take(.restart(other))
        #expect(cluster.summary.components("log \(root == 5 ? "1,1" : "1,2") commit 2") == 3)
        #expect(cluster.summary.components("base 2") == 2)
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

extension String {
    /// How often it is in there.
    fileprivate func components(_ part: String) -> Int {
        var count = 0
        var rest = self[...]
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
