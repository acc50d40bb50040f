// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who belongs to the cluster: invitations, admissions, removals, and what none of them may do.

import Consensus
import CtrlExec
import DispatcherState
import Testing

@Suite("Members in the state")
struct MembershipTests {
    private let hash = [UInt8](repeating: 7, count: 32)
    private let host = Principal.joiningHost(address: "192.0.2.9")

    private func id(_ name: String) throws -> MemberID { try #require(MemberID(name)) }
    private func configuration(_ voters: [String], _ learners: [String] = []) throws -> Configuration {
        try #require(Configuration(voters: voters.map { try id($0) }, learners: learners.map { try id($0) }))
    }
    private func join(_ name: String, key: UInt8 = 1, hash: [UInt8]? = nil) throws -> Command {
        .admit(
            JoinRequest(
                member: try id(name), secretHash: hash ?? self.hash, publicKey: [key], signingRequest: SigningRequest(der: [key])))
    }

    private func log(_ members: [String] = ["a"]) throws -> Log {
        var log = try Log(members: members)
        log.apply(.raiseVersion(.second), by: .leader)
        log.apply(.raiseVersion(.third), by: .leader)
        return log
    }

    /// Invited, let in, with its certificate.
    private func admit(_ name: String, _ port: Int, in log: inout Log) throws {
        _ = log.outcome(.invite(try id(name), address: "192.0.2.1:\(port)", secretHash: hash))
        _ = log.outcome(try join(name), by: host)
        try log.sign(certificate: [0x30, 9])
    }

    @Test("one is invited, let in by its token, learns, votes, and is removed; its id is not given again")
    func wholeLife() throws {
        var log = try log()
        #expect(
            log.outcome(.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash))
                == .invited(try id("b"), until: ClusterTime(milliseconds: 601_000)))
        guard case .underway = log.outcome(try join("b"), by: host) else { throw Surprise("b was not let in") }
        guard case .memberAdmitted(_, let serial)? = try log.sign(certificate: [0x30, 9]).settled.first?.outcome else {
            throw Surprise("b has no certificate")
        }
        let member = try #require(log.state.member(try id("b")))
        #expect(member.phase == .joining && member.certificate == [0x30, 9] && member.certificateSerial == serial)
        #expect(log.state.invitations.isEmpty)
        log.apply(.reconfigure(try configuration(["a"], ["b"])), by: .leader)
        #expect(log.state.member(try id("b"))?.phase == .joining)
        log.apply(.reconfigure(try configuration(["a", "b"])), by: .leader)
        #expect(log.state.member(try id("b"))?.phase == .staying)
        #expect(log.outcome(.removeMember(try id("b"))) == .memberRemoved(try id("b")))
        #expect(log.state.member(try id("b"))?.phase == .leaving)
        log.apply(.reconfigure(try configuration(["a"])), by: .leader)
        #expect(log.state.member(try id("b")) == nil)
        #expect(log.state.formerMember(try id("b"))?.index == log.state.appliedIndex)
        #expect(
            log.outcome(.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash)) == .refused(.memberNameTaken(try id("b"))))
    }

    @Test("a token lets one key in: the same key again gets the same, another is turned away, before and after the certificate")
    func once() throws {
        var log = try log()
        log.apply(.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash))
        let first = log.outcome(try join("b"), by: host)
        #expect(log.outcome(try join("b"), by: host) == first)
        #expect(log.outcome(try join("b", key: 2), by: host) == .refused(.invitationUsed(try id("b"))))
        try log.sign()
        let serial = try #require(log.state.member(try id("b"))?.certificateSerial)
        #expect(log.outcome(try join("b"), by: host) == .memberAdmitted(try id("b"), serial))
        #expect(log.outcome(try join("b", key: 2), by: host) == .refused(.invitationUnknown))
    }

    @Test("a wrong secret, a token that is too old, and one that was withdrawn let nobody in, and nobody is told which it was")
    func unknown() throws {
        var log = try log()
        log.apply(.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash))
        #expect(log.outcome(try join("b", hash: [UInt8](repeating: 8, count: 32)), by: host) == .refused(.invitationUnknown))
        log.milliseconds += 599_999
        #expect(log.state.validate(log.proposal(try join("b"), by: host, .client("x"))) == nil)
        log.milliseconds += 1
        #expect(log.outcome(try join("b"), by: host) == .refused(.invitationUnknown))
        #expect(log.state.invitations.isEmpty)
        log.apply(.invite(try id("c"), address: "192.0.2.1:7447", secretHash: hash))
        #expect(log.outcome(.removeMember(try id("c"))) == .memberRemoved(try id("c")))
        #expect(log.outcome(try join("c"), by: host) == .refused(.invitationUnknown))
        // Withdrawn is not removed: the name may be used.
        guard case .invited = log.outcome(.invite(try id("c"), address: "192.0.2.1:7447", secretHash: hash)) else {
            throw Surprise("the name of one that never came is not free")
        }
    }

    @Test("a certificate that cannot be signed uses the token up")
    func unsigned() throws {
        var log = try log()
        log.apply(.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash))
        log.apply(try join("b"), by: host)
        let obligation = try #require(log.state.obligations.first)
        let applied = log.apply(.signingFailed(obligation.id, obligation.serial, reason: "no"), by: .leader)
        #expect(applied.settled.first?.outcome == .refused(.signingFailed("no")))
        #expect(try log.state.invitations.isEmpty && log.state.member(try id("b")) == nil)
    }

    @Test("five members at most, those who are invited among them; one that leaves makes room")
    func five() throws {
        var log = try log()
        for number in 1...4 { try admit("m\(number)", 8_000 + number, in: &log) }
        guard case .refused(.tooMany) = log.outcome(.invite(try id("x"), address: "192.0.2.1:7446", secretHash: hash)) else {
            throw Surprise("a sixth was invited")
        }
        log.apply(.removeMember(try id("m1")))
        guard case .invited = log.outcome(.invite(try id("x"), address: "192.0.2.1:7446", secretHash: hash)) else {
            throw Surprise("there is room for a fifth")
        }
    }

    @Test("the last member that votes is not removed, and neither is one that nobody knows")
    func last() throws {
        var log = try log(["a", "b"])
        #expect(log.outcome(.removeMember(try id("z"))) == .refused(.unknownMember(try id("z"))))
        log.apply(.removeMember(try id("a")))
        guard case .refused(.membershipRefused) = log.outcome(.removeMember(try id("b"))) else { throw Surprise("nobody is left") }
        // Asked again, the same happens again.
        #expect(log.outcome(.removeMember(try id("a"))) == .memberRemoved(try id("a")))
    }

    @Test("addresses are HOST:PORT, and of one member each")
    func addresses() throws {
        var log = try log()
        try admit("b", 8_001, in: &log)
        for address in ["", "host", ":1", "host:", "host:0", "host:70000", "ho st:1", "a,b:1"] {
            guard case .refused(.invalid) = log.outcome(.setMemberAddress(try id("b"), address)) else {
                throw Surprise("'\(address)' was taken for an address")
            }
        }
        guard case .refused(.invalid) = log.outcome(.setMemberAddress(try id("b"), "127.0.0.1:7446")) else {
            throw Surprise("two members have one address")
        }
        #expect(log.outcome(.setMemberAddress(try id("b"), "[2001:db8::1]:7446")) == .memberMoved(try id("b")))
        #expect(log.state.member(try id("b"))?.address == "[2001:db8::1]:7446")
    }

    @Test("who may: operators invite and remove, hosts join, the leader alone says who votes")
    func rights() throws {
        var log = try log()
        let invite = Command.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash)
        for principal in [Principal.leader, host, Log.host] { #expect(log.outcome(invite, by: principal) == .refused(.notAllowed)) }
        for principal in [Principal.leader, Log.root, Log.host] {
            #expect(log.outcome(try join("b"), by: principal) == .refused(.notAllowed))
        }
        for principal in [Log.root, host] {
            #expect(log.outcome(.reconfigure(try configuration(["a"])), by: principal) == .refused(.notAllowed))
        }
    }

    @Test("under older rules nothing of it changes anything")
    func olderRules() throws {
        var log = try Log()
        let before = log.state.image().members
        #expect(
            log.outcome(.invite(try id("b"), address: "192.0.2.1:7446", secretHash: hash)) == .refused(.rulesTooOld(.third)))
        #expect(log.outcome(.reconfigure(try configuration(["b"])), by: .leader) == .refused(.rulesTooOld(.third)))
        #expect(log.state.image().members == before && log.state.voters.map(\.name) == ["a"])
    }

    @Test("nobody waits for one that was removed to hold a certificate, and it holds none")
    func holders() throws {
        var log = try log(["a", "b"])
        let current = try #require(log.state.currentIdentity).serial
        #expect(log.state.holds(try id("b"), current))
        log.apply(.removeMember(try id("b")))
        #expect(log.state.holds(try id("b"), current))
        log.apply(.reconfigure(try configuration(["a"])), by: .leader)
        #expect(!log.state.holds(try id("b"), current))
        #expect(log.state.membersWithout(current).isEmpty)
        try admit("c", 8_001, in: &log)
        #expect(log.state.membersWithout(current) == [try id("c")])
        #expect(log.outcome(.memberHolds(try id("c"), current), by: .leader) == .stepped)
        #expect(log.state.membersWithout(current).isEmpty)
    }
}
