// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is said about a cluster that is not well: one test for each line, and none where all is well.

import Consensus
import CtrlExec
import DispatcherState
import Testing
import Wire

@testable import CoordinatorCore

private let year: Int64 = 365 * 86_400
private let now = WallClock(secondsSince1970: 1_800_000_000)

/// Three members in good health, until a test says otherwise.
private struct Clinic {
    var state = DispatcherState(genesis: SmallCluster.genesis(["a", "b", "c"].map { must(MemberID($0)) }))
    var reports: [MemberReport] = []
    var authorities = [
        ClusterView.Authority(name: "the fleet CA", notAfter: WallClock(secondsSince1970: now.secondsSince1970 + 9 * year))
    ]
    private var index: UInt64 = 0

    init() {
        for name in ["a", "b", "c"] { reports.append(Clinic.report(name)) }
    }

    static func report(_ name: String) -> MemberReport {
        let facts = MemberFacts(
            disk: MemberFacts.DiskSpace(freeBytes: 50 << 30, totalBytes: 100 << 30),
            certificateNotAfter: WallClock(secondsSince1970: now.secondsSince1970 + 9 * year), projection: .following)
        return MemberReport(
            member: must(MemberID(name)), version: "0.1.0", role: name == "a" ? .leader : .follower, term: Term(3), leader: MemberID("a"),
            lastLogIndex: LogIndex(100), commitIndex: LogIndex(100), appliedIndex: LogIndex(100), stateHash: 7, isReady: true,
            leaderContactMilliseconds: 20,
            peers: name == "a"
                ? ["b", "c"].map { PeerContact(member: must(MemberID($0)), match: LogIndex(100), lastAnswerMilliseconds: 30) } : [],
            calendar: now, facts: facts)
    }

    mutating func apply(_ command: Command, by principal: Principal = .leader) -> Applied {
        index += 1
        return state.apply(
            Proposal(
                command: command, principal: principal, request: principal == .leader ? nil : .client("r\(index)"),
                time: ClusterTime(milliseconds: index), calendar: now), at: LogIndex(index), term: Term(3))
    }

    /// Another identity, made and not yet held by anybody.
    mutating func prepareIdentity(overlapMilliseconds: UInt64 = 0, notAfter: Int64 = now.secondsSince1970 + 2 * year) -> SerialNumber {
        _ = apply(
            .beginRotation(overlapMilliseconds: overlapMilliseconds, isCompromised: false, replacing: nil), by: .localUser(uid: 0))
        let obligation = must(state.obligations.first)
        _ = apply(
            .recordIdentity(
                obligation.id, obligation.serial, certificate: [1], key: SealedKey(name: "k", keyVersion: 1, bytes: [1]),
                notAfter: WallClock(secondsSince1970: notAfter)))
        return obligation.serial
    }

    mutating func pair(_ name: String) {
        _ = apply(.openPairing(milliseconds: .max), by: .localUser(uid: 0))
        let reqid = Reqid(index)
        _ = apply(
            .submitPairing(
                PairingSubmission(
                    reqid: reqid, hostname: must(AgentName(name)), signingRequest: SigningRequest(der: [9]), nonce: "0", code: "123456",
                    sourceAddress: "192.0.2.7", suggested: Reachability())), by: .pairingHost(address: "192.0.2.7"))
        _ = apply(.approvePairing(reqid, Reachability()), by: .localUser(uid: 0))
        let obligation = must(state.obligations.first)
        _ = apply(
            .recordCertificate(
                obligation.id, obligation.serial, certificate: [1], notAfter: WallClock(secondsSince1970: now.secondsSince1970 + year)))
    }

    var view: ClusterView { ClusterView(state: state, reports: reports, authorities: authorities, now: now) }
    /// `warning c: text`
    var lines: [String] { view.advice.map { "\($0.level) \($0.member?.name ?? "-"): \($0.text)" } }
}

@Suite("Advice on a cluster") struct ClusterAdviceTests {
    private var clinic = Clinic()

    @Test("that is well is none")
    func well() {
        #expect(clinic.lines == [])
        #expect(clinic.view.failuresSurvived == 1)
        #expect(clinic.view.leader == MemberID("a"))
    }

    @Test("one member of which is silent says since when, and what to do")
    mutating func silent() {
        clinic.reports.removeLast()
        clinic.reports[0].peers[1].lastAnswerMilliseconds = 42_000
        #expect(
            clinic.lines == [
                "warning c: member c (127.0.0.1:7448) does not answer, last heard of 42 s ago: start ced there, or see why the address is "
                    + "not reached; if its disk is lost, it must not come back under its old id"
            ])
        #expect(clinic.view.failuresSurvived == 0)
        clinic.reports[0].peers[1].lastAnswerMilliseconds = nil
        #expect(clinic.lines.first?.contains("does not answer: start ced there") == true)
    }

    @Test("without a quorum says what waits, and whom to start")
    mutating func noQuorum() {
        clinic.reports = [clinic.reports[1]]
        clinic.reports[0].leader = nil
        #expect(
            clinic.lines.first
                == "alarm -: 1 of 3 members answers and 2 are needed: pairing, rotation and all else that must happen once waits; start a "
                + "and c")
        #expect(clinic.lines.count == 3)
    }

    @Test("without a leader says where to look")
    mutating func noLeader() {
        clinic.reports[0].role = .candidate
        #expect(clinic.lines.count == 1)
        #expect(clinic.lines.first?.hasPrefix("alarm -: no member leads; an election takes less than a second") == true)
    }

    @Test("with a deposed leader that does not know it yet takes the newer term's for the leader")
    mutating func deposed() {
        clinic.reports[1].role = .leader
        clinic.reports[1].term = Term(4)
        #expect(clinic.view.leader == MemberID("b"))
    }

    @Test("a member of which answers but hears nothing from the leader names both", arguments: [42_000, nil] as [UInt64?])
    mutating func oneWay(silence: UInt64?) {
        clinic.reports[1].leaderContactMilliseconds = silence
        clinic.reports[1].isReady = false
        let since = silence == nil ? "since it started" : "for 42 s"
        #expect(
            clinic.lines == [
                "warning b: member b has not heard from the leader a \(since), though it answers: what a sends to 127.0.0.1:7447 is lost "
                    + "on the way (a firewall that lets one direction through?)"
            ])
    }

    @Test("the rules of which are held back says by whom, and says nothing once they may rise")
    mutating func heldBack() {
        for place in clinic.reports.indices { clinic.reports[place].knows = .third }
        // They rise in a moment.
        #expect(clinic.lines == [])
        clinic.reports[2].knows = .first
        #expect(
            clinic.lines == [
                "note -: the cluster follows version 1 of its rules and could follow 2: member c follows version 1 at most (an older release, "
                    + "or hold_version in its ced.conf)"
            ])
        // A release that has never heard of this.
        clinic.reports[2].knows = nil
        #expect(clinic.lines.last?.hasSuffix("could follow 2: member c does not say what it can follow, as older releases do not") == true)
        clinic.reports.removeLast()
        #expect(clinic.lines.last?.hasSuffix("could follow 2: member c does not answer, and every member must say that it can") == true)
        // Where nobody could follow more, nothing is held back.
        for place in clinic.reports.indices { clinic.reports[place].knows = .first }
        #expect(!clinic.lines.contains { $0.contains("could follow") })
    }

    @Test("a member of which still catches up says to wait")
    mutating func catchingUp() {
        clinic.reports[1].isReady = false
        #expect(clinic.lines == ["note b: member b has not caught up since it started, and serves nothing until it has: wait"])
    }

    @Test("a member of which is far behind says how far")
    mutating func lag() {
        clinic.reports[0].lastLogIndex = LogIndex(2_000)
        clinic.reports[0].peers[1].match = LogIndex(2_000)
        #expect(clinic.view.members.map(\.lag) == [0, 1_900, 0])
        #expect(clinic.lines.filter { $0.hasPrefix("warning b: member b is 1900 entries behind") }.count == 1)
        #expect(!clinic.lines.contains { $0.hasPrefix("warning c") })
    }

    @Test("a member of which has little room says how little")
    mutating func disk() {
        clinic.reports[2].facts.disk = MemberFacts.DiskSpace(freeBytes: 312 << 20, totalBytes: 100 << 30)
        #expect(
            clinic.lines == [
                "warning c: member c has 312 MiB left on the disk with its state directory: make room; one that cannot write its journal "
                    + "stops"
            ])
    }

    @Test("a member's certificate in which nears its end says when", arguments: [(20, "ends in 20 days"), (-3, "ended 3 days ago")])
    mutating func memberCertificate(days: Int64, said: String) {
        clinic.reports[1].facts.certificateNotAfter = WallClock(secondsSince1970: now.secondsSince1970 + days * 86_400)
        #expect(clinic.lines.count == 1)
        #expect(clinic.lines.first?.hasPrefix("warning b: member b's own certificate \(said): ") == true)
    }

    @Test("whose CA nears its end says so")
    mutating func authority() {
        clinic.authorities[0] = ClusterView.Authority(
            name: "the fleet CA", notAfter: WallClock(secondsSince1970: now.secondsSince1970 + 100 * 86_400))
        #expect(clinic.lines.count == 1)
        #expect(clinic.lines.first?.hasPrefix("warning -: the fleet CA ends in 100 days, and no certificate outlives its CA") == true)
    }

    @Test("whose dispatcher certificate nears its end says to replace it, or that this is under way")
    mutating func identity() {
        let serial = clinic.prepareIdentity(notAfter: now.secondsSince1970 + 20 * 86_400)
        for name in ["a", "b", "c"] { _ = clinic.apply(.memberHolds(must(MemberID(name)), serial)) }
        _ = clinic.apply(.activate(serial))
        #expect(clinic.lines.contains("warning -: the dispatcher's certificate ends in 20 days: replace it: ced rotate-cert"))
        _ = clinic.prepareIdentity()
        #expect(
            clinic.lines.contains(
                "warning -: the dispatcher's certificate ends in 20 days: its replacement is under way: ced serial-status"))
    }

    @Test("a member of which lacks an identity says why that may be")
    mutating func lacks() {
        let serial = clinic.prepareIdentity()
        for name in ["a", "b"] { _ = clinic.apply(.memberHolds(must(MemberID(name)), serial)) }
        #expect(
            clinic.lines == [
                "note c: member c does not hold the dispatcher's certificate \(serial.hexadecimal): if that stays so, its log says why "
                    + "(ACTION=identity-unusable)"
            ])
        clinic.reports.removeLast()
        #expect(
            clinic.lines.contains(
                "note c: member c does not hold the dispatcher's certificate \(serial.hexadecimal): it gets it when it is back"))
    }

    @Test("in which a retirement waits says for whom, once the overlap is over")
    mutating func retirement() throws {
        clinic.pair("web-1")
        let old = try #require(clinic.state.currentIdentity?.serial)
        let serial = clinic.prepareIdentity()
        for name in ["a", "b"] { _ = clinic.apply(.memberHolds(must(MemberID(name)), serial)) }
        _ = clinic.apply(.activate(serial))
        #expect(
            clinic.lines.contains(
                "note -: the end of the dispatcher's certificate \(old.hexadecimal) waits for member c and 1 agent: bring them back, or "
                    + "unpair agents that are gone (ced serial-status names them)"))
    }

    @Test("with agents that trust nothing any more says to pair them again")
    mutating func stale() throws {
        clinic.pair("web-1")
        let serial = clinic.prepareIdentity()
        let first = try #require(clinic.state.identities.first)
        #expect(first.serial != serial)
        let later = ClusterView(
            state: clinic.state, reports: clinic.reports, authorities: clinic.authorities,
            now: WallClock(secondsSince1970: first.notAfter.secondsSince1970))
        #expect(
            later.advice.contains {
                $0.level == .warning
                    && $0.text == "1 agent trusts no certificate that can be presented any more: pair it again (ced serial-status names it)"
            })
    }

    @Test("one clock of which is wrong says which, and how far")
    mutating func clock() {
        clinic.reports[2].calendar = WallClock(secondsSince1970: now.secondsSince1970 - 42)
        #expect(
            clinic.lines == [
                "warning c: member c's clock is 42 s behind the others': set it (chronyc makestep, timedatectl set-time); until then it "
                    + "signs nothing and hands leadership on"
            ])
        clinic.reports[2].calendar = WallClock(secondsSince1970: now.secondsSince1970 + 9)
        #expect(clinic.lines == [])
        clinic.reports[2].calendar = WallClock(secondsSince1970: .max)
        #expect(clinic.lines.count == 1 && clinic.lines[0].contains("ahead of"))
    }

    @Test("two clocks of which differ does not guess which is right")
    mutating func twoClocks() {
        clinic.reports.removeLast()
        clinic.reports[1].calendar = WallClock(secondsSince1970: now.secondsSince1970 - 42)
        #expect(
            clinic.lines.contains(
                "warning -: the clocks of a and b are 42 s apart: set the wrong one (chronyc makestep, timedatectl set-time)"))
    }

    @Test("whose states differ at the same entry is an alarm; at different entries nothing can be said")
    mutating func differing() {
        clinic.reports[1].stateHash = 8
        #expect(
            clinic.lines == [
                "alarm -: a, b and c have applied the same 100 entries and differ: this must never happen; change nothing more, keep a copy "
                    + "of their state directories, and report it"
            ])
        clinic.reports[1].appliedIndex = LogIndex(99)
        #expect(clinic.lines == [])
    }

    @Test("of two versions names who has which")
    mutating func versions() {
        clinic.reports[2].version = "0.2.0"
        #expect(clinic.lines == ["note -: versions differ (a 0.1.0, b 0.1.0, c 0.2.0): bring all members to the same one"])
    }

    @Test("a member of which cannot keep its files says why, and whose edits it has kept aside")
    mutating func files() {
        clinic.reports[0].facts.projection = .failing("/etc/ctrl-exec does not exist")
        clinic.reports[1].facts.keptAside = 2
        clinic.reports[1].facts.keptAsideExample = "/etc/ctrl-exec/ca.crt.changed-by-hand-20270115T080000Z"
        #expect(
            clinic.lines == [
                "warning a: member a does not keep its files up to date: /etc/ctrl-exec does not exist",
                "note b: member b keeps 2 files that somebody had changed by hand, the last "
                    + "/etc/ctrl-exec/ca.crt.changed-by-hand-20270115T080000Z: edits there have no effect; look at it, then remove it",
            ])
    }

    @Test("is in the order in which it hurts")
    mutating func order() {
        clinic.reports[2].version = "0.2.0"
        clinic.reports[0].facts.disk = MemberFacts.DiskSpace(freeBytes: 1, totalBytes: 2)
        clinic.reports[1].stateHash = 8
        #expect(clinic.view.advice.map(\.level) == [.alarm, .warning, .note])
    }

    @Test("of one member needs no others")
    mutating func single() {
        clinic.state = DispatcherState(genesis: SmallCluster.genesis([must(MemberID("a"))]))
        clinic.reports = [Clinic.report("a")]
        #expect(clinic.lines == [] && clinic.view.quorum == 1 && clinic.view.failuresSurvived == 0)
    }
}

@Test("spans and sizes have few digits and the unit that fits")
func quantities() {
    #expect(
        [0, 119, 120, 7_199, 7_200, 172_800].map { Quantity.span(seconds: $0) } == ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"])
    let sizes: [UInt64] = [0, 999, 1_024, 1_536, 10 << 20, 312 << 20, 5 << 30, 1_000 << 30, .max]
    #expect(
        sizes.map { Quantity.size(bytes: $0) }
            == ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "10 MiB", "312 MiB", "5.0 GiB", "1000 GiB", "1.5 EiB"])
}
