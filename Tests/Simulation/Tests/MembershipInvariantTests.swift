// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Histories of members that come and go, by hand.

import Consensus
import CoordinatorCore
import DispatcherState
import Simulation
import Testing

@Suite("Invariants of members that come and go bite")
struct MembershipInvariantTests {
    let a: MemberID
    let b: MemberID
    let c: MemberID
    init() throws {
        a = try #require(MemberID("a"))
        b = try #require(MemberID("b"))
        c = try #require(MemberID("c"))
    }
    func members(_ voters: [MemberID], _ learners: [MemberID] = []) -> Configuration {
        guard let configuration = Configuration(voters: voters, learners: learners) else { preconditionFailure("one to five vote") }
        return configuration
    }
    func change(_ former: Configuration, _ next: Configuration, former index: UInt64 = 3, commit: UInt64 = 3) -> MembersChange {
        MembersChange(former: former, formerIndex: LogIndex(index), commit: LogIndex(commit), next: next)
    }

    @Test("a change of the members that stops the cluster, or lets one in too early")
    func changesKeepAQuorum() throws {
        func clock(_ milliseconds: UInt64) -> Instant { Instant.zero + .milliseconds(milliseconds) }
        let life = Life(a, 1)
        var invariant = ChangesKeepAQuorum(timing: Timing())
        invariant.answered(life, by: b, at: clock(100))
        let three = members([a, b, c])
        try invariant.proposes(life, change(three, members([a, b])), at: clock(500)) { _ in 0 }
        // b is silent for too long, and c was never heard.
        #expect(throws: Broken.self) { try invariant.proposes(life, change(three, members([a, b])), at: clock(900)) { _ in 0 } }
        #expect(throws: Broken.self) { try invariant.proposes(life, change(three, members([a, c])), at: clock(500)) { _ in 0 } }
        // A learner may lack all; a voter may not.
        try invariant.proposes(life, change(members([a]), members([a], [b])), at: clock(500)) { _ in 900 }
        try invariant.proposes(life, change(members([a], [b]), members([a, b])), at: clock(500)) { _ in 60 }
        #expect(throws: Broken.self) {
            try invariant.proposes(life, change(members([a], [b]), members([a, b])), at: clock(500)) { _ in 900 }
        }
        try invariant.applied(members([a, b], [c]), voters: [a, b], learners: [c])
        #expect(throws: Broken.self) { try invariant.applied(members([a, b]), voters: [a, b], learners: [c]) }
    }

    @Test("two changes of the members at once, or one before the last is done")
    func oneChangeAtATime() throws {
        let invariant = OneChangeAtATime()
        let three = members([a, b, c])
        try invariant.proposes(a, change(three, members([a, b])))
        #expect(throws: Broken.self) { try invariant.proposes(a, change(three, members([a]))) }
        #expect(throws: Broken.self) { try invariant.proposes(a, change(three, members([a, b]), former: 4)) }
    }

    @Test("a token that lets two in, an id that is given again")
    func tokenOnce() throws {
        var invariant = TokenOnce()
        try invariant.invites(b, at: LogIndex(1))
        try invariant.admits(b, [1], at: LogIndex(2))
        try invariant.admits(b, [1], at: LogIndex(3))
        #expect(throws: Broken.self) { try invariant.admits(b, [2], at: LogIndex(4)) }
        #expect(throws: Broken.self) { try invariant.invites(b, at: LogIndex(5)) }
        invariant.removes(c)
        #expect(throws: Broken.self) { try invariant.invites(c, at: LogIndex(11)) }
    }

    @Test("one that was removed and leads, one that leaves and was not removed")
    func removedStaysOut() throws {
        var invariant = RemovedStaysOut()
        try invariant.leads(b, knowingCommitted: LogIndex(9))
        #expect(throws: Broken.self) { try invariant.leaves(b) }
        invariant.removes(b, at: LogIndex(10))
        try invariant.leaves(b)
        // It does not know it yet, and the others may need it.
        try invariant.leads(b, knowingCommitted: LogIndex(9))
        #expect(throws: Broken.self) { try invariant.leads(b, knowingCommitted: LogIndex(10)) }
    }

    @Test("a member that stops for a version that it knows")
    func versionsKnown() throws {
        let invariant = VersionsKnown()
        try invariant.stops(a, needing: .newest, said: .first, known: .first)
        #expect(throws: Broken.self) { try invariant.stops(a, needing: .newest, said: .newest, known: .newest) }
        #expect(throws: Broken.self) { try invariant.stops(a, needing: .newest, said: .first, known: .newest) }
    }
}
