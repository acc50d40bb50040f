// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Images with every optional field there and not there, and the lives of states: entries as a cluster would make them, drawn so that every
// part of the state fills, empties and expires.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension ValueGenerator {
    /// Any image that a state may have; lists are short, sorted and without doubles.
    mutating func image(of genesis: GenesisState) -> StateImage {
        var image = StateImage(
            genesisHash: DispatcherState.hash(of: genesis), time: clusterTime(), appliedIndex: index(), stateHash: any(),
            nextSerialCounter: any(), rotationIndex: index(), machineVersion: pick([.first, .second, MachineVersion(9)]))
        image.clients = Array(["a", "b", "z~"].prefix(some())).map {
            StateImage.Client(text: $0, principal: principal(), kept: kept())
        }
        image.sessions = Array([0, 7, UInt64.max].prefix(some())).map { id in
            StateImage.Session(
                id: id, answeredThrough: 4, lastUsed: clusterTime(),
                records: Array([5, 9, UInt64.max].prefix(some())).map { sequence in
                    StateImage.Session.Record(sequence: sequence, principal: principal(), kept: kept())
                })
        }
        let places: [StateImage.Expiry.What] = image.clients.indices.map { .client($0) } + image.sessions.indices.map { .session($0) }
        image.expiries = places.shuffled(using: &random).map { StateImage.Expiry(at: clusterTime(), what: $0) }
        image.obligations = Array([1, 300, WireLimit.number].prefix(some())).map { openObligation(ObligationID(LogIndex($0))) }
        image.agents = Array(["a", "b.example", "c"].prefix(some())).map { agent(AgentName($0)!) }
        image.waiting = Array([1, 2, 3].prefix(some())).map { (reqid: UInt64) -> QueuedPairing in
            var submission = submission()
            submission.reqid = Reqid(reqid)
            return QueuedPairing(
                submission: submission, received: wallClock(), receivedAt: clusterTime(), obligation: optional(obligation()),
                granted: optional(reachability()))
        }
        image.pairingOpenUntil = optional(clusterTime())
        image.decided = Array([9, 7, UInt64.max].prefix(some())).map { reqid in
            let verdict: PairingDecision.Verdict = pick([.approved(certificate: bytes()), .denied, .expired])
            return StateImage.Decided(
                decision: PairingDecision(reqid: Reqid(reqid), nonce: text(), verdict: verdict), name: agentName(),
                serial: optional(serial()), at: clusterTime())
        }
        image.operators = Array(["ada", "bob"].prefix(some())).map {
            OperatorRecord(name: OperatorName($0)!, serial: serial(), certificate: bytes(900), notAfter: wallClock())
        }
        image.identities = Array([3, 1, 2].prefix(some())).map { (number: UInt8) -> Identity in
            Identity(
                serial: SerialNumber(bytes: [0x5c, number])!, certificate: bytes(900), key: sealedKey(), notAfter: wallClock(),
                phase: pick([.prepared, .current, .previous, .retired, .aborting, .aborted]))
        }
        image.uses = Array([1, 2, 3].prefix(some())).map { (number: UInt8) -> StateImage.Use in
            StateImage.Use(
                serial: SerialNumber(bytes: [0x5c, number])!,
                use: IdentityUse(holders: Array([MemberID("a")!, MemberID("b-2")!].prefix(some())), retireAt: optional(clusterTime())))
        }
        image.rotation = optional(
            Rotation(
                stage: pick([.making(obligation()), .prepared(serial())]), overlapMilliseconds: any(), isCompromised: flip(),
                started: clusterTime(), startedAt: wallClock()))
        image.lastRotation = optional(
            RotationRecord(
                serial: serial(), previous: optional(serial()), startedAt: wallClock(), activatedAt: wallClock(),
                overlapMilliseconds: any(), previousRetiredAt: optional(wallClock())))
        image.revocations = Array([1, 2, 3].prefix(some())).map { (number: UInt8) -> RevocationRecord in
            RevocationRecord(
                serial: SerialNumber(bytes: [0x5d, number])!,
                subject: pick([.agent(agentName()), .operatorNamed(operatorName()), .unknown]),
                reason: text(), revokedAt: wallClock(), index: index())
        }
        image.revocationIndex = index()
        image.members = Array(["a", "b", "c-3"].prefix(some())).map {
            KnownMember(
                id: MemberID($0)!, address: text(), certificateSerial: serial(), certificate: bytes(900), publicKey: bytes(90),
                phase: pick([.joining, .staying, .leaving]))
        }
        image.invitations = Array(["x", "y"].prefix(some())).map {
            Invitation(
                id: MemberID($0)!, address: text(), secretHash: bytes(32), expires: clusterTime(), invitedAt: wallClock(),
                binding: optional(Invitation.Binding(publicKey: bytes(90), obligation: obligation())))
        }
        image.formerMembers = Array(["m", "n", "o"].prefix(some())).map {
            FormerMember(id: MemberID($0)!, certificateSerial: serial(), index: index(), removedAt: wallClock())
        }
        image.voters = Array(["a", "b"].prefix(some())).map { MemberID($0)! }
        image.learners = Array(["c-3"].prefix(some())).map { MemberID($0)! }
        image.membershipIndex = index()
        return image
    }

    private mutating func some() -> Int { Int(random.below(4)) }
    private mutating func clusterTime() -> ClusterTime { ClusterTime(milliseconds: any()) }
    private mutating func kept() -> StateImage.Kept {
        StateImage.Kept(fingerprint: Fingerprint(first: any(), second: any()), outcome: outcome())
    }
    private mutating func submission() -> PairingSubmission {
        PairingSubmission(
            reqid: reqid(), hostname: agentName(), signingRequest: SigningRequest(der: bytes()), nonce: text(), code: "123456",
            sourceAddress: text(), suggested: reachability())
    }
    private mutating func openObligation(_ id: ObligationID) -> StateImage.OpenObligation {
        StateImage.OpenObligation(
            obligation: Obligation(
                id: id,
                purpose: pick([
                    .operatorCertificate(operatorName()), .agentCertificate(reqid(), agentName()), .dispatcherIdentity,
                    .memberCertificate(member()),
                ]),
                signingRequest: SigningRequest(der: bytes()), serial: serial(), term: term(), reservedAt: wallClock()),
            waiters: (0..<random.below(3)).map { _ in
                flip() ? .client("x", principal()) : .minted(session: any(), sequence: any(), principal())
            })
    }
    private mutating func agent(_ name: AgentName) -> AgentRecord {
        AgentRecord(
            name: name, lookup: pick([.hostname, .ip]), address: text(), port: pick([0, 7443, .max]), paired: wallClock(), reqid: reqid(),
            certificateSerial: serial(), certificateNotAfter: wallClock(), confirmedIdentities: serials(),
            confirmedAt: optional(wallClock()),
            forgottenIdentities: serials(), dialect: pick([nil, .single, .script, .endpoint]), tags: tags())
    }
}

/// A state and how it goes on, drawn from a seed: two lives from one seed take the same steps.
struct StateLife {
    var generator: ValueGenerator
    var state: DispatcherState
    private var index: UInt64 = 0
    private var term: UInt64 = 1
    private var milliseconds: UInt64 = 1_000
    private var sequences: [UInt64] = [0, 0]
    private let members = [MemberID("a")!, MemberID("b")!, MemberID("c")!]

    init(seed: UInt64) {
        var generator = ValueGenerator(seed: seed)
        var genesis = generator.genesis()
        genesis.members = members.map { MemberRecord(id: $0, address: "127.0.0.1:7446", certificateSerial: generator.serial()) }
        genesis.identity.phase = .current
        genesis.nextSerialCounter = 5
        self.generator = generator
        state = DispatcherState(genesis: genesis)
    }

    mutating func step() {
        index += 1
        if generator.random.below(40) == 0 { term += 1 }
        milliseconds += generator.pick([1, 50, 5_000, 400_000])
        if generator.random.below(60) == 0 { milliseconds += 25 * 3_600_000 }
        if generator.random.below(30) == 0 { return state.applyNothing(at: LogIndex(index), term: Term(term)) }
        let (command, principal) = command()
        let proposal = Proposal(
            command: command, principal: principal, request: principal == .leader ? nil : request(),
            time: ClusterTime(milliseconds: milliseconds), calendar: WallClock(secondsSince1970: 1_800_000_000))
        _ = state.apply(proposal, at: LogIndex(index), term: Term(term))
    }

    private mutating func request() -> RequestID {
        if generator.flip() { return .client("r\(generator.random.below(200))") }
        let session = Int(generator.random.below(2))
        sequences[session] += 1
        return .minted(
            session: UInt64(session + 1), sequence: sequences[session],
            answeredThrough: sequences[session] - min(sequences[session], generator.random.below(9)))
    }

    private mutating func command() -> (Command, Principal) {
        let root = Principal.localUser(uid: 0)
        let name = AgentName(generator.pick(["web-1", "web-2", "db"]))!
        let person = OperatorName(generator.pick(["ada", "bob"]))!
        let reqid = Reqid(generator.random.below(60))
        let der = SigningRequest(der: [1, 2, 3])
        switch generator.random.below(25) {
        case 20, 21, 22, 23, 24: return membershipCommand(der)
        case 0: return (.openPairing(milliseconds: generator.pick([600_000, .max])), root)
        case 1, 2:
            let submission = PairingSubmission(
                reqid: reqid, hostname: name, signingRequest: der, nonce: "n", code: "123456", sourceAddress: "192.0.2.1",
                suggested: Reachability(lookup: .ip))
            return (.submitPairing(submission), .pairingHost(address: "192.0.2.1"))
        case 3, 4:
            let waiting = state.pairings.first { $0.obligation == nil }?.submission.reqid
            return (.approvePairing(waiting ?? reqid, Reachability(port: generator.pick([nil, 7_000]))), root)
        case 5: return (.denyPairing(reqid), root)
        case 6: return (.issueOperator(person, signingRequest: der), root)
        case 7, 8, 9, 10:
            guard let obligation = state.obligations.first else { return (.expire, .leader) }
            if obligation.term.number < term { return (.reserveAnew(obligation.id), .leader) }
            let end = WallClock(secondsSince1970: 1_900_000_000)
            if generator.random.below(6) == 0 { return (.signingFailed(obligation.id, obligation.serial, reason: "no key"), .leader) }
            if obligation.purpose == .dispatcherIdentity {
                let key = SealedKey(name: "k", keyVersion: 1, bytes: [4])
                return (.recordIdentity(obligation.id, obligation.serial, certificate: [5], key: key, notAfter: end), .leader)
            }
            return (.recordCertificate(obligation.id, obligation.serial, certificate: [0x30, 1], notAfter: end), .leader)
        case 11: return (.beginRotation(overlapMilliseconds: 1_000_000, isCompromised: generator.flip(), replacing: nil), root)
        case 12, 13:
            guard let newest = state.newestIdentity else { return (.abortRotation, root) }
            if state.canActivate(newest.serial), generator.flip() { return (.activate(newest.serial), .leader) }
            return (.memberHolds(generator.pick(members), newest.serial), .leader)
        case 14, 15:
            guard let agent = state.agents.first(where: { $0.name == name }) else { return (.expire, .leader) }
            switch state.step(for: agent, at: ClusterTime(milliseconds: milliseconds)) {
            case .announce(let serial): return (.identityConfirmed(agent.key, serial, refused: []), .leader)
            case .remove(let serial, _): return (.identityRemoved(agent.key, serial), .leader)
            case nil where state.machineVersion == .first: return (.raiseVersion(.second), .leader)
            case nil: return (.tagsLearned(agent.key, generator.tags()), .leader)
            }
        case 16:
            guard let agent = state.agents.first(where: { $0.name == name }) else { return (.expire, .leader) }
            return (.dialectLearned(agent.key, generator.pick(AgentDialect.allCases)), .leader)
        case 17:
            for identity in state.identities where state.canFinish(identity, at: ClusterTime(milliseconds: milliseconds)) {
                return (.retire(identity.serial), .leader)
            }
            return (.editAgent(name, AgentEdit(reachability: Reachability(address: "10.0.0.1"))), root)
        case 18:
            let target: RevocationTarget = generator.pick([.agent(name), .operatorNamed(person), .serial(generator.serial())])
            return generator.flip() ? (.revoke(target, reason: "lost"), root) : (.abortRotation, root)
        default: return (generator.flip() ? .unpair(name) : .closePairing, root)
        }
    }

    private var nextMember = 0

    /// Members come and go as a leader would let them.
    private mutating func membershipCommand(_ der: SigningRequest) -> (Command, Principal) {
        if state.machineVersion < .third { return (.raiseVersion(state.machineVersion.next), .leader) }
        let root = Principal.localUser(uid: 0)
        let voters = state.voters
        for member in state.members {
            switch member.phase {
            case .joining where !state.learners.contains(member.id):
                return (.reconfigure(Configuration(voters: voters, learners: state.learners + [member.id])!), .leader)
            case .joining:
                if generator.flip() { continue }
                let learners = state.learners.filter { $0 != member.id }
                if voters.count < 5 { return (.reconfigure(Configuration(voters: voters + [member.id], learners: learners)!), .leader) }
            case .leaving:
                if generator.flip() { continue }
                let others = voters.filter { $0 != member.id }
                guard !others.isEmpty else { continue }
                return (.reconfigure(Configuration(voters: others, learners: state.learners.filter { $0 != member.id })!), .leader)
            case .staying: break
            }
        }
        let secret = [UInt8](repeating: 7, count: 32)
        if let invitation = state.invitations.first, invitation.binding == nil, generator.flip() {
            let join = JoinRequest(member: invitation.id, secretHash: secret, publicKey: [1, 2], signingRequest: der)
            return (.admit(join), .joiningHost(address: "192.0.2.7"))
        }
        switch generator.random.below(5) {
        case 0, 1:
            nextMember += 1
            return (.invite(MemberID("m\(nextMember)")!, address: "192.0.2.1:\(8_000 + nextMember)", secretHash: secret), root)
        case 2: return (.removeMember(generator.pick(state.members).id), root)
        case 3: return (.setMemberAddress(generator.pick(state.members).id, "192.0.2.2:\(9_000 + index)"), root)
        default: return (.memberHolds(generator.pick(state.members).id, state.identities[0].serial), .leader)
        }
    }
}
