// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Outcomes and refusals, on their way back from the leader.

import Consensus
import CtrlExec
import DispatcherState

extension ProtoOutcome {
    init(_ outcome: Outcome) {
        switch outcome {
        case .underway(let obligation): underway = obligation.index.position
        case .operatorIssued(let name, let serial):
            operatorIssued.name = name.text
            operatorIssued.serial = field(serial.bytes)
        case .pairingOpened(let until): pairingOpenedUntilMilliseconds = until.milliseconds
        case .pairingClosed: pairingClosed = ProtoNothing()
        case .pairingQueued(let reqid): pairingQueued = reqid.number
        case .pairingApproved(let reqid, let name, let serial):
            pairingApproved.reqid = reqid.number
            pairingApproved.name = name.text
            pairingApproved.serial = field(serial.bytes)
        case .pairingDenied(let reqid): pairingDenied = reqid.number
        case .agentRemoved(let name): agentRemoved = name.text
        case .agentEdited(let name): agentEdited = name.text
        case .stepped: stepped = ProtoNothing()
        case .rotationBegun(let serial): rotationBegun = field(serial.bytes)
        case .rotationAborted: rotationAborted = ProtoNothing()
        case .revoked(let index): revokedAt = index.position
        case .invited(let id, let until):
            invited.member = id.name
            invited.untilMilliseconds = until.milliseconds
        case .memberAdmitted(let id, let serial):
            memberAdmitted.member = id.name
            memberAdmitted.serial = field(serial.bytes)
        case .memberRemoved(let id): memberRemoved = id.name
        case .memberMoved(let id): memberMoved = id.name
        case .refused(let refusal): refused = ProtoRefusal(refusal)
        }
    }
}

extension Outcome {
    init(_ proto: ProtoOutcome) throws(WireFailure) {
        switch proto.kind {
        case .underway(let index): self = .underway(ObligationID(try LogIndex(checking: index)))
        case .operatorIssued(let issued):
            self = .operatorIssued(try OperatorName(checking: issued.name), try SerialNumber(checking: issued.serial))
        case .pairingOpenedUntilMilliseconds(let until): self = .pairingOpened(until: ClusterTime(milliseconds: until))
        case .pairingClosed: self = .pairingClosed
        case .pairingQueued(let reqid): self = .pairingQueued(Reqid(reqid))
        case .pairingApproved(let approved):
            self = .pairingApproved(
                Reqid(approved.reqid), try AgentName(checking: approved.name), try SerialNumber(checking: approved.serial))
        case .pairingDenied(let reqid): self = .pairingDenied(Reqid(reqid))
        case .agentRemoved(let name): self = .agentRemoved(try AgentName(checking: name))
        case .agentEdited(let name): self = .agentEdited(try AgentName(checking: name))
        case .stepped: self = .stepped
        case .rotationBegun(let serial): self = .rotationBegun(try SerialNumber(checking: serial))
        case .rotationAborted: self = .rotationAborted
        case .revokedAt(let index): self = .revoked(at: try LogIndex(checking: index))
        case .invited(let invited):
            self = .invited(try MemberID(checking: invited.member), until: ClusterTime(milliseconds: invited.untilMilliseconds))
        case .memberAdmitted(let admitted):
            self = .memberAdmitted(try MemberID(checking: admitted.member), try SerialNumber(checking: admitted.serial))
        case .memberRemoved(let id): self = .memberRemoved(try MemberID(checking: id))
        case .memberMoved(let id): self = .memberMoved(try MemberID(checking: id))
        case .refused(let refusal): self = .refused(try Refusal(refusal))
        case nil: throw .malformed("outcome, or one of a newer version")
        }
    }
}

extension ProtoRefusal {
    init(_ refusal: Refusal) {
        switch refusal {
        case .notAllowed: kind = .notAllowed
        case .requestIDReused: kind = .requestIDReused
        case .requestForgotten: kind = .requestForgotten
        case .requestTableFull: kind = .requestTableFull
        case .unknownPairing(let reqid): (kind, self.reqid) = (.unknownPairing, reqid.number)
        case .unknownAgent(let name): (kind, text) = (.unknownAgent, name.text)
        case .agentNameTaken(let name): (kind, text) = (.agentNameTaken, name.text)
        case .operatorNameTaken(let name): (kind, text) = (.operatorNameTaken, name.text)
        case .pairingClosed: kind = .pairingClosed
        case .pairingQueueFull: kind = .pairingQueueFull
        case .pairingReqidTaken(let reqid): (kind, self.reqid) = (.pairingReqidTaken, reqid.number)
        case .pairingAlreadyApproved(let reqid): (kind, self.reqid) = (.pairingAlreadyApproved, reqid.number)
        case .invalid(let reason): (kind, text) = (.invalid, reason)
        case .tooMany(let what): (kind, text) = (.tooMany, what)
        case .reservationGone: kind = .reservationGone
        case .signingFailed(let reason): (kind, text) = (.signingFailed, reason)
        case .rotationUnderway: kind = .rotationUnderway
        case .noRotation: kind = .noRotation
        case .rotationAborted: kind = .rotationAborted
        case .stepGone: kind = .stepGone
        case .tooManyIdentities: kind = .tooManyIdentities
        case .unknownOperator(let name): (kind, text) = (.unknownOperator, name.text)
        case .operatorRevoked(let name): (kind, text) = (.operatorRevoked, name.text)
        case .unknownMember(let id): (kind, text) = (.unknownMember, id.name)
        case .memberNameTaken(let id): (kind, text) = (.memberNameTaken, id.name)
        case .invitationUnknown: kind = .invitationUnknown
        case .invitationUsed(let id): (kind, text) = (.invitationUsed, id.name)
        case .membershipRefused(let reason): (kind, text) = (.membershipRefused, reason)
        case .rulesTooOld(let needed): (kind, version) = (.rulesTooOld, needed.number)
        }
    }
}

extension Refusal {
    init(_ proto: ProtoRefusal) throws(WireFailure) {
        let text = try checked(proto.text, "text of a refusal")
        switch proto.kind {
        case .notAllowed: self = .notAllowed
        case .requestIDReused: self = .requestIDReused
        case .requestForgotten: self = .requestForgotten
        case .requestTableFull: self = .requestTableFull
        case .unknownPairing: self = .unknownPairing(Reqid(proto.reqid))
        case .unknownAgent: self = .unknownAgent(try AgentName(checking: text))
        case .agentNameTaken: self = .agentNameTaken(try AgentName(checking: text))
        case .operatorNameTaken: self = .operatorNameTaken(try OperatorName(checking: text))
        case .pairingClosed: self = .pairingClosed
        case .pairingQueueFull: self = .pairingQueueFull
        case .pairingReqidTaken: self = .pairingReqidTaken(Reqid(proto.reqid))
        case .pairingAlreadyApproved: self = .pairingAlreadyApproved(Reqid(proto.reqid))
        case .invalid: self = .invalid(text)
        case .tooMany: self = .tooMany(text)
        case .reservationGone: self = .reservationGone
        case .signingFailed: self = .signingFailed(text)
        case .rotationUnderway: self = .rotationUnderway
        case .noRotation: self = .noRotation
        case .rotationAborted: self = .rotationAborted
        case .stepGone: self = .stepGone
        case .tooManyIdentities: self = .tooManyIdentities
        case .unknownOperator: self = .unknownOperator(try OperatorName(checking: text))
        case .operatorRevoked: self = .operatorRevoked(try OperatorName(checking: text))
        case .unknownMember: self = .unknownMember(try MemberID(checking: text))
        case .memberNameTaken: self = .memberNameTaken(try MemberID(checking: text))
        case .invitationUnknown: self = .invitationUnknown
        case .invitationUsed: self = .invitationUsed(try MemberID(checking: text))
        case .membershipRefused: self = .membershipRefused(text)
        case .rulesTooOld: self = .rulesTooOld(MachineVersion(proto.version))
        case .unset, .UNRECOGNIZED: throw .malformed("refusal, or one of a newer version")
        }
    }
}
