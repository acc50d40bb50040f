// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The canonical form of every type that the state is made of: all stored properties in order, enum cases by number. A field that is added
// to a type is added here too, and to the state's image (`Image/`).

import Consensus
import CtrlExec

extension Term: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(number) }
}

extension LogIndex: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(position) }
}

extension MemberID: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(name) }
}

extension WallClock: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(UInt64(bitPattern: secondsSince1970)) }
}

extension ClusterTime: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(milliseconds) }
}

extension AgentName: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(text) }
}

extension OperatorName: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(text) }
}

extension DispatcherID: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(text) }
}

extension Reqid: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(number) }
}

extension SerialNumber: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(words.high)
        hasher.add(words.middle)
        hasher.add(words.low)
    }
}

extension ClusterID: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(bytes) }
}

extension Incarnation: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(counter)
        hasher.add(random)
    }
}

extension SealedKey: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(name)
        hasher.add(UInt64(keyVersion))
        hasher.add(bytes)
    }
}

extension CertificateAuthority: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(certificate)
        hasher.add(key)
    }
}

extension Identity: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(serial)
        hasher.add(certificate)
        hasher.add(key)
        hasher.add(notAfter)
        hasher.add(phase.rawValue)
    }
}

extension MemberRecord: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(id)
        hasher.add(address)
        hasher.add(certificateSerial)
    }
}

extension GenesisState: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(cluster)
        hasher.add(incarnation)
        hasher.add(dispatcherID)
        hasher.add(members)
        hasher.add(fleetCA)
        hasher.add(clusterCA)
        hasher.add(identity)
        hasher.add(nextSerialCounter)
    }
}

extension SigningRequest: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(der) }
}

extension ObligationID: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(index) }
}

extension Fingerprint: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(first)
        hasher.add(second)
    }
}

extension Reachability: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(lookup.map { $0 == .hostname ? 1 : 2 } ?? 0)
        hasher.add(address != nil)
        hasher.add(address ?? "")
        hasher.add(port.map { UInt64($0) + 1 } ?? UInt64(0))
    }
}

extension AgentEdit: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(rename)
        hasher.add(reachability)
    }
}

extension PairingSubmission: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(reqid)
        hasher.add(hostname)
        hasher.add(signingRequest)
        hasher.add(nonce)
        hasher.add(code)
        hasher.add(sourceAddress)
        hasher.add(suggested)
    }
}

extension QueuedPairing: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(submission)
        hasher.add(received)
        hasher.add(receivedAt)
        hasher.add(obligation)
        hasher.add(granted)
    }
}

extension AgentRecord: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(name)
        hasher.add(lookup == .hostname)
        hasher.add(address)
        hasher.add(UInt64(port))
        hasher.add(paired)
        hasher.add(reqid)
        hasher.add(certificateSerial)
        hasher.add(certificateNotAfter)
        hasher.add(confirmedIdentities)
        hasher.add(confirmedAt)
        hasher.add(forgottenIdentities)
        hasher.add(dialect?.rawValue ?? "")
        hasher.add(tags)
    }
}

extension AgentTags: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(all) }
}

extension AgentTag: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(key)
        hasher.add(value)
    }
}

extension OperatorRecord: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(name)
        hasher.add(serial)
        hasher.add(certificate)
        hasher.add(notAfter)
    }
}

extension Obligation.Purpose: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .operatorCertificate(let name):
            hasher.add(1)
            hasher.add(name)
        case .agentCertificate(let reqid, let name):
            hasher.add(2)
            hasher.add(reqid)
            hasher.add(name)
        case .dispatcherIdentity: hasher.add(20)
        case .memberCertificate(let member):
            hasher.add(30)
            hasher.add(member)
        }
    }
}

extension Obligation: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(id)
        hasher.add(purpose)
        hasher.add(signingRequest)
        hasher.add(serial)
        hasher.add(term)
        hasher.add(reservedAt)
    }
}

extension Principal: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .operatorCertificate(let name, let serial):
            hasher.add(1)
            hasher.add(name)
            hasher.add(serial)
        case .localUser(let uid):
            hasher.add(2)
            hasher.add(UInt64(uid))
        case .pairingHost(let address):
            hasher.add(3)
            hasher.add(address)
        case .leader: hasher.add(4)
        case .joiningHost(let address):
            hasher.add(5)
            hasher.add(address)
        }
    }
}

extension RequestID: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .client(let text):
            hasher.add(1)
            hasher.add(text)
        case .minted(let session, let sequence, let answeredThrough):
            hasher.add(2)
            hasher.add(session)
            hasher.add(sequence)
            hasher.add(answeredThrough)
        }
    }
}

extension RequestKey: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .client(let text, let principal):
            hasher.add(1)
            hasher.add(text)
            hasher.add(principal)
        case .minted(let session, let sequence, let principal):
            hasher.add(2)
            hasher.add(session)
            hasher.add(sequence)
            hasher.add(principal)
        }
    }
}

extension Command: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .issueOperator(let name, let signingRequest):
            hasher.add(1)
            hasher.add(name)
            hasher.add(signingRequest)
        case .openPairing(let milliseconds):
            hasher.add(2)
            hasher.add(milliseconds)
        case .closePairing: hasher.add(3)
        case .submitPairing(let submission):
            hasher.add(4)
            hasher.add(submission)
        case .approvePairing(let reqid, let reachability):
            hasher.add(5)
            hasher.add(reqid)
            hasher.add(reachability)
        case .denyPairing(let reqid):
            hasher.add(6)
            hasher.add(reqid)
        case .unpair(let name):
            hasher.add(7)
            hasher.add(name)
        case .editAgent(let name, let edit):
            hasher.add(8)
            hasher.add(name)
            hasher.add(edit)
        case .reserveAnew(let obligation):
            hasher.add(9)
            hasher.add(obligation)
        case .recordCertificate(let obligation, let serial, let certificate, let notAfter):
            hasher.add(10)
            hasher.add(obligation)
            hasher.add(serial)
            hasher.add(certificate)
            hasher.add(notAfter)
        case .signingFailed(let obligation, let serial, let reason):
            hasher.add(11)
            hasher.add(obligation)
            hasher.add(serial)
            hasher.add(reason)
        case .expire: hasher.add(12)
        case .raiseVersion(let version):
            hasher.add(13)
            hasher.add(version)
        case .beginRotation(let overlap, let isCompromised, let replaced):
            hasher.add(20)
            hasher.add(overlap)
            hasher.add(isCompromised)
            hasher.add(replaced)
        case .abortRotation: hasher.add(21)
        case .revoke(let target, let reason):
            hasher.add(30)
            hasher.add(target)
            hasher.add(reason)
        case .recordIdentity(let obligation, let serial, let certificate, let key, let notAfter):
            hasher.add(22)
            hasher.add(obligation)
            hasher.add(serial)
            hasher.add(certificate)
            hasher.add(key)
            hasher.add(notAfter)
        case .memberHolds(let member, let serial):
            hasher.add(23)
            hasher.add(member)
            hasher.add(serial)
        case .identityConfirmed(let agent, let serial, let refused):
            hasher.add(24)
            hasher.add(agent)
            hasher.add(serial)
            hasher.add(refused)
        case .identityRemoved(let agent, let serial):
            hasher.add(25)
            hasher.add(agent)
            hasher.add(serial)
        case .dialectLearned(let agent, let dialect):
            hasher.add(26)
            hasher.add(agent)
            hasher.add(dialect.rawValue)
        case .tagsLearned(let agent, let tags):
            hasher.add(40)
            hasher.add(agent)
            hasher.add(tags)
        case .activate(let serial):
            hasher.add(27)
            hasher.add(serial)
        case .retire(let serial):
            hasher.add(28)
            hasher.add(serial)
        case .invite(let id, let address, let secretHash):
            hasher.add(50)
            hasher.add(id)
            hasher.add(address)
            hasher.add(secretHash)
        case .admit(let join):
            hasher.add(51)
            hasher.add(join)
        case .removeMember(let id):
            hasher.add(52)
            hasher.add(id)
        case .setMemberAddress(let id, let address):
            hasher.add(53)
            hasher.add(id)
            hasher.add(address)
        case .reconfigure(let configuration):
            hasher.add(54)
            hasher.add(configuration)
        }
    }
}

extension MachineVersion: Canonical {
    func feed(_ hasher: inout CanonicalHasher) { hasher.add(UInt64(number)) }
}

extension Proposal: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(command)
        hasher.add(principal)
        hasher.add(request)
        hasher.add(time)
        hasher.add(calendar)
    }
}

extension Refusal: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .notAllowed: hasher.add(1)
        case .requestIDReused: hasher.add(2)
        case .requestForgotten: hasher.add(3)
        case .requestTableFull: hasher.add(4)
        case .unknownPairing(let reqid):
            hasher.add(5)
            hasher.add(reqid)
        case .unknownAgent(let name):
            hasher.add(6)
            hasher.add(name)
        case .agentNameTaken(let name):
            hasher.add(7)
            hasher.add(name)
        case .operatorNameTaken(let name):
            hasher.add(8)
            hasher.add(name)
        case .pairingClosed: hasher.add(9)
        case .pairingQueueFull: hasher.add(10)
        case .pairingReqidTaken(let reqid):
            hasher.add(11)
            hasher.add(reqid)
        case .pairingAlreadyApproved(let reqid):
            hasher.add(12)
            hasher.add(reqid)
        case .invalid(let reason):
            hasher.add(13)
            hasher.add(reason)
        case .tooMany(let what):
            hasher.add(14)
            hasher.add(what)
        case .reservationGone: hasher.add(15)
        case .signingFailed(let reason):
            hasher.add(16)
            hasher.add(reason)
        case .rotationUnderway: hasher.add(20)
        case .noRotation: hasher.add(21)
        case .rotationAborted: hasher.add(22)
        case .stepGone: hasher.add(23)
        case .tooManyIdentities: hasher.add(24)
        case .unknownOperator(let name):
            hasher.add(30)
            hasher.add(name)
        case .operatorRevoked(let name):
            hasher.add(31)
            hasher.add(name)
        case .unknownMember(let id):
            hasher.add(40)
            hasher.add(id)
        case .memberNameTaken(let id):
            hasher.add(41)
            hasher.add(id)
        case .invitationUnknown: hasher.add(42)
        case .invitationUsed(let id):
            hasher.add(43)
            hasher.add(id)
        case .membershipRefused(let reason):
            hasher.add(44)
            hasher.add(reason)
        case .rulesTooOld(let needed):
            hasher.add(45)
            hasher.add(needed)
        }
    }
}

extension Outcome: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .underway(let obligation):
            hasher.add(1)
            hasher.add(obligation)
        case .operatorIssued(let name, let serial):
            hasher.add(2)
            hasher.add(name)
            hasher.add(serial)
        case .pairingOpened(let until):
            hasher.add(3)
            hasher.add(until)
        case .pairingClosed: hasher.add(4)
        case .pairingQueued(let reqid):
            hasher.add(5)
            hasher.add(reqid)
        case .pairingApproved(let reqid, let name, let serial):
            hasher.add(6)
            hasher.add(reqid)
            hasher.add(name)
            hasher.add(serial)
        case .pairingDenied(let reqid):
            hasher.add(7)
            hasher.add(reqid)
        case .agentRemoved(let name):
            hasher.add(8)
            hasher.add(name)
        case .agentEdited(let name):
            hasher.add(9)
            hasher.add(name)
        case .stepped: hasher.add(10)
        case .rotationBegun(let serial):
            hasher.add(20)
            hasher.add(serial)
        case .rotationAborted: hasher.add(21)
        case .revoked(let index):
            hasher.add(30)
            hasher.add(index)
        case .invited(let id, let until):
            hasher.add(40)
            hasher.add(id)
            hasher.add(until)
        case .memberAdmitted(let id, let serial):
            hasher.add(41)
            hasher.add(id)
            hasher.add(serial)
        case .memberRemoved(let id):
            hasher.add(42)
            hasher.add(id)
        case .memberMoved(let id):
            hasher.add(43)
            hasher.add(id)
        case .refused(let refusal):
            hasher.add(11)
            hasher.add(refusal)
        }
    }
}

extension Settled: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(obligation)
        hasher.add(outcome)
    }
}

extension PairingDecision.Verdict: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .approved(let certificate):
            hasher.add(1)
            hasher.add(certificate)
        case .denied: hasher.add(2)
        case .expired: hasher.add(3)
        }
    }
}

extension PairingDecision: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(reqid)
        hasher.add(nonce)
        hasher.add(verdict)
    }
}

extension Applied: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(outcome)
        hasher.add(settled)
        hasher.add(decided)
        hasher.add(prepared)
    }
}

extension RequestTable.Record: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(fingerprint)
        hasher.add(outcome)
    }
}

extension RequestTable: Canonical {
    /// The queue of expiries follows from the rest and from when it was asked; what it decides is seen in the records.
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(clients)
        hasher.add(sessions.count)
        for (id, session) in zip(sessions.keys, sessions.values) {
            hasher.add(id)
            hasher.add(session.answeredThrough)
            hasher.add(session.lastUsed)
            hasher.add(session.records)
        }
    }
}

extension PairingQueue: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(waiting)
        hasher.add(openUntil)
        hasher.add(decisions.count)
        for reqid in decisionOrder.live {
            hasher.add(reqid)
            guard let decided = decisions[reqid] else { continue }
            hasher.add(decided.decision)
            hasher.add(decided.name)
            hasher.add(decided.serial)
            hasher.add(decided.at)
        }
    }
}

extension AgentKey: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(name)
        hasher.add(pairing)
    }
}

extension IdentityUse: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(holders)
        hasher.add(retireAt)
    }
}

extension Rotation: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch stage {
        case .making(let obligation):
            hasher.add(1)
            hasher.add(obligation)
        case .prepared(let serial):
            hasher.add(2)
            hasher.add(serial)
        }
        hasher.add(overlapMilliseconds)
        hasher.add(isCompromised)
        hasher.add(started)
        hasher.add(startedAt)
    }
}

extension RevocationTarget: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        switch self {
        case .serial(let serial):
            hasher.add(1)
            hasher.add(serial)
        case .agent(let name):
            hasher.add(2)
            hasher.add(name)
        case .operatorNamed(let name):
            hasher.add(3)
            hasher.add(name)
        }
    }
}

extension RevocationRecord: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(serial)
        switch subject {
        case .agent(let name):
            hasher.add(1)
            hasher.add(name)
        case .operatorNamed(let name):
            hasher.add(2)
            hasher.add(name)
        case .unknown: hasher.add(3)
        }
        hasher.add(reason)
        hasher.add(revokedAt)
        hasher.add(index)
    }
}

extension Revocations: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(records)
        hasher.add(changed)
    }
}

extension RotationRecord: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(serial)
        hasher.add(previous)
        hasher.add(startedAt)
        hasher.add(activatedAt)
        hasher.add(overlapMilliseconds)
        hasher.add(previousRetiredAt)
    }
}

extension Identities: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(all)
        hasher.add(uses)
        hasher.add(rotation)
        hasher.add(lastRotation)
    }
}

extension Configuration: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(voters)
        hasher.add(learners)
    }
}

extension JoinRequest: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(member)
        hasher.add(secretHash)
        hasher.add(publicKey)
        hasher.add(signingRequest)
    }
}

extension KnownMember: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(id)
        hasher.add(address)
        hasher.add(certificateSerial)
        hasher.add(certificate)
        hasher.add(publicKey)
        hasher.add(phase.rawValue)
    }
}

extension Invitation.Binding: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(publicKey)
        hasher.add(obligation)
    }
}

extension Invitation: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(id)
        hasher.add(address)
        hasher.add(secretHash)
        hasher.add(expires)
        hasher.add(invitedAt)
        hasher.add(binding)
    }
}

extension FormerMember: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(id)
        hasher.add(certificateSerial)
        hasher.add(index)
        hasher.add(removedAt)
    }
}

extension Membership: Canonical {
    func feed(_ hasher: inout CanonicalHasher) {
        hasher.add(members)
        hasher.add(invitations)
        hasher.add(former)
        hasher.add(voters)
        hasher.add(learners)
        hasher.add(changed)
    }
}
