// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How an entry changes the state. Total: whatever an entry says, apply neither traps nor throws, for a trap here would stop every member
// for ever at the same entry. What cannot be carried out is an outcome.

import Consensus
import CtrlExec

extension DispatcherState {
    /// Entries come in the order of the log; one at or below `appliedIndex` changes nothing.
    package mutating func apply(_ proposal: Proposal, at index: LogIndex, term: Term) -> Applied {
        guard index > appliedIndex else { return Applied(outcome: .refused(.invalid("entry \(index) was applied before"))) }
        appliedIndex = index
        time = max(time, proposal.time)
        var applied = Applied(outcome: .stepped)
        applied.decided = pairing.expire(at: time)
        requests.forget(at: time)
        membership.forget(at: time)
        applied.outcome = carryOutOnce(proposal, term, &applied)
        if proposal.command.concernsRotation { rotationIndex = index }

        var hasher = CanonicalHasher(.entry)
        hasher.add(stateHash)
        hasher.add(index)
        hasher.add(term)
        hasher.add(proposal)
        hasher.add(applied)
        stateHash = hasher.digest
        return applied
    }

    /// A payload that is empty (a term's first entry) or that this version cannot read: only the position moves.
    package mutating func applyNothing(at index: LogIndex, term: Term) {
        guard index > appliedIndex else { return }
        appliedIndex = index
        var hasher = CanonicalHasher(.entry)
        hasher.add(stateHash)
        hasher.add(index)
        hasher.add(term)
        stateHash = hasher.digest
    }

    /// The look-up under the request's id, and the outcome kept there.
    private mutating func carryOutOnce(_ proposal: Proposal, _ term: Term, _ applied: inout Applied) -> Outcome {
        if let refusal = malformation(of: proposal) { return .refused(refusal) }
        guard let request = proposal.request else { return carryOut(proposal, term, &applied) }
        requests.note(request, at: time)
        let fingerprint = Fingerprint(of: proposal.command)
        switch requests.find(request, by: proposal.principal, fingerprint) {
        case .known(let outcome): return outcome
        case .turnedAway(let refusal): return .refused(refusal)
        case .new: break
        }
        let outcome = carryOut(proposal, term, &applied)
        // The submission's reqid is no part of the request: it may be repeated under this id with another.
        if case .refused(.pairingReqidTaken) = outcome { return outcome }
        requests.store(request, by: proposal.principal, RequestTable.Record(fingerprint: fingerprint, outcome: outcome), at: time)
        if case .underway(let obligation) = outcome { openObligations.wait(for: obligation, RequestKey(request, proposal.principal)) }
        return outcome
    }

    private mutating func carryOut(_ proposal: Proposal, _ term: Term, _ applied: inout Applied) -> Outcome {
        if let refusal = refusal(of: proposal, at: time) { return .refused(refusal) }
        switch proposal.command {
        case .issueOperator(let name, let signingRequest):
            return oblige(.operatorCertificate(name), signingRequest, term, proposal.calendar)
        case .openPairing(let milliseconds):
            let until = time + milliseconds
            pairing.open(until: until)
            return .pairingOpened(until: until)
        case .closePairing:
            pairing.close()
            return .pairingClosed
        case .submitPairing(let submission):
            pairing.add(QueuedPairing(submission: submission, received: proposal.calendar, receivedAt: time, obligation: nil))
            return .pairingQueued(submission.reqid)
        case .approvePairing(let reqid, let granted): return approve(reqid, granted, term, proposal.calendar)
        case .denyPairing(let reqid):
            if let decision = pairing.decide(reqid, .denied, serial: nil, at: time) { applied.decided.append(decision) }
            return .pairingDenied(reqid)
        case .unpair(let name):
            registry.remove(name)
            return .agentRemoved(name)
        case .editAgent(let name, let edit):
            switch registry.edited(name, edit) {
            case .success(let agent):
                registry.edit(name, into: agent)
                return .agentEdited(agent.name)
            case .failure(let refusal): return .refused(refusal)
            }
        case .reserveAnew(let id): return reserveAnew(id, term, proposal.calendar)
        case .recordCertificate(let id, let serial, let certificate, let notAfter):
            guard openObligations.stands(id, serial: serial, term: term), let obligation = openObligations.open[id] else {
                return .refused(.reservationGone)
            }
            let outcome: Outcome
            switch obligation.purpose {
            case .operatorCertificate(let name):
                outcome = record(OperatorRecord(name: name, serial: serial, certificate: certificate, notAfter: notAfter))
            case .agentCertificate(let reqid, _):
                outcome = record(certificate, serial, notAfter, for: reqid, paired: proposal.calendar, &applied)
            case .dispatcherIdentity: return .refused(.reservationGone)
            case .memberCertificate(let member): outcome = recordMember(member, id, certificate, serial)
            }
            settle(id, outcome, &applied)
            return .stepped
        case .signingFailed(let id, let serial, let reason):
            guard openObligations.stands(id, serial: serial, term: term), let obligation = openObligations.open[id] else {
                return .refused(.reservationGone)
            }
            switch obligation.purpose {
            case .agentCertificate(let reqid, _): pairing.reopen(reqid)
            case .dispatcherIdentity: identityBook.rotation = nil
            case .operatorCertificate: break
            case .memberCertificate(let member): withdrawInvitation(of: member)
            }
            settle(id, .refused(.signingFailed(printable(reason))), &applied)
            return .stepped
        case .expire: return .stepped
        case .raiseVersion(let version):
            machineVersion = version
            return .stepped
        case .beginRotation(let overlap, let isCompromised, _):
            let outcome = oblige(.dispatcherIdentity, SigningRequest(der: []), term, proposal.calendar)
            if case .underway(let obligation) = outcome {
                identityBook.rotation = Rotation(
                    stage: .making(obligation), overlapMilliseconds: overlap, isCompromised: isCompromised, started: time,
                    startedAt: proposal.calendar)
            }
            return outcome
        case .abortRotation:
            if let unwanted = abortRotation() { settle(unwanted, .refused(.rotationAborted), &applied) }
            return .rotationAborted
        case .revoke(let target, let reason): return revoke(target, reason, at: proposal.calendar, &applied)
        case .recordIdentity(let id, let serial, let certificate, let key, let notAfter):
            guard openObligations.stands(id, serial: serial, term: term) else { return .refused(.reservationGone) }
            let identity = Identity(serial: serial, certificate: certificate, key: key, notAfter: notAfter, phase: .prepared)
            settle(id, recordIdentity(identity), &applied)
            applied.prepared = identity
            return .stepped
        case .memberHolds(let member, let serial):
            identityBook.hold(serial, by: member)
            return .stepped
        case .identityConfirmed(let agent, let serial, let refused):
            confirm(agent.name, serial, refused: refused, at: proposal.calendar)
            return .stepped
        case .identityRemoved(let agent, let serial):
            forget(agent.name, serial)
            return .stepped
        case .dialectLearned(let agent, let dialect):
            learn(agent.name, dialect)
            return .stepped
        case .tagsLearned(let agent, let tags):
            registry.update(agent.name) { $0.tags = tags }
            return .stepped
        case .activate(let serial):
            activate(serial, at: proposal.calendar)
            return .stepped
        case .retire(let serial):
            finish(serial, at: proposal.calendar)
            return .stepped
        case .invite(let id, let address, let secretHash): return invite(id, address, secretHash, proposal.calendar)
        case .admit(let join): return admit(join, term, proposal.calendar)
        case .removeMember(let id): return removeMember(id)
        case .setMemberAddress(let id, let address): return moveMember(id, to: address)
        case .reconfigure(let configuration):
            reconfigure(configuration, proposal.calendar)
            return .stepped
        }
    }

    // MARK: Reserve, sign, record

    mutating func oblige(
        _ purpose: Obligation.Purpose, _ signingRequest: SigningRequest, _ term: Term, _ calendar: WallClock
    ) -> Outcome {
        guard let serial = serials.reserve() else { return .refused(.tooMany("every serial number of this incarnation was used")) }
        let id = ObligationID(appliedIndex)
        openObligations.add(
            Obligation(id: id, purpose: purpose, signingRequest: signingRequest, serial: serial, term: term, reservedAt: calendar))
        return .underway(id)
    }

    /// A reservation belongs to the term that made it. The old serial is burned: whatever its leader still signs is turned away.
    private mutating func reserveAnew(_ id: ObligationID, _ term: Term, _ calendar: WallClock) -> Outcome {
        guard let obligation = openObligations.open[id], term > obligation.term, let serial = serials.reserve() else {
            return .refused(.reservationGone)
        }
        openObligations.reserveAnew(id, serial: serial, term: term, at: calendar)
        return .stepped
    }

    mutating func settle(_ id: ObligationID, _ outcome: Outcome, _ applied: inout Applied) {
        for key in openObligations.end(id) { requests.settle(key, outcome) }
        applied.settled.append(Settled(obligation: id, outcome: outcome))
    }

    private mutating func record(_ operatorRecord: OperatorRecord) -> Outcome {
        // Others may have taken the last places since the reservation.
        guard !operatorBook.isFull else {
            return .refused(.tooMany("\(Operators.limit) certificates of operators are kept, and no more fit"))
        }
        operatorBook.record(operatorRecord)
        return .operatorIssued(operatorRecord.name, operatorRecord.serial)
    }

    // MARK: Pairing

    private mutating func approve(_ reqid: Reqid, _ granted: Reachability, _ term: Term, _ calendar: WallClock) -> Outcome {
        guard let queued = pairing.find(reqid) else {
            // Approved and done: another operator's approval finds what the first one's did.
            guard let decided = pairing.decisions[reqid], let serial = decided.serial else { return .refused(.unknownPairing(reqid)) }
            return .pairingApproved(reqid, decided.name, serial)
        }
        // The first approval stands, with what it said about reaching the agent.
        if let obligation = queued.obligation { return .underway(obligation) }
        let purpose = Obligation.Purpose.agentCertificate(reqid, queued.submission.hostname)
        let outcome = oblige(purpose, queued.submission.signingRequest, term, calendar)
        if case .underway(let obligation) = outcome { pairing.approve(reqid, granted, under: obligation) }
        return outcome
    }

    private mutating func record(
        _ certificate: [UInt8], _ serial: SerialNumber, _ notAfter: WallClock, for reqid: Reqid, paired: WallClock,
        _ applied: inout Applied
    ) -> Outcome {
        guard let queued = pairing.find(reqid) else { return .refused(.unknownPairing(reqid)) }
        let name = queued.submission.hostname
        guard !registry.isFull(for: name) else {
            pairing.reopen(reqid)
            return .refused(.tooMany("\(Registry.limit) agents are paired, and no more fit"))
        }
        let reach = Reachability.resolve(granted: queued.granted ?? Reachability(), submission: queued.submission)
        registry.record(
            AgentRecord(
                name: name, lookup: reach.lookup, address: reach.address, port: reach.port, paired: paired, reqid: reqid,
                certificateSerial: serial, certificateNotAfter: notAfter,
                confirmedIdentities: identityBook.current.map { [$0.serial] } ?? [], confirmedAt: identityBook.current.map { _ in paired }))
        if let decision = pairing.decide(reqid, .approved(certificate: certificate), serial: serial, at: time) {
            applied.decided.append(decision)
        }
        return .pairingApproved(reqid, name, serial)
    }

    /// At most 200 bytes of printable ASCII: an outcome is kept for a day and stays small.
    private func printable(_ reason: String) -> String {
        String(decoding: reason.utf8.prefix(200).map { (32...126).contains($0) ? $0 : 63 }, as: UTF8.self)
    }
}

extension Command {
    /// Whether it could change what some agent must be told.
    fileprivate var concernsRotation: Bool {
        switch self {
        case .unpair, .editAgent, .recordCertificate, .abortRotation, .recordIdentity, .memberHolds, .identityConfirmed, .identityRemoved,
            .dialectLearned, .activate, .retire, .revoke, .removeMember, .reconfigure:
            true
        case .issueOperator, .openPairing, .closePairing, .submitPairing, .approvePairing, .denyPairing, .reserveAnew, .signingFailed,
            .expire, .beginRotation, .tagsLearned, .raiseVersion, .invite, .admit, .setMemberAddress:
            false
        }
    }
}
