// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The files that follow from the state: their names, their fields, and that what follows an entry is all that the entry changed.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

private let now = WallClock(secondsSince1970: 1_800_000_000)

extension DispatcherState {
    fileprivate func text(_ root: ProjectedPath.Root, _ name: String) -> String? {
        projection(now: now).first { $0.path == ProjectedPath(root, name) }.map { String(decoding: $0.content, as: UTF8.self) }
    }
    fileprivate var names: [String] { projection(now: now).map(\.path.description) }
}

@Suite struct ProjectionTests {
    private static let month: UInt64 = 30 * 86_400_000

    @Test("a cluster that was just made has the CA's certificate and the dispatcher's, for everybody to read")
    func beginning() throws {
        let log = try Log()
        #expect(log.state.names == ["etc/ca.crt", "etc/dispatcher.crt"])
        #expect(log.state.projection(now: now).allSatisfy { $0.mode == 0o644 })
        #expect(log.state.text(.configuration, "ca.crt") == "-----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n")
        #expect(log.state.text(.configuration, "dispatcher.crt") == "-----BEGIN CERTIFICATE-----\nBw==\n-----END CERTIFICATE-----\n")
    }

    @Test("no private key is among the files, sealed or not")
    func noKeys() throws {
        var log = try Log()
        try log.pair(1, "web-1")
        let sealed = log.state.genesis.fleetCA.key.bytes
        for file in log.state.projection(now: now) {
            #expect(!file.path.name.hasSuffix(".key"))
            #expect(!String(decoding: file.content, as: UTF8.self).contains("PRIVATE"))
            #expect(file.content != sealed)
        }
    }

    @Test("a request in the queue has ctrl-exec's fields, and its file goes with the decision")
    func pairingQueue() throws {
        var log = try Log()
        log.apply(.openPairing(milliseconds: 600_000))
        _ = try log.submit(0x1f62_1788_b337_00b3, "web-1", suggested: Reachability(lookup: .ip, address: "10.0.0.1", port: 7_000))
        #expect(
            log.state.text(.data, "pairing/1f621788b33700b3.json")
                == #"{"code":"432319","csr":"-----BEGIN CERTIFICATE REQUEST-----\nCQ==\n-----END CERTIFICATE REQUEST-----\n","#
                + #""hostname":"web-1","id":"1f621788b33700b3","ip":"10.0.0.1","lookup_by":"ip","nonce":"0123","port":7000,"#
                + #""received":"2027-01-15T08:00:00Z","reverse_confirmed":0,"reverse_dns":null,"source_ip":"192.0.2.7"}"# + "\n")
        _ = try log.submit(2, "web-2")
        let second = try #require(log.state.text(.data, "pairing/0000000000000002.json"))
        #expect(second.contains(#""ip":"192.0.2.7","lookup_by":null,"#) && second.contains(#""port":null,"#))
        log.apply(.denyPairing(Reqid(2)))
        #expect(log.state.names.filter { $0.hasPrefix("var/pairing") } == ["var/pairing/1f621788b33700b3.json"])
    }

    @Test("an agent's record has ctrl-exec's fields in its value forms")
    func registryRecord() throws {
        var log = try Log()
        try log.pair(0x1f62_1788_b337_00b3, "web-1", granted: Reachability(lookup: .ip, address: "127.0.0.1", port: 17_443))
        #expect(
            log.state.text(.data, "agents/web-1.json")
                == #"{"dispatcher_serial":"5c04","expiry":"Mar 17 17:46:40 2030 GMT","hostname":"web-1","ip":"127.0.0.1","lookup_by":"ip","#
                + #""paired":"2027-01-15T08:00:00Z","port":17443,"reqid":"1f621788b33700b3","serial_broadcast":"","#
                + #""serial_confirmed":"2027-01-15T08:00:00Z","serial_status":"current","tags":{}}"# + "\n")
        #expect(log.state.projection(now: now).first { $0.path.name == "agents/web-1.json" }?.mode == 0o644)
        let tags = try #require(AgentTags([AgentTag(key: "env", value: "prod"), AgentTag(key: "rack", value: "7")]))
        log.apply(.raiseVersion(.second), by: .leader)
        log.apply(.tagsLearned(try #require(log.state.agents.first?.key), tags), by: .leader)
        let tagged = try #require(log.state.text(.data, "agents/web-1.json"))
        #expect(tagged.hasSuffix(#","tags":{"env":"prod","rack":"7"}}"# + "\n"))
        log.apply(.editAgent(try agentName("web-1"), AgentEdit(rename: try agentName("web-2"), reachability: Reachability())))
        #expect(log.state.names.filter { $0.hasPrefix("var/agents") } == ["var/agents/web-2.json"])
    }

    @Test("a rotation shows: who is told and when, the new certificate, and how long the old one stays trusted")
    func rotation() throws {
        var log = try Log()
        try log.pair(1, "web-1")
        let agent = try #require(log.state.agents.first?.key)
        log.apply(.dialectLearned(agent, .endpoint), by: .leader)
        let old = try #require(log.state.currentIdentity?.serial)
        log.calendar = WallClock(secondsSince1970: 1_800_000_100)
        log.apply(.beginRotation(overlapMilliseconds: Self.month + 1_000, isCompromised: false, replacing: nil))
        let new = try log.makeIdentity()
        let told = try #require(log.state.text(.data, "agents/web-1.json"))
        #expect(told.contains(#""serial_status":"pending""#) && told.contains(#""serial_broadcast":"2027-01-15T08:01:40Z""#))
        #expect(!log.state.names.contains("var/rotation.json"))

        log.apply(.memberHolds(try #require(MemberID("a")), new), by: .leader)
        log.calendar = WallClock(secondsSince1970: 1_800_000_200)
        log.apply(.activate(new), by: .leader)
        let certificate = try #require(log.state.currentIdentity?.certificate)
        #expect(log.state.text(.configuration, "dispatcher.crt") == PEM.certificate(certificate))
        #expect(
            log.state.text(.data, "rotation.json")
                == #"{"current_serial":"\#(new.hexadecimal)","overlap_days":31,"overlap_expires":"2027-02-14T08:03:21Z","#
                + #""previous_serial":"\#(old.hexadecimal)","rotated_at":"2027-01-15T08:03:20Z"}"# + "\n")
        #expect(log.state.projection(now: now).first { $0.path.name == "rotation.json" }?.mode == 0o640)

        log.calendar = WallClock(secondsSince1970: 1_800_000_300)
        log.apply(.identityConfirmed(agent, new, refused: []), by: .leader)
        let confirmed = try #require(log.state.text(.data, "agents/web-1.json"))
        #expect(confirmed.contains(#""serial_confirmed":"2027-01-15T08:05:00Z","serial_status":"current""#))
        #expect(confirmed.contains(#""dispatcher_serial":"\#(new.hexadecimal)""#))

        log.milliseconds += Self.month + 2_000
        log.apply(.identityRemoved(agent, old), by: .leader)
        log.calendar = WallClock(secondsSince1970: 1_802_700_000)
        log.apply(.retire(old), by: .leader)
        let retired = try #require(log.state.text(.data, "rotation.json"))
        #expect(retired.contains(#""previous_retired":"2027-02-15T14:00:00Z""#) && !retired.contains("previous_serial"))
    }

    @Test("an agent that trusts nothing but certificates that are over is stale by the calendar alone")
    func staleByCalendar() throws {
        var log = try Log()
        try log.pair(1, "web-1")
        log.apply(.beginRotation(overlapMilliseconds: 0, isCompromised: true, replacing: nil))
        _ = try log.makeIdentity()
        func status(_ seconds: Int64) throws -> SerialStatus {
            log.state.serialStatus(of: try #require(log.state.agents.first), now: WallClock(secondsSince1970: seconds))
        }
        #expect(try status(1_999_999_999) == .pending)
        #expect(try status(2_000_000_000) == .stale)
    }

    @Test("whoever follows the changes has the same files as one who looks at everything", arguments: 1...10 as ClosedRange<UInt64>)
    func changesAreComplete(seed: UInt64) throws {
        var generator = ProposalGenerator(seed: seed)
        var state = DispatcherState(genesis: try makeGenesis(members: ["a", "b"]))
        var followed: [ProjectedPath: ProjectedFile] = [:]
        for file in state.projection(now: now) { followed[file.path] = file }
        var rotations = 0
        for index in 1...400 as ClosedRange<UInt64> {
            let isRotation = generator.chance(40)
            let command = try isRotation ? generator.rotationCommand(state) : generator.command(state)
            var proposal = try generator.proposal(state, extremes: false)
            proposal.command = command
            proposal.principal = isRotation ? .leader : try generator.principal(for: command, state)
            if case .beginRotation = command { proposal.principal = Log.root }
            if case .abortRotation = command { proposal.principal = Log.root }
            proposal.request = proposal.principal == .leader ? nil : .client("r\(index)")
            proposal.calendar = WallClock(secondsSince1970: 1_700_000_000 + Int64(generator.random.below(200_000_000)))
            let applied = state.apply(proposal, at: LogIndex(index), term: Term(1))
            if case .activate = command, applied.outcome == .stepped { rotations += 1 }
            if case .parts(let parts) = ProjectionChange(command, applied) {
                for part in parts.flatMap({ state.projection(of: $0, now: now) }) {
                    if case .file(let file) = part { followed[part.path] = file } else { followed[part.path] = nil }
                }
            }
            let everything = state.projection(now: now)
            try #require(followed.values.sorted { $0.path < $1.path } == everything, "after \(command), \(applied.outcome)")
        }
        #expect(rotations > 0, "no rotation came to its end in this walk")
    }

    @Test("an entry that changes no file says nothing")
    func silentEntries() throws {
        var log = try Log()
        let applied = log.apply(.issueOperator(try operatorName("ann"), signingRequest: SigningRequest(der: [1])))
        #expect(ProjectionChange(.issueOperator(try operatorName("ann"), signingRequest: SigningRequest(der: [1])), applied) == nil)
        let refused = log.apply(.unpair(try agentName("nobody")))
        #expect(ProjectionChange(.unpair(try agentName("nobody")), refused) == nil)
        let held = Command.memberHolds(try #require(MemberID("a")), try #require(log.state.currentIdentity?.serial))
        #expect(ProjectionChange(held, log.apply(held, by: .leader)) == nil)
    }
}

extension ProposalGenerator {
    /// A step that has a chance to take effect.
    mutating func rotationCommand(_ state: DispatcherState) throws -> Command {
        let identity = pick(state.identities)
        let agent = state.agents.isEmpty ? nil : pick(state.agents).key
        let member = try #require(MemberID(pick(["a", "b"])))
        switch (random.below(9), agent) {
        case (0, _): return .beginRotation(overlapMilliseconds: random.below(100_000), isCompromised: chance(20), replacing: nil)
        case (1, _): return chance(20) ? .abortRotation : .retire(pick(state.identities).serial)
        case (2, _), (3, _):
            guard let obligation = state.obligations.first(where: { $0.purpose == .dispatcherIdentity }) else {
                return .memberHolds(member, identity.serial)
            }
            return .recordIdentity(
                obligation.id, obligation.serial, certificate: [1] + bytes(9), key: SealedKey(name: "key", keyVersion: 1, bytes: [1]),
                notAfter: WallClock(secondsSince1970: 1_700_000_000 + Int64(random.below(200_000_000))))
        case (4, _): return .activate(state.newestIdentity?.serial ?? identity.serial)
        case (5, _): return .memberHolds(member, state.newestIdentity?.serial ?? identity.serial)
        case (6, let agent?): return .identityConfirmed(agent, identity.serial, refused: [])
        case (7, let agent?): return .identityRemoved(agent, identity.serial)
        case (8, _) where state.machineVersion == .first: return .raiseVersion(.second)
        case (8, let agent?) where chance(50):
            return .tagsLearned(agent, AgentTags([AgentTag(key: "n", value: "\(random.below(3))")]) ?? .none)
        case (8, let agent?): return .dialectLearned(agent, pick(AgentDialect.allCases))
        default: return .expire
        }
    }
}
