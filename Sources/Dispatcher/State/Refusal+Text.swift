// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Refusals in words for people: what was refused, and what to do about it. Status codes belong to the ports.

import CtrlExec

extension Refusal {
    package var text: String {
        switch self {
        case .notAllowed:
            "not allowed: this caller may not ask for this operation (use an operator's certificate that this cluster issued, or the control socket)"
        case .requestIDReused: "this request id was used for another request; repeat that one unchanged, or take a new id"
        case .requestForgotten: "this request was already answered, and the answer is no longer kept; it was not carried out again"
        case .requestTableFull:
            "\(RequestTable.limit) outcomes of the last 24 hours are kept and no more fit; nothing was done; try again later with the same request id"
        case .unknownPairing(let reqid): "no pairing request \(reqid) is waiting; see `ced list-requests`"
        case .unknownAgent(let name): "no agent is called \(name); see `ced list-agents`"
        case .agentNameTaken(let name): "an agent called \(name) exists already; choose another name, or unpair that one first"
        case .operatorNameTaken(let name): "an operator called \(name) exists already; choose another name"
        case .pairingClosed: "no pairing session is open; open one with `ced pairing-mode start`"
        case .pairingQueueFull: "pairing queue full: \(PairingQueue.limit) requests wait for a decision; approve or deny some first"
        case .pairingReqidTaken(let reqid): "pairing id \(reqid) is taken; submit again with another"
        case .pairingAlreadyApproved(let reqid): "pairing request \(reqid) was approved already; to undo that, revoke or unpair the agent"
        case .invalid(let reason): "invalid request: \(reason)"
        case .tooMany(let what): "too many: \(what)"
        case .reservationGone: "the reservation of this serial is gone: another leader took the work over, or it is done"
        case .rotationUnderway:
            "a rotation is under way already; watch it with `ced rotate-cert`, or end it with `ced rotate-cert --abort`"
        case .noRotation:
            "no rotation is under way that could be aborted; an identity that is current is replaced by another rotation"
        case .tooManyIdentities:
            "\(Identities.limit) dispatcher identities are in use because agents have not confirmed their successors (`ced serial-status` names them); bring those agents back, or unpair them, and ask again with a new request id"
        case .rotationAborted: "the rotation was aborted before its certificate was made; begin another with a new request id"
        case .unknownOperator(let name): "no operator is called \(name); see `ced list-operators`"
        case .operatorRevoked(let name):
            "operator \(name) was revoked while the certificate was being made; nothing was issued; ask again with a new request id if it is still wanted"
        case .unknownMember(let id): "no member is called \(id); see `ced cluster status`"
        case .memberNameTaken(let id):
            "the id \(id) is taken, by a member, by one that is about to join, or by one that was removed; ids are never used again, choose another"
        case .invitationUnknown:
            "this token lets nobody in: it is mistyped, was used or withdrawn, or its ten minutes are over; ask for another with `ced cluster invite`"
        case .invitationUsed(let id):
            "this token was used already, by another host; if that was not you, remove \(id) at once (`ced cluster remove \(id)`)"
        case .membershipRefused(let reason): reason
        case .rulesTooOld(let needed):
            "members come and go under version \(needed) of the cluster's rules, which is not in force yet: bring all members to this release, and see that none is held back by hold_version"
        case .stepGone: "this step of a rotation is done already, or no longer wanted"
        case .signingFailed(let reason):
            "the certificate could not be signed: \(reason); nothing was issued; try again with a new request id"
        }
    }
}
