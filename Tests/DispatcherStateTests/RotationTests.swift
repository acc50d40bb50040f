// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Rotation as the state has it: what is to be done next, for whom, and what is turned away.

import Consensus
import CtrlExec
import DispatcherState
import Testing

@Suite struct RotationTests {
    private static let month: UInt64 = 30 * 86_400_000

    /// A paired agent that speaks this dialect.
    private func prepare(_ dialect: AgentDialect?, members: [String] = ["a"]) throws -> (log: Log, agent: AgentKey) {
        var log = try Log(members: members)
        try log.pair(1, "web-1")
        let agent = try #require(log.state.agents.first?.key)
        if let dialect { log.apply(.dialectLearned(agent, dialect), by: .leader) }
        return (log, agent)
    }

    private func step(_ log: Log, after milliseconds: UInt64 = 0) throws -> AgentStep? {
        log.state.step(for: try #require(log.state.agents.first), at: ClusterTime(milliseconds: log.milliseconds + milliseconds))
    }

    @Test("beginning reserves a serial, and the record prepares the identity")
    func begins() throws {
        var (log, _) = try prepare(.endpoint)
        let old = try #require(log.state.currentIdentity?.serial)
        let outcome = log.outcome(.beginRotation(overlapMilliseconds: 5, isCompromised: false, replacing: nil), .client("begin"))
        guard case .underway(let id) = outcome else { throw Surprise("\(outcome)") }
        let serial = try log.makeIdentity()
        #expect(log.state.obligations.isEmpty)
        #expect(log.state.identities.map(\.phase) == [.current, .prepared])
        #expect(log.state.currentIdentity?.serial == old && log.state.newestIdentity?.serial == serial)
        // The same request again finds what came of it.
        let again = log.outcome(.beginRotation(overlapMilliseconds: 5, isCompromised: false, replacing: nil), .client("begin"))
        #expect(again == .rotationBegun(serial))
        #expect(log.state.obligation(id) == nil)
        #expect(
            log.outcome(.beginRotation(overlapMilliseconds: 5, isCompromised: false, replacing: nil)) == .refused(.rotationUnderway))
    }

    @Test("a later leader reserves anew, and what the first one made is turned away")
    func laterLeader() throws {
        var (log, _) = try prepare(.endpoint)
        log.apply(.beginRotation(overlapMilliseconds: 5, isCompromised: false, replacing: nil))
        let first = try #require(log.state.obligations.first)
        log.term = Term(2)
        log.apply(.reserveAnew(first.id), by: .leader)
        let late = log.outcome(
            .recordIdentity(
                first.id, first.serial, certificate: [1], key: Log.sealed, notAfter: WallClock(secondsSince1970: 2_000_000_000)),
            by: .leader)
        #expect(late == .refused(.reservationGone))
        let serial = try log.makeIdentity()
        #expect(serial != first.serial)
        #expect(log.state.identities.map(\.serial).contains(first.serial) == false)
    }

    @Test("a certificate cannot be recorded in an identity's place, nor an identity in a certificate's")
    func otherPurpose() throws {
        var (log, _) = try prepare(.endpoint)
        log.apply(.beginRotation(overlapMilliseconds: 5, isCompromised: false, replacing: nil))
        let identity = try #require(log.state.obligations.first)
        let end = WallClock(secondsSince1970: 2_000_000_000)
        #expect(
            log.outcome(.recordCertificate(identity.id, identity.serial, certificate: [1], notAfter: end), by: .leader)
                == .refused(.reservationGone))
        log.apply(.issueOperator(try operatorName("ada"), signingRequest: SigningRequest(der: [1])))
        let person = try #require(log.state.obligations.last)
        #expect(
            log.outcome(.recordIdentity(person.id, person.serial, certificate: [1], key: Log.sealed, notAfter: end), by: .leader)
                == .refused(.reservationGone))
    }

    @Test("the whole way of an agent that can trust several serials", arguments: [AgentDialect.endpoint, .script])
    func wholeWay(_ dialect: AgentDialect) throws {
        var (log, agent) = try prepare(dialect)
        let old = try #require(log.state.currentIdentity?.serial)
        #expect(try step(log) == nil)
        log.apply(.beginRotation(overlapMilliseconds: Self.month, isCompromised: false, replacing: nil))
        let new = try log.makeIdentity()
        #expect(try step(log) == .announce(new))
        #expect(log.outcome(.activate(new), by: .leader) == .refused(.stepGone))
        let a = try #require(MemberID("a"))
        log.apply(.memberHolds(a, new), by: .leader)
        #expect(log.outcome(.activate(new), by: .leader) == .stepped)
        #expect(log.outcome(.activate(new), by: .leader) == .refused(.stepGone))
        #expect(log.state.identities.map(\.phase) == [.previous, .current] && log.state.rotation == nil)
        // It has not confirmed the new one: it is shown the old one and told the new one.
        #expect(log.state.agents.first.map { log.state.presentation(to: $0) } == [old, new])
        #expect(try step(log) == .announce(new))
        log.apply(.identityConfirmed(agent, new, refused: []), by: .leader)
        #expect(log.state.agents.first.map { log.state.presentation(to: $0) } == [new, old])
        #expect(try step(log) == nil)
        #expect(try step(log, after: Self.month) == .remove(old, over: new))
        #expect(log.outcome(.retire(old), by: .leader) == .refused(.stepGone))
        log.milliseconds += Self.month
        #expect(log.outcome(.retire(old), by: .leader) == .refused(.stepGone))
        log.apply(.identityRemoved(agent, old), by: .leader)
        #expect(try step(log) == nil)
        #expect(log.outcome(.retire(old), by: .leader) == .stepped)
        #expect(log.state.identities.map(\.phase) == [.retired, .current])
        #expect(log.state.agents.first?.confirmedIdentities == [new])
    }

    @Test("an agent that keeps one serial is told last, and then has nothing to forget")
    func single() throws {
        var (log, agent) = try prepare(.single, members: ["a", "b", "c"])
        let old = try #require(log.state.currentIdentity)
        log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil))
        let new = try log.makeIdentity()
        #expect(try step(log) == nil)
        for name in ["a", "b"] { log.apply(.memberHolds(try #require(MemberID(name)), new), by: .leader) }
        log.apply(.activate(new), by: .leader)
        #expect(log.state.currentIdentity?.serial == new)
        // The third member could not show it anything any more.
        #expect(try step(log) == nil)
        log.apply(.memberHolds(try #require(MemberID("c")), new), by: .leader)
        #expect(try step(log) == .announce(new))
        log.apply(.identityConfirmed(agent, new, refused: [old.serial]), by: .leader)
        #expect(log.state.agents.first?.confirmedIdentities == [new])
        #expect(try step(log) == nil)
        #expect(log.outcome(.retire(old.serial), by: .leader) == .stepped)
    }

    @Test("nothing is taken from an agent while some member lacks the successor")
    func waitsForMembers() throws {
        var (log, agent) = try prepare(.endpoint, members: ["a", "b", "c"])
        let old = try #require(log.state.currentIdentity)
        log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: true, replacing: nil))
        let new = try log.makeIdentity()
        for name in ["a", "b"] { log.apply(.memberHolds(try #require(MemberID(name)), new), by: .leader) }
        log.apply(.activate(new), by: .leader)
        log.apply(.identityConfirmed(agent, new, refused: []), by: .leader)
        #expect(try step(log) == nil)
        let previous = try #require(log.state.identity(old.serial))
        #expect(log.state.retirementWait(of: previous)?.members == [try #require(MemberID("c"))])
        #expect(log.state.retirementWait(of: previous)?.agents == [agent.name])
        log.apply(.memberHolds(try #require(MemberID("c")), new), by: .leader)
        #expect(try step(log) == .remove(old.serial, over: new))
    }

    @Test("an agent that was off through two rotations is told the newest, over the oldest")
    func twoRotations() throws {
        var (log, agent) = try prepare(.endpoint)
        let first = try #require(log.state.currentIdentity?.serial)
        let a = try #require(MemberID("a"))
        var made: [SerialNumber] = []
        for _ in 0..<2 {
            log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil))
            made.append(try log.makeIdentity())
            log.apply(.memberHolds(a, made[made.count - 1]), by: .leader)
            log.apply(.activate(made[made.count - 1]), by: .leader)
        }
        #expect(log.state.agents.first.map { log.state.presentation(to: $0) } == [first, made[1], made[0]])
        #expect(try step(log) == .announce(made[1]))
        log.apply(.identityConfirmed(agent, made[1], refused: []), by: .leader)
        #expect(try step(log) == .remove(first, over: made[1]))
        log.apply(.identityRemoved(agent, first), by: .leader)
        #expect(try step(log) == .remove(made[0], over: made[1]))
    }

    @Test("an aborted identity is taken back from everybody who may have heard of it")
    func aborts() throws {
        var (log, agent) = try prepare(.endpoint)
        let old = try #require(log.state.currentIdentity?.serial)
        #expect(log.outcome(.abortRotation) == .refused(.noRotation))
        log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil))
        let new = try log.makeIdentity()
        #expect(log.outcome(.abortRotation) == .rotationAborted)
        #expect(log.state.identities.map(\.phase) == [.current, .aborting])
        // Whether it heard is not known.
        #expect(try step(log) == .remove(new, over: old))
        #expect(log.outcome(.retire(new), by: .leader) == .refused(.stepGone))
        log.apply(.identityRemoved(agent, new), by: .leader)
        #expect(log.outcome(.retire(new), by: .leader) == .stepped)
        #expect(log.state.identities.map(\.phase) == [.current, .aborted])
        // Late news of it is believed, and undone.
        log.apply(.identityConfirmed(agent, new, refused: []), by: .leader)
        #expect(try step(log) == .remove(new, over: old))
    }

    @Test("an abort before there is a certificate ends the request")
    func abortsEarly() throws {
        var (log, _) = try prepare(.endpoint)
        let begin = Command.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil)
        log.apply(begin, .client("begin"))
        let applied = log.apply(.abortRotation)
        #expect(applied.settled.map(\.outcome) == [.refused(.rotationAborted)])
        #expect(log.outcome(begin, .client("begin")) == .refused(.rotationAborted))
        #expect(log.state.obligations.isEmpty && log.state.rotation == nil)
    }

    @Test("what was learned of an agent says nothing about the next one under its name")
    func pairedAgain() throws {
        var (log, agent) = try prepare(.endpoint)
        try log.pair(2, "web-1")
        let serial = try #require(log.state.currentIdentity?.serial)
        for command in [
            Command.identityConfirmed(agent, serial, refused: []), .identityRemoved(agent, serial), .dialectLearned(agent, .single),
        ] {
            #expect(log.outcome(command, by: .leader) == .refused(.stepGone))
        }
        #expect(log.state.agents.first?.dialect == nil)
    }

    @Test("an agent that turns away what it confirmed is told again")
    func restoredFromBackup() throws {
        var (log, agent) = try prepare(.endpoint)
        let old = try #require(log.state.currentIdentity?.serial)
        log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil))
        let new = try log.makeIdentity()
        log.apply(.identityConfirmed(agent, new, refused: []), by: .leader)
        log.apply(.identityConfirmed(agent, old, refused: [new]), by: .leader)
        #expect(log.state.agents.first?.confirmedIdentities == [old])
        #expect(try step(log) == .announce(new))
    }

    @Test("at most eight identities are in use")
    func limit() throws {
        var (log, _) = try prepare(.endpoint)
        let a = try #require(MemberID("a"))
        for _ in 1..<8 {
            log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil))
            let new = try log.makeIdentity()
            log.apply(.memberHolds(a, new), by: .leader)
            log.apply(.activate(new), by: .leader)
        }
        #expect(log.outcome(.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: nil)) == .refused(.tooManyIdentities))
    }

    @Test("a leader begins for the certificate that nears its end, and once")
    func automatic() throws {
        var (log, _) = try prepare(.endpoint)
        let old = try #require(log.state.currentIdentity?.serial)
        let begin = Command.beginRotation(overlapMilliseconds: 0, isCompromised: false, replacing: old)
        #expect(log.outcome(begin) == .refused(.notAllowed))
        log.apply(begin, by: .leader)
        let new = try log.makeIdentity()
        log.apply(.memberHolds(try #require(MemberID("a")), new), by: .leader)
        log.apply(.activate(new), by: .leader)
        #expect(log.outcome(begin, by: .leader) == .refused(.stepGone))
    }

    @Test(
        "a release says how it wants to be told",
        arguments: [
            ("0.8.4", AgentDialect.single), ("0.8.14", .single), ("0.9.0", .script), ("0.10.1", .script), ("0.11.0", .script),
            ("0.11.1", .endpoint), ("0.12.3", .endpoint), ("1.0", .endpoint), ("cea-0.1.0", .endpoint),
        ])
    func releases(_ version: String, _ dialect: AgentDialect) { #expect(AgentDialect(version: version) == dialect) }

    @Test("a source tree says no release", arguments: ["UNINSTALLED", "", "9", "x.y.z"])
    func noRelease(_ version: String) { #expect(AgentDialect(version: version) == nil) }
}

extension Log {
    static let sealed = SealedKey(name: "dispatcher", keyVersion: 1, bytes: [1, 2])

    /// What the leader of this term does for the oldest obligation: makes a key, signs and records.
    mutating func makeIdentity() throws -> SerialNumber {
        let obligation = try #require(state.obligations.first)
        apply(
            .recordIdentity(
                obligation.id, obligation.serial, certificate: [0x30, 2], key: Log.sealed,
                notAfter: WallClock(secondsSince1970: 2_100_000_000)), by: .leader)
        return obligation.serial
    }
}
