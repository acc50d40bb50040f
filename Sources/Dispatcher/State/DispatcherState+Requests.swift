// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is known about a request before it is proposed, and what may be said about it then. Apply asks the same questions again.

import Consensus
import CtrlExec

extension DispatcherState {
    /// A refusal that can be said before anything is proposed; apply says the same, should it still hold then. A request whose outcome is
    /// known gets the refusal that it got then, or nil.
    package func validate(_ proposal: Proposal) -> Refusal? {
        if let refusal = malformation(of: proposal) { return refusal }
        if let request = proposal.request {
            switch requests.find(request, by: proposal.principal, Fingerprint(of: proposal.command)) {
            case .known(.refused(let refusal)), .turnedAway(let refusal): return refusal
            case .known: return nil
            case .new: break
            }
        }
        return refusal(of: proposal, at: max(time, proposal.time))
    }

    /// What was answered, or is being done, under this request id; nil if nothing is known. Reused ids are `.refused(.requestIDReused)`, ids
    /// of a member's session that were answered and forgotten `.refused(.requestForgotten)`.
    package func outcome(of request: RequestID, by principal: Principal, command: Command) -> Outcome? {
        switch requests.find(request, by: principal, Fingerprint(of: command)) {
        case .known(let outcome): outcome
        case .turnedAway(.requestTableFull), .new: nil
        case .turnedAway(let refusal): .refused(refusal)
        }
    }

    /// What makes a proposal not even worth keeping an outcome for.
    func malformation(of proposal: Proposal) -> Refusal? {
        if case .pairingHost(let address) = proposal.principal, !Reachability.isLiteral(address) {
            return .invalid("the address of a host that asks to be paired must be an IP literal")
        }
        if case .joiningHost(let address) = proposal.principal, !Reachability.isLiteral(address) {
            return .invalid("the address of a host that joins must be an IP literal")
        }
        switch proposal.request {
        case nil where proposal.principal != .leader: return .invalid("the request has no id")
        case .client(let text) where RequestID(client: text) == nil:
            return .invalid("a request id is 1 to \(RequestID.textLimit) bytes of printable ASCII without space")
        case .minted(_, 0, _): return .invalid("the sequence of a session begins at 1")
        default: return nil
        }
    }

    /// Whether the principal may, and whether it can be done now. Nil: it will be done.
    func refusal(of proposal: Proposal, at now: ClusterTime) -> Refusal? {
        guard mayAsk(proposal.principal, for: proposal.command) else { return .notAllowed }
        let needed = proposal.command.neededVersion
        if needed >= .third, needed > machineVersion { return .rulesTooOld(needed) }
        switch proposal.command {
        case .issueOperator(_, let signingRequest):
            if let problem = signingRequest.problem { return .invalid(problem) }
            if operatorBook.isFull { return .tooMany("\(Operators.limit) certificates of operators are kept, and no more fit") }
            return reservationRefusal
        case .openPairing(let milliseconds):
            guard milliseconds == .max || PairingQueue.sessionMilliseconds.contains(milliseconds) else {
                return .invalid("a pairing session lasts from 1 to 600 seconds")
            }
            return nil
        case .closePairing, .expire: return nil
        case .raiseVersion(let version): return version == machineVersion.next ? nil : .stepGone
        case .submitPairing(let submission):
            if let problem = submission.problem { return .invalid(problem) }
            if !pairing.isOpen(at: now) { return .pairingClosed }
            if pairing.isTaken(submission.reqid) { return .pairingReqidTaken(submission.reqid) }
            return pairing.waiting.count >= PairingQueue.limit ? .pairingQueueFull : nil
        case .approvePairing(let reqid, let granted):
            if let problem = granted.problem { return .invalid(problem) }
            guard let queued = pairing.find(reqid) else {
                if case .approved = pairing.decisions[reqid]?.decision.verdict { return nil }
                return .unknownPairing(reqid)
            }
            if queued.obligation != nil { return nil }
            if registry.isFull(for: queued.submission.hostname) { return .tooMany("\(Registry.limit) agents are paired, and no more fit") }
            return reservationRefusal
        case .denyPairing(let reqid):
            if let queued = pairing.find(reqid) { return queued.obligation == nil ? nil : .pairingAlreadyApproved(reqid) }
            switch pairing.decisions[reqid]?.decision.verdict {
            case .denied: return nil
            case .approved: return .pairingAlreadyApproved(reqid)
            case .expired, nil: return .unknownPairing(reqid)
            }
        case .unpair(let name): return registry.agents[name] == nil ? .unknownAgent(name) : nil
        case .editAgent(let name, let edit):
            if case .failure(let refusal) = registry.edited(name, edit) { return refusal }
            return nil
        case .reserveAnew(let id):
            if openObligations.open[id] == nil { return .reservationGone }
            return serials.isExhausted ? .tooMany("every serial number of this incarnation was used") : nil
        case .recordCertificate(let id, let serial, let certificate, _):
            guard openObligations.open[id]?.serial == serial, openObligations.open[id]?.purpose != .dispatcherIdentity else {
                return .reservationGone
            }
            return (1...DispatcherState.certificateLimit).contains(certificate.count)
                ? nil : .invalid("a certificate has 1 to \(DispatcherState.certificateLimit) bytes")
        case .signingFailed(let id, let serial, _): return openObligations.open[id]?.serial == serial ? nil : .reservationGone
        case .revoke(let target, let reason): return revocationRefusal(target, reason)
        case .beginRotation: return rotationRefusal(of: proposal.command, at: now) ?? reservationRefusal
        case .tagsLearned(let key, let tags):
            if proposal.command.neededVersion > machineVersion { return .stepGone }
            return stands(key) && registry.agents[key.name]?.tags != tags ? nil : .stepGone
        case .abortRotation, .recordIdentity, .memberHolds, .identityConfirmed, .identityRemoved, .dialectLearned, .activate, .retire:
            return rotationRefusal(of: proposal.command, at: now)
        case .invite, .admit, .removeMember, .setMemberAddress, .reconfigure: return membershipRefusal(of: proposal.command, at: now)
        }
    }

    static let certificateLimit = 16 * 1024

    var reservationRefusal: Refusal? {
        if openObligations.open.count >= Obligations.limit { return .tooMany("\(Obligations.limit) certificates wait to be signed") }
        return serials.isExhausted ? .tooMany("every serial number of this incarnation was used") : nil
    }

    private func mayAsk(_ principal: Principal, for command: Command) -> Bool {
        switch command {
        case .issueOperator, .closePairing, .approvePairing, .denyPairing, .unpair, .editAgent, .abortRotation, .revoke, .invite,
            .removeMember, .setMemberAddress:
            isOperator(principal)
        // One that names what it replaces is a leader's, before a certificate ends.
        case .beginRotation(_, _, let replaced): replaced == nil ? isOperator(principal) : principal == .leader
        // `pairing = always` is the leader's to carry out.
        case .openPairing(let milliseconds): isOperator(principal) || (principal == .leader && milliseconds == .max)
        case .submitPairing: if case .pairingHost = principal { true } else { false }
        case .admit: if case .joiningHost = principal { true } else { false }
        case .reserveAnew, .recordCertificate, .signingFailed, .expire, .recordIdentity, .memberHolds, .identityConfirmed,
            .identityRemoved, .dialectLearned, .tagsLearned, .activate, .retire, .raiseVersion, .reconfigure:
            principal == .leader
        }
    }

    /// Who may ask for what people ask for: an operator whose certificate is recorded here, or somebody on a member's own host.
    package func isOperator(_ principal: Principal) -> Bool {
        switch principal {
        case .operatorCertificate(let name, let serial): operatorBook[name, serial] != nil
        case .localUser: true
        case .pairingHost, .leader, .joiningHost: false
        }
    }
}

extension SigningRequest {
    var problem: String? {
        (1...SigningRequest.limit).contains(der.count) ? nil : "a certificate signing request has 1 to \(SigningRequest.limit) bytes"
    }
}

extension PairingSubmission {
    package static let nonceLimit = 128

    var problem: String? {
        if let problem = signingRequest.problem { return problem }
        if nonce.utf8.count > PairingSubmission.nonceLimit || !nonce.utf8.allSatisfy({ (32...126).contains($0) }) {
            return "a nonce has at most \(PairingSubmission.nonceLimit) bytes of printable ASCII"
        }
        if code.utf8.count != 6 || !code.utf8.allSatisfy({ (48...57).contains($0) }) { return "a pairing code has six digits" }
        if !Reachability.isLiteral(sourceAddress) { return "the source address must be an IP literal" }
        return suggested.problem
    }
}
