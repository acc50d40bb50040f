// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Proposals: the payload of an entry. What is well-formed but not acceptable is the state machine's to refuse, with words.

import Consensus
import CtrlExec
import DispatcherState

extension Proposal {
    /// Of the first release.
    package static let format: UInt32 = 1

    package func encoded() -> [UInt8] {
        var proto = ProtoProposal()
        proto.format = Proposal.format
        proto.command = ProtoCommand(command)
        proto.principal = ProtoPrincipal(principal)
        if let request { proto.request = ProtoRequestID(request) }
        proto.timeMilliseconds = time.milliseconds
        proto.calendarSeconds = calendar.secondsSince1970
        return proto.serialized()
    }

    package init(decoding bytes: [UInt8]) throws(WireFailure) {
        let proto = try ProtoProposal(bytes, limit: Entry.payloadLimit)
        guard proto.format == Proposal.format else { throw .unknownFormat(proto.format) }
        self.init(
            command: try Command(proto.command), principal: try Principal(proto.principal),
            request: proto.hasRequest ? try RequestID(proto.request) : nil, time: ClusterTime(milliseconds: proto.timeMilliseconds),
            calendar: WallClock(secondsSince1970: proto.calendarSeconds))
    }
}

// MARK: Who asks

extension ProtoPrincipal {
    init(_ principal: Principal) {
        switch principal {
        case .operatorCertificate(let name, let serial):
            operatorCertificate.name = name.text
            operatorCertificate.serial = field(serial.bytes)
        case .localUser(let uid): localUser = uid
        case .pairingHost(let address): pairingHost = address
        case .leader: leader = ProtoNothing()
        case .joiningHost(let address): joiningHost = address
        }
    }
}

extension Principal {
    init(_ proto: ProtoPrincipal) throws(WireFailure) {
        switch proto.kind {
        case .operatorCertificate(let certificate):
            self = .operatorCertificate(try OperatorName(checking: certificate.name), try SerialNumber(checking: certificate.serial))
        case .localUser(let uid): self = .localUser(uid: uid)
        case .pairingHost(let address): self = .pairingHost(address: try checked(address, "address"))
        case .leader: self = .leader
        case .joiningHost(let address): self = .joiningHost(address: try checked(address, "address"))
        case nil: throw .malformed("principal")
        }
    }
}

extension ProtoRequestID {
    init(_ request: RequestID) {
        switch request {
        case .client(let text): client = text
        case .minted(let session, let sequence, let answeredThrough):
            minted.session = session
            minted.sequence = sequence
            minted.answeredThrough = answeredThrough
        }
    }
}

extension RequestID {
    init(_ proto: ProtoRequestID) throws(WireFailure) {
        switch proto.kind {
        case .client(let text): self = try required(RequestID(client: text), "request id")
        case .minted(let minted):
            self = .minted(session: minted.session, sequence: minted.sequence, answeredThrough: minted.answeredThrough)
        case nil: throw .malformed("request id")
        }
    }
}

// MARK: Commands

extension ProtoCommand {
    init(_ command: Command) {
        switch command {
        case .issueOperator(let name, let signingRequest):
            issueOperator.name = name.text
            issueOperator.signingRequest = field(signingRequest.der)
        case .openPairing(let milliseconds): openPairingMilliseconds = milliseconds
        case .closePairing: closePairing = ProtoNothing()
        case .submitPairing(let submission): submitPairing = ProtoPairingSubmission(submission)
        case .approvePairing(let reqid, let reachability):
            approvePairing.reqid = reqid.number
            approvePairing.reachability = ProtoReachability(reachability)
        case .denyPairing(let reqid): denyPairing = reqid.number
        case .unpair(let name): unpair = name.text
        case .editAgent(let name, let edit):
            editAgent.name = name.text
            if let rename = edit.rename { editAgent.rename = rename.text }
            editAgent.reachability = ProtoReachability(edit.reachability)
        case .reserveAnew(let obligation): reserveAnew = obligation.index.position
        case .recordCertificate(let obligation, let serial, let certificate, let notAfter):
            recordCertificate.obligation = obligation.index.position
            recordCertificate.serial = field(serial.bytes)
            recordCertificate.certificate = field(certificate)
            recordCertificate.notAfterSeconds = notAfter.secondsSince1970
        case .signingFailed(let obligation, let serial, let reason):
            signingFailed.obligation = obligation.index.position
            signingFailed.serial = field(serial.bytes)
            signingFailed.reason = reason
        case .expire: expire = ProtoNothing()
        case .raiseVersion(let version): raiseVersion = version.number
        case .beginRotation(let overlap, let isCompromised, let replaced):
            beginRotation.overlapMilliseconds = overlap
            beginRotation.isCompromised = isCompromised
            if let replaced { beginRotation.replacing = field(replaced.bytes) }
        case .abortRotation: abortRotation = ProtoNothing()
        case .revoke(let target, let reason):
            revoke.reason = reason
            switch target {
            case .serial(let serial): revoke.serial = field(serial.bytes)
            case .agent(let name): revoke.agent = name.text
            case .operatorNamed(let name): revoke.operator = name.text
            }
        case .recordIdentity(let obligation, let serial, let certificate, let key, let notAfter):
            recordIdentity.obligation = obligation.index.position
            recordIdentity.serial = field(serial.bytes)
            recordIdentity.certificate = field(certificate)
            recordIdentity.key = ProtoSealedKey(key)
            recordIdentity.notAfterSeconds = notAfter.secondsSince1970
        case .memberHolds(let member, let serial):
            memberHolds.member = member.name
            memberHolds.serial = field(serial.bytes)
        case .identityConfirmed(let agent, let serial, let refused):
            identityConfirmed.agent = ProtoAgentKey(agent)
            identityConfirmed.serial = field(serial.bytes)
            identityConfirmed.refused = refused.map { field($0.bytes) }
        case .identityRemoved(let agent, let serial):
            identityRemoved.agent = ProtoAgentKey(agent)
            identityRemoved.serial = field(serial.bytes)
        case .dialectLearned(let agent, let dialect):
            dialectLearned.agent = ProtoAgentKey(agent)
            dialectLearned.dialect =
                switch dialect {
                case .single: .single
                case .script: .script
                case .endpoint: .endpoint
                }
        case .tagsLearned(let agent, let tags):
            tagsLearned.agent = ProtoAgentKey(agent)
            tagsLearned.tags = ProtoAgentTag.all(tags)
        case .activate(let serial): activate = field(serial.bytes)
        case .retire(let serial): retire = field(serial.bytes)
        case .invite(let id, let address, let secretHash):
            invite.member = id.name
            invite.address = address
            invite.secretHash = field(secretHash)
        case .admit(let join):
            admit.member = join.member.name
            admit.secretHash = field(join.secretHash)
            admit.publicKey = field(join.publicKey)
            admit.signingRequest = field(join.signingRequest.der)
        case .removeMember(let id): removeMember = id.name
        case .setMemberAddress(let id, let address):
            setMemberAddress.member = id.name
            setMemberAddress.address = address
        case .reconfigure(let configuration): reconfigure = ProtoConfiguration(configuration)
        }
    }
}

extension Command {
    init(_ proto: ProtoCommand) throws(WireFailure) {
        switch proto.kind {
        case .issueOperator(let issue):
            self = .issueOperator(
                try OperatorName(checking: issue.name), signingRequest: SigningRequest(der: bytes(issue.signingRequest)))
        case .openPairingMilliseconds(let milliseconds): self = .openPairing(milliseconds: milliseconds)
        case .closePairing: self = .closePairing
        case .submitPairing(let submission): self = .submitPairing(try PairingSubmission(submission))
        case .approvePairing(let approve): self = .approvePairing(Reqid(approve.reqid), try Reachability(approve.reachability))
        case .denyPairing(let reqid): self = .denyPairing(Reqid(reqid))
        case .unpair(let name): self = .unpair(try AgentName(checking: name))
        case .editAgent(let edit):
            let rename = edit.hasRename ? try AgentName(checking: edit.rename) : nil
            self = .editAgent(
                try AgentName(checking: edit.name), AgentEdit(rename: rename, reachability: try Reachability(edit.reachability)))
        case .reserveAnew(let index): self = .reserveAnew(ObligationID(try LogIndex(checking: index)))
        case .recordCertificate(let record):
            self = .recordCertificate(
                ObligationID(try LogIndex(checking: record.obligation)), try SerialNumber(checking: record.serial),
                certificate: bytes(record.certificate), notAfter: WallClock(secondsSince1970: record.notAfterSeconds))
        case .signingFailed(let failed):
            self = .signingFailed(
                ObligationID(try LogIndex(checking: failed.obligation)), try SerialNumber(checking: failed.serial), reason: failed.reason)
        case .expire: self = .expire
        case .raiseVersion(let number): self = .raiseVersion(MachineVersion(number))
        case .beginRotation(let begin):
            self = .beginRotation(
                overlapMilliseconds: begin.overlapMilliseconds, isCompromised: begin.isCompromised,
                replacing: begin.hasReplacing ? try SerialNumber(checking: begin.replacing) : nil)
        case .abortRotation: self = .abortRotation
        case .revoke(let revoke):
            let target: RevocationTarget
            switch revoke.target {
            case .serial(let serial): target = .serial(try SerialNumber(checking: serial))
            case .agent(let name): target = .agent(try AgentName(checking: name))
            case .operator(let name): target = .operatorNamed(try OperatorName(checking: name))
            case nil: throw .malformed("target of a revocation")
            }
            self = .revoke(target, reason: revoke.reason)
        case .recordIdentity(let record):
            self = .recordIdentity(
                ObligationID(try LogIndex(checking: record.obligation)), try SerialNumber(checking: record.serial),
                certificate: bytes(record.certificate), key: SealedKey(record.key),
                notAfter: WallClock(secondsSince1970: record.notAfterSeconds))
        case .memberHolds(let holds): self = .memberHolds(try MemberID(checking: holds.member), try SerialNumber(checking: holds.serial))
        case .identityConfirmed(let confirmed):
            self = .identityConfirmed(
                try AgentKey(confirmed.agent), try SerialNumber(checking: confirmed.serial), refused: try serialNumbers(confirmed.refused))
        case .identityRemoved(let removed):
            self = .identityRemoved(try AgentKey(removed.agent), try SerialNumber(checking: removed.serial))
        case .dialectLearned(let learned): self = .dialectLearned(try AgentKey(learned.agent), try AgentDialect(learned.dialect))
        case .tagsLearned(let learned): self = .tagsLearned(try AgentKey(learned.agent), try AgentTags(checking: learned.tags))
        case .activate(let serial): self = .activate(try SerialNumber(checking: serial))
        case .retire(let serial): self = .retire(try SerialNumber(checking: serial))
        case .invite(let invite):
            self = .invite(
                try MemberID(checking: invite.member), address: try checked(invite.address, "address"), secretHash: bytes(invite.secretHash)
            )
        case .admit(let admit):
            self = .admit(
                JoinRequest(
                    member: try MemberID(checking: admit.member), secretHash: bytes(admit.secretHash), publicKey: bytes(admit.publicKey),
                    signingRequest: SigningRequest(der: bytes(admit.signingRequest))))
        case .removeMember(let id): self = .removeMember(try MemberID(checking: id))
        case .setMemberAddress(let move):
            self = .setMemberAddress(try MemberID(checking: move.member), try checked(move.address, "address"))
        case .reconfigure(let configuration): self = .reconfigure(try Configuration(configuration))
        case nil: throw .malformed("command, or one of a newer version")
        }
    }
}

extension ProtoPairingSubmission {
    init(_ submission: PairingSubmission) {
        reqid = submission.reqid.number
        hostname = submission.hostname.text
        signingRequest = field(submission.signingRequest.der)
        nonce = submission.nonce
        code = submission.code
        sourceAddress = submission.sourceAddress
        suggested = ProtoReachability(submission.suggested)
    }
}

extension PairingSubmission {
    init(_ proto: ProtoPairingSubmission) throws(WireFailure) {
        self.init(
            reqid: Reqid(proto.reqid), hostname: try AgentName(checking: proto.hostname),
            signingRequest: SigningRequest(der: bytes(proto.signingRequest)), nonce: proto.nonce, code: proto.code,
            sourceAddress: proto.sourceAddress, suggested: try Reachability(proto.suggested))
    }
}

extension ProtoReachability {
    init(_ reachability: Reachability) {
        switch reachability.lookup {
        case .hostname: lookup = .hostname
        case .ip: lookup = .ip
        case nil: lookup = .unset
        }
        if let address = reachability.address { self.address = address }
        if let port = reachability.port { self.port = UInt32(port) }
    }
}

extension Reachability {
    init(_ proto: ProtoReachability) throws(WireFailure) {
        self.init()
        switch proto.lookup {
        case .unset: break
        case .hostname: lookup = .hostname
        case .ip: lookup = .ip
        case .UNRECOGNIZED(let number): throw .malformed("way of looking an agent up \(number)")
        }
        if proto.hasAddress { address = proto.address }
        if proto.hasPort { port = try required(UInt16(exactly: proto.port), "port \(proto.port)") }
    }
}

extension ProtoAgentKey {
    init(_ key: AgentKey) {
        name = key.name.text
        pairing = key.pairing.number
    }
}

extension AgentKey {
    init(_ proto: ProtoAgentKey) throws(WireFailure) { self.init(name: try AgentName(checking: proto.name), pairing: Reqid(proto.pairing)) }
}

extension ProtoAgentTag {
    static func all(_ tags: AgentTags) -> [ProtoAgentTag] {
        tags.all.map { tag in
            var proto = ProtoAgentTag()
            proto.key = tag.key
            proto.value = tag.value
            return proto
        }
    }
}

extension AgentTags {
    init(checking protos: [ProtoAgentTag]) throws(WireFailure) {
        guard protos.count <= AgentTags.countLimit else { throw .malformed("\(protos.count) tags") }
        self = try required(AgentTags(protos.map { AgentTag(key: $0.key, value: $0.value) }), "tags")
    }
}

extension AgentDialect {
    init(_ proto: ProtoDialectLearned.Dialect) throws(WireFailure) {
        switch proto {
        case .single: self = .single
        case .script: self = .script
        case .endpoint: self = .endpoint
        case .unset, .UNRECOGNIZED: throw .malformed("dialect of an agent")
        }
    }
}
