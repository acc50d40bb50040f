// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Rule 3: a leader whose calendar is off the middle of all signs nothing and hands over.

import Consensus
import DispatcherState
import Testing
import Wire

@testable import CoordinatorCore

@Suite("the calendar")
struct CalendarTests {
    @Test("of a leader that is a year ahead dates nothing: another leads, and signs", arguments: [366 * 86_400, -366 * 86_400, 12])
    func handsOver(error: Int64) {
        let cluster = SmallCluster()
        let (old, _) = cluster.elect()
        cluster.signsAtOnce = false
        cluster.calendarErrors[old] = error
        // The jump shows before anything else is heard of the others.
        cluster.ask(SmallCluster.issue("ann"), of: old, ticket: 1, id: "r1")
        #expect(cluster.pass(3_000) { cluster.leader != nil && cluster.leader != old && !cluster.jobs.isEmpty })
        for job in cluster.jobs {
            #expect(job.member != old)
            #expect(job.job.validity.notBefore.secondsSince1970 < 1_800_001_000)
        }
    }

    @Test("of a follower is its own affair")
    func followerOff() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.calendarErrors[others[0]] = 1_000
        cluster.pass(1_000)
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1")
        #expect(cluster.leader == leader)
        #expect(cluster.members[leader].state.operators.count == 1)
    }

    @Test("of one of two does not count as wrong: nobody can say whose it is")
    func twoMembers() {
        let cluster = SmallCluster(2)
        let (leader, others) = cluster.elect()
        cluster.calendarErrors[others[0]] = 1_000
        cluster.pass(1_000)
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1")
        #expect(cluster.members[leader].state.operators.count == 1)
    }

    @Test("of a leader that nobody can take over from dates nothing, until it is set right")
    func comesBack() {
        let cluster = SmallCluster()
        let (leader, others) = cluster.elect()
        cluster.calendarErrors[leader] = -100_000
        // They answer heartbeats, and hear nothing of a transfer.
        for other in others { cluster.deaf = cluster.deaf.union([other]) }
        cluster.ask(SmallCluster.issue("ann"), of: leader, ticket: 1, id: "r1", milliseconds: 60_000)
        cluster.pass(2_000)
        #expect(cluster.members[leader].raft.role == .leader)
        #expect(cluster.members.allSatisfy { $0.state.operators.isEmpty })
        cluster.calendarErrors = [:]
        cluster.deaf = []
        #expect(cluster.pass(3_000) { cluster.members[leader].state.operators.count == 1 })
    }

    @Test("knows the middle of many, and sticks at the ends")
    func middle() {
        func now(_ seconds: Int64) -> Moment { Moment(instant: .zero, wallClock: WallClock(secondsSince1970: seconds)) }
        let names = ["b", "c", "d", "e"].map { must(MemberID($0)) }
        var clocks = PeerClocks()
        #expect(clocks.middle(of: names, at: now(0)) == 0)
        clocks.note(names[0], WallClock(secondsSince1970: 100), at: .zero)
        #expect(clocks.middle(of: names, at: now(0)) == 0)
        clocks.note(names[1], WallClock(secondsSince1970: 50), at: .zero)
        #expect(clocks.middle(of: names, at: now(0)) == 50)
        clocks.note(names[2], WallClock(secondsSince1970: .max), at: .zero)
        clocks.note(names[3], WallClock(secondsSince1970: .min), at: .zero)
        #expect(clocks.middle(of: names, at: now(0)) == 50)
        #expect(clocks.middle(of: names, at: now(.min)) == .max)
        // What was heard long ago counts for nothing.
        #expect(clocks.known(of: names, at: Moment(instant: .zero + .seconds(6), wallClock: WallClock(secondsSince1970: 0))) == 0)
    }
}
