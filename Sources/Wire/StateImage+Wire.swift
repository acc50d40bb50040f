// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The body of a snapshot. Here bytes become well-formed values; whether these make a state is `DispatcherState`'s to say. A snapshot is
// covered by a checksum and comes from a member of the cluster, and is read all the same as if it came from anybody.

import Consensus
import CtrlExec
import DispatcherState
import SwiftProtobuf

extension StateImage {
    /// Of the first release that compacts.
    package static let format: UInt32 = 1

    /// Fails only if the state has outgrown `WireLimit.image`: then the log is kept, and nothing is lost.
    package func encoded() throws(WireFailure) -> [UInt8] {
        var proto = ProtoStateImage()
        proto.format = StateImage.format
        proto.genesisHash = genesisHash
        proto.timeMilliseconds = time.milliseconds
        proto.appliedIndex = appliedIndex.position
        proto.stateHash = stateHash
        proto.nextSerialCounter = nextSerialCounter
        proto.rotationIndex = rotationIndex.position
        proto.machineVersion = machineVersion.number
        proto.clients = clients.map { ProtoKeptClient($0) }
        proto.sessions = sessions.map { ProtoKeptSession($0) }
        proto.expiries = expiries.map { ProtoKeptExpiry($0) }
        proto.obligations = obligations.map { ProtoOpenObligation($0) }
        proto.agents = agents.map { ProtoPairedAgent($0) }
        proto.waiting = waiting.map { ProtoWaitingPairing($0) }
        if let pairingOpenUntil { proto.pairingOpenUntilMilliseconds = pairingOpenUntil.milliseconds }
        proto.decided = decided.map { ProtoDecidedPairing($0) }
        proto.operators = operators.map { ProtoRecordedOperator($0) }
        proto.identities = identities.map { ProtoIdentity($0) }
        proto.uses = uses.map { ProtoIdentityUse($0) }
        if let rotation { proto.rotation = ProtoRotationUnderWay(rotation) }
        if let lastRotation { proto.lastRotation = ProtoRotationDone(lastRotation) }
        proto.revocations = revocations.map { ProtoRevocation($0) }
        proto.revocationIndex = revocationIndex.position
        proto.members = members.map { ProtoKnownMember($0) }
        proto.invitations = invitations.map { ProtoInvitation($0) }
        proto.formerMembers = formerMembers.map { ProtoFormerMember($0) }
        proto.voters = voters.map(\.name)
        proto.learners = learners.map(\.name)
        proto.membershipIndex = membershipIndex.position
        let bytes: [UInt8]
        do { bytes = try proto.serializedBytes() } catch { throw .tooLarge(count: .max, limit: WireLimit.image) }
        guard bytes.count <= WireLimit.image else { throw .tooLarge(count: bytes.count, limit: WireLimit.image) }
        return bytes
    }

    package init(decoding bytes: [UInt8]) throws(WireFailure) {
        let proto = try ProtoStateImage(bytes, limit: WireLimit.image)
        guard proto.format == StateImage.format else { throw .unknownFormat(proto.format) }
        self.init(
            genesisHash: proto.genesisHash, time: ClusterTime(milliseconds: proto.timeMilliseconds),
            appliedIndex: try LogIndex(checking: proto.appliedIndex), stateHash: proto.stateHash,
            nextSerialCounter: proto.nextSerialCounter, rotationIndex: try LogIndex(checking: proto.rotationIndex),
            machineVersion: MachineVersion(proto.machineVersion))
        clients = try each(proto.clients) { (client) throws(WireFailure) in try Client(client) }
        sessions = try each(proto.sessions) { (session) throws(WireFailure) in try Session(session) }
        expiries = try each(proto.expiries) { (expiry) throws(WireFailure) in try Expiry(expiry) }
        obligations = try each(proto.obligations) { (obligation) throws(WireFailure) in try OpenObligation(obligation) }
        agents = try each(proto.agents) { (agent) throws(WireFailure) in try AgentRecord(agent) }
        waiting = try each(proto.waiting) { (pairing) throws(WireFailure) in try QueuedPairing(pairing) }
        if proto.hasPairingOpenUntilMilliseconds {
            pairingOpenUntil = ClusterTime(milliseconds: proto.pairingOpenUntilMilliseconds)
        }
        decided = try each(proto.decided) { (pairing) throws(WireFailure) in try Decided(pairing) }
        operators = try each(proto.operators) { (record) throws(WireFailure) in try OperatorRecord(record) }
        identities = try each(proto.identities) { (identity) throws(WireFailure) in try Identity(identity) }
        uses = try each(proto.uses) { (use) throws(WireFailure) in try Use(use) }
        if proto.hasRotation { rotation = try Rotation(proto.rotation) }
        if proto.hasLastRotation { lastRotation = try RotationRecord(proto.lastRotation) }
        revocations = try each(proto.revocations) { (revocation) throws(WireFailure) in try RevocationRecord(revocation) }
        revocationIndex = try LogIndex(checking: proto.revocationIndex)
        members = try each(proto.members) { (member) throws(WireFailure) in try KnownMember(member) }
        invitations = try each(proto.invitations) { (invitation) throws(WireFailure) in try Invitation(invitation) }
        formerMembers = try each(proto.formerMembers) { (member) throws(WireFailure) in try FormerMember(member) }
        voters = try each(proto.voters) { (name) throws(WireFailure) in try MemberID(checking: name) }
        learners = try each(proto.learners) { (name) throws(WireFailure) in try MemberID(checking: name) }
        membershipIndex = try LogIndex(checking: proto.membershipIndex)
    }
}

private func each<Proto, Value>(_ protos: [Proto], _ make: (Proto) throws(WireFailure) -> Value) throws(WireFailure) -> [Value] {
    var values: [Value] = []
    values.reserveCapacity(protos.count)
    for proto in protos { values.append(try make(proto)) }
    return values
}

// MARK: What is kept under requests

extension ProtoKeptOutcome {
    fileprivate init(_ kept: StateImage.Kept) {
        fingerprintFirst = kept.fingerprint.first
        fingerprintSecond = kept.fingerprint.second
        outcome = ProtoOutcome(kept.outcome)
    }
}

extension StateImage.Kept {
    fileprivate init(_ proto: ProtoKeptOutcome) throws(WireFailure) {
        self.init(
            fingerprint: Fingerprint(first: proto.fingerprintFirst, second: proto.fingerprintSecond), outcome: try Outcome(proto.outcome))
    }
}

extension ProtoKeptClient {
    fileprivate init(_ client: StateImage.Client) {
        text = client.text
        principal = ProtoPrincipal(client.principal)
        kept = ProtoKeptOutcome(client.kept)
    }
}

extension StateImage.Client {
    fileprivate init(_ proto: ProtoKeptClient) throws(WireFailure) {
        guard RequestID(client: proto.text) != nil else { throw .malformed("request id") }
        self.init(text: proto.text, principal: try Principal(proto.principal), kept: try StateImage.Kept(proto.kept))
    }
}

extension ProtoKeptSession {
    fileprivate init(_ session: StateImage.Session) {
        id = session.id
        answeredThrough = session.answeredThrough
        lastUsedMilliseconds = session.lastUsed.milliseconds
        records = session.records.map { record in
            var proto = ProtoKeptMinted()
            proto.sequence = record.sequence
            proto.principal = ProtoPrincipal(record.principal)
            proto.kept = ProtoKeptOutcome(record.kept)
            return proto
        }
    }
}

extension StateImage.Session {
    fileprivate init(_ proto: ProtoKeptSession) throws(WireFailure) {
        self.init(
            id: proto.id, answeredThrough: proto.answeredThrough, lastUsed: ClusterTime(milliseconds: proto.lastUsedMilliseconds),
            records: try each(proto.records) { (record) throws(WireFailure) in
                Record(sequence: record.sequence, principal: try Principal(record.principal), kept: try StateImage.Kept(record.kept))
            })
    }
}

extension ProtoKeptExpiry {
    fileprivate init(_ expiry: StateImage.Expiry) {
        atMilliseconds = expiry.at.milliseconds
        // A state holds some ten thousands of each.
        switch expiry.what {
        case .client(let place): client = UInt32(place)
        case .session(let place): session = UInt32(place)
        }
    }
}

extension StateImage.Expiry {
    fileprivate init(_ proto: ProtoKeptExpiry) throws(WireFailure) {
        let what: What
        switch proto.what {
        case .client(let place): what = .client(Int(place))
        case .session(let place): what = .session(Int(place))
        case nil: throw .malformed("expiry")
        }
        self.init(at: ClusterTime(milliseconds: proto.atMilliseconds), what: what)
    }
}

// MARK: Obligations

extension ProtoWaitingRequest {
    fileprivate init(_ key: RequestKey) {
        switch key {
        case .client(let text, let principal):
            request.client = text
            self.principal = ProtoPrincipal(principal)
        case .minted(let session, let sequence, let principal):
            request.minted.session = session
            request.minted.sequence = sequence
            self.principal = ProtoPrincipal(principal)
        }
    }
}

extension RequestKey {
    fileprivate init(_ proto: ProtoWaitingRequest) throws(WireFailure) {
        self.init(try RequestID(proto.request), try Principal(proto.principal))
    }
}

extension ProtoOpenObligation {
    fileprivate init(_ open: StateImage.OpenObligation) {
        index = open.obligation.id.index.position
        switch open.obligation.purpose {
        case .operatorCertificate(let name): operatorCertificate = name.text
        case .agentCertificate(let reqid, let name): agentCertificate = ProtoAgentKey(AgentKey(name: name, pairing: reqid))
        case .dispatcherIdentity: dispatcherIdentity = ProtoNothing()
        case .memberCertificate(let member): memberCertificate = member.name
        }
        signingRequest = field(open.obligation.signingRequest.der)
        serial = field(open.obligation.serial.bytes)
        term = open.obligation.term.number
        reservedAtSeconds = open.obligation.reservedAt.secondsSince1970
        waiters = open.waiters.map { ProtoWaitingRequest($0) }
    }
}

extension StateImage.OpenObligation {
    fileprivate init(_ proto: ProtoOpenObligation) throws(WireFailure) {
        let purpose: Obligation.Purpose
        switch proto.purpose {
        case .operatorCertificate(let name): purpose = .operatorCertificate(try OperatorName(checking: name))
        case .agentCertificate(let proto):
            let key = try AgentKey(proto)
            purpose = .agentCertificate(key.pairing, key.name)
        case .dispatcherIdentity: purpose = .dispatcherIdentity
        case .memberCertificate(let name): purpose = .memberCertificate(try MemberID(checking: name))
        case nil: throw .malformed("purpose of an obligation")
        }
        self.init(
            obligation: Obligation(
                id: ObligationID(try LogIndex(checking: proto.index)), purpose: purpose,
                signingRequest: SigningRequest(der: bytes(proto.signingRequest)), serial: try SerialNumber(checking: proto.serial),
                term: try Term(checking: proto.term), reservedAt: WallClock(secondsSince1970: proto.reservedAtSeconds)),
            waiters: try each(proto.waiters) { (waiter) throws(WireFailure) in try RequestKey(waiter) })
    }
}

// MARK: Agents and pairing

extension ProtoPairedAgent {
    fileprivate init(_ agent: AgentRecord) {
        name = agent.name.text
        lookup =
            switch agent.lookup {
            case .hostname: .hostname
            case .ip: .ip
            }
        address = agent.address
        port = UInt32(agent.port)
        pairedSeconds = agent.paired.secondsSince1970
        reqid = agent.reqid.number
        certificateSerial = field(agent.certificateSerial.bytes)
        certificateNotAfterSeconds = agent.certificateNotAfter.secondsSince1970
        confirmed = agent.confirmedIdentities.map { field($0.bytes) }
        if let confirmedAt = agent.confirmedAt { confirmedAtSeconds = confirmedAt.secondsSince1970 }
        forgotten = agent.forgottenIdentities.map { field($0.bytes) }
        dialect =
            switch agent.dialect {
            case .single: .single
            case .script: .script
            case .endpoint: .endpoint
            case nil: .unset
            }
        tags = ProtoAgentTag.all(agent.tags)
    }
}

extension AgentRecord {
    fileprivate init(_ proto: ProtoPairedAgent) throws(WireFailure) {
        let lookup: Reachability.Lookup
        switch proto.lookup {
        case .hostname: lookup = .hostname
        case .ip: lookup = .ip
        case .unset, .UNRECOGNIZED: throw .malformed("way of looking an agent up")
        }
        self.init(
            name: try AgentName(checking: proto.name), lookup: lookup, address: proto.address,
            port: try required(UInt16(exactly: proto.port), "port \(proto.port)"),
            paired: WallClock(secondsSince1970: proto.pairedSeconds), reqid: Reqid(proto.reqid),
            certificateSerial: try SerialNumber(checking: proto.certificateSerial),
            certificateNotAfter: WallClock(secondsSince1970: proto.certificateNotAfterSeconds),
            confirmedIdentities: try serialNumbers(proto.confirmed),
            confirmedAt: proto.hasConfirmedAtSeconds ? WallClock(secondsSince1970: proto.confirmedAtSeconds) : nil,
            forgottenIdentities: try serialNumbers(proto.forgotten),
            dialect: proto.dialect == .unset ? nil : try AgentDialect(proto.dialect), tags: try AgentTags(checking: proto.tags))
    }
}

extension ProtoWaitingPairing {
    fileprivate init(_ pairing: QueuedPairing) {
        submission = ProtoPairingSubmission(pairing.submission)
        receivedSeconds = pairing.received.secondsSince1970
        receivedAtMilliseconds = pairing.receivedAt.milliseconds
        if let obligation = pairing.obligation { self.obligation = obligation.index.position }
        if let granted = pairing.granted { self.granted = ProtoReachability(granted) }
    }
}

extension QueuedPairing {
    fileprivate init(_ proto: ProtoWaitingPairing) throws(WireFailure) {
        self.init(
            submission: try PairingSubmission(proto.submission), received: WallClock(secondsSince1970: proto.receivedSeconds),
            receivedAt: ClusterTime(milliseconds: proto.receivedAtMilliseconds),
            obligation: proto.hasObligation ? ObligationID(try LogIndex(checking: proto.obligation)) : nil,
            granted: proto.hasGranted ? try Reachability(proto.granted) : nil)
    }
}

extension ProtoDecidedPairing {
    fileprivate init(_ decided: StateImage.Decided) {
        reqid = decided.decision.reqid.number
        nonce = decided.decision.nonce
        switch decided.decision.verdict {
        case .approved(let certificate): approved = field(certificate)
        case .denied: denied = ProtoNothing()
        case .expired: expired = ProtoNothing()
        }
        name = decided.name.text
        if let serial = decided.serial { self.serial = field(serial.bytes) }
        atMilliseconds = decided.at.milliseconds
    }
}

extension StateImage.Decided {
    fileprivate init(_ proto: ProtoDecidedPairing) throws(WireFailure) {
        let verdict: PairingDecision.Verdict
        switch proto.verdict {
        case .approved(let certificate): verdict = .approved(certificate: bytes(certificate))
        case .denied: verdict = .denied
        case .expired: verdict = .expired
        case nil: throw .malformed("decision about a pairing")
        }
        self.init(
            decision: PairingDecision(reqid: Reqid(proto.reqid), nonce: proto.nonce, verdict: verdict),
            name: try AgentName(checking: proto.name), serial: proto.hasSerial ? try SerialNumber(checking: proto.serial) : nil,
            at: ClusterTime(milliseconds: proto.atMilliseconds))
    }
}

// MARK: Operators, identities, revocations

extension ProtoRecordedOperator {
    fileprivate init(_ record: OperatorRecord) {
        name = record.name.text
        serial = field(record.serial.bytes)
        certificate = field(record.certificate)
        notAfterSeconds = record.notAfter.secondsSince1970
    }
}

extension OperatorRecord {
    fileprivate init(_ proto: ProtoRecordedOperator) throws(WireFailure) {
        self.init(
            name: try OperatorName(checking: proto.name), serial: try SerialNumber(checking: proto.serial),
            certificate: bytes(proto.certificate), notAfter: WallClock(secondsSince1970: proto.notAfterSeconds))
    }
}

extension ProtoIdentityUse {
    fileprivate init(_ use: StateImage.Use) {
        serial = field(use.serial.bytes)
        holders = use.use.holders.map(\.name)
        if let retireAt = use.use.retireAt { retireAtMilliseconds = retireAt.milliseconds }
    }
}

extension StateImage.Use {
    fileprivate init(_ proto: ProtoIdentityUse) throws(WireFailure) {
        let retireAt = proto.hasRetireAtMilliseconds ? ClusterTime(milliseconds: proto.retireAtMilliseconds) : nil
        self.init(
            serial: try SerialNumber(checking: proto.serial),
            use: IdentityUse(
                holders: try each(proto.holders) { (name) throws(WireFailure) in try MemberID(checking: name) }, retireAt: retireAt))
    }
}

extension ProtoRotationUnderWay {
    fileprivate init(_ rotation: Rotation) {
        switch rotation.stage {
        case .making(let obligation): making = obligation.index.position
        case .prepared(let serial): prepared = field(serial.bytes)
        }
        overlapMilliseconds = rotation.overlapMilliseconds
        isCompromised = rotation.isCompromised
        startedMilliseconds = rotation.started.milliseconds
        startedAtSeconds = rotation.startedAt.secondsSince1970
    }
}

extension Rotation {
    fileprivate init(_ proto: ProtoRotationUnderWay) throws(WireFailure) {
        let stage: Stage
        switch proto.stage {
        case .making(let index): stage = .making(ObligationID(try LogIndex(checking: index)))
        case .prepared(let serial): stage = .prepared(try SerialNumber(checking: serial))
        case nil: throw .malformed("stage of a rotation")
        }
        self.init(
            stage: stage, overlapMilliseconds: proto.overlapMilliseconds, isCompromised: proto.isCompromised,
            started: ClusterTime(milliseconds: proto.startedMilliseconds), startedAt: WallClock(secondsSince1970: proto.startedAtSeconds))
    }
}

extension ProtoRotationDone {
    fileprivate init(_ record: RotationRecord) {
        serial = field(record.serial.bytes)
        if let previous = record.previous { self.previous = field(previous.bytes) }
        startedAtSeconds = record.startedAt.secondsSince1970
        activatedAtSeconds = record.activatedAt.secondsSince1970
        overlapMilliseconds = record.overlapMilliseconds
        if let retired = record.previousRetiredAt { previousRetiredAtSeconds = retired.secondsSince1970 }
    }
}

extension RotationRecord {
    fileprivate init(_ proto: ProtoRotationDone) throws(WireFailure) {
        self.init(
            serial: try SerialNumber(checking: proto.serial),
            previous: proto.hasPrevious ? try SerialNumber(checking: proto.previous) : nil,
            startedAt: WallClock(secondsSince1970: proto.startedAtSeconds),
            activatedAt: WallClock(secondsSince1970: proto.activatedAtSeconds), overlapMilliseconds: proto.overlapMilliseconds,
            previousRetiredAt: proto.hasPreviousRetiredAtSeconds ? WallClock(secondsSince1970: proto.previousRetiredAtSeconds) : nil)
    }
}

extension ProtoRevocation {
    fileprivate init(_ record: RevocationRecord) {
        serial = field(record.serial.bytes)
        switch record.subject {
        case .agent(let name): agent = name.text
        case .operatorNamed(let name): self.operator = name.text
        case .unknown: unknown = ProtoNothing()
        }
        reason = record.reason
        revokedAtSeconds = record.revokedAt.secondsSince1970
        index = record.index.position
    }
}

extension RevocationRecord {
    fileprivate init(_ proto: ProtoRevocation) throws(WireFailure) {
        let subject: Subject
        switch proto.subject {
        case .agent(let name): subject = .agent(try AgentName(checking: name))
        case .operator(let name): subject = .operatorNamed(try OperatorName(checking: name))
        case .unknown: subject = .unknown
        case nil: throw .malformed("subject of a revocation")
        }
        self.init(
            serial: try SerialNumber(checking: proto.serial), subject: subject, reason: proto.reason,
            revokedAt: WallClock(secondsSince1970: proto.revokedAtSeconds), index: try LogIndex(checking: proto.index))
    }
}

// MARK: Members

extension ProtoKnownMember {
    fileprivate init(_ member: KnownMember) {
        id = member.id.name
        address = member.address
        certificateSerial = field(member.certificateSerial.bytes)
        certificate = field(member.certificate)
        publicKey = field(member.publicKey)
        phase =
            switch member.phase {
            case .joining: .joining
            case .staying: .staying
            case .leaving: .leaving
            }
    }
}

extension KnownMember {
    fileprivate init(_ proto: ProtoKnownMember) throws(WireFailure) {
        let phase: Phase
        switch proto.phase {
        case .joining: phase = .joining
        case .staying: phase = .staying
        case .leaving: phase = .leaving
        case .unset, .UNRECOGNIZED: throw .malformed("phase of a member")
        }
        self.init(
            id: try MemberID(checking: proto.id), address: try checked(proto.address, "address"),
            certificateSerial: try SerialNumber(checking: proto.certificateSerial), certificate: bytes(proto.certificate),
            publicKey: bytes(proto.publicKey), phase: phase)
    }
}

extension ProtoInvitation {
    fileprivate init(_ invitation: Invitation) {
        id = invitation.id.name
        address = invitation.address
        secretHash = field(invitation.secretHash)
        expiresMilliseconds = invitation.expires.milliseconds
        invitedAtSeconds = invitation.invitedAt.secondsSince1970
        if let binding = invitation.binding {
            self.binding.publicKey = field(binding.publicKey)
            self.binding.obligation = binding.obligation.index.position
        }
    }
}

extension Invitation {
    fileprivate init(_ proto: ProtoInvitation) throws(WireFailure) {
        var binding: Binding?
        if proto.hasBinding {
            binding = Binding(
                publicKey: bytes(proto.binding.publicKey), obligation: ObligationID(try LogIndex(checking: proto.binding.obligation)))
        }
        self.init(
            id: try MemberID(checking: proto.id), address: try checked(proto.address, "address"), secretHash: bytes(proto.secretHash),
            expires: ClusterTime(milliseconds: proto.expiresMilliseconds), invitedAt: WallClock(secondsSince1970: proto.invitedAtSeconds),
            binding: binding)
    }
}

extension ProtoFormerMember {
    fileprivate init(_ member: FormerMember) {
        id = member.id.name
        certificateSerial = field(member.certificateSerial.bytes)
        index = member.index.position
        removedAtSeconds = member.removedAt.secondsSince1970
    }
}

extension FormerMember {
    fileprivate init(_ proto: ProtoFormerMember) throws(WireFailure) {
        self.init(
            id: try MemberID(checking: proto.id), certificateSerial: try SerialNumber(checking: proto.certificateSerial),
            index: try LogIndex(checking: proto.index), removedAt: WallClock(secondsSince1970: proto.removedAtSeconds))
    }
}
