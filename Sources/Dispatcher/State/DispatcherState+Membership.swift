// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What may be asked about members, and what becomes of it. How many of them can be reached is no part of the state: the leader asks that
// before it proposes anything.

import Consensus
import CtrlExec

extension DispatcherState {
    /// Those that have their certificates and are not gone; sorted by id.
    package var members: [KnownMember] { membership.members.values }
    package func member(_ id: MemberID) -> KnownMember? { membership.members[id] }
    /// Sorted by id.
    package var invitations: [Invitation] { membership.invitations.values }
    package func invitation(of id: MemberID) -> Invitation? { membership.invitations[id] }
    /// The earliest cluster time at which an invitation ends that nobody has used; nil if there is none.
    package var nextInvitationExpiry: ClusterTime? { membership.nextExpiry }
    package func formerMember(_ id: MemberID) -> FormerMember? { membership.former[id] }
    /// Sorted by id.
    package var formerMembers: [FormerMember] { membership.former.values }
    /// As of the applied entries; sorted.
    package var voters: [MemberID] { membership.voters }
    package var learners: [MemberID] { membership.learners }
    /// The last entry that changed who the members are, where they are, or who is invited.
    package var membershipIndex: LogIndex { membership.changed }

    // MARK: Refusals

    func membershipRefusal(of command: Command, at now: ClusterTime) -> Refusal? {
        switch command {
        case .invite(let id, let address, let secretHash):
            if let problem = addressProblem(address, of: id) { return problem }
            guard secretHash.count == Membership.hashBytes else {
                return .invalid("the hash of a secret has \(Membership.hashBytes) bytes")
            }
            if membership.members[id] != nil || membership.former[id] != nil || membership.invitations[id]?.binding != nil {
                return .memberNameTaken(id)
            }
            if membership.seats(besides: id, at: now) >= Membership.limit {
                return .tooMany("a cluster has at most \(Membership.limit) members, those who are invited among them")
            }
            return formerRefusal
        case .admit(let join): return admissionRefusal(join, at: now)
        case .removeMember(let id):
            if let invitation = membership.invitations[id] {
                return invitation.binding == nil
                    ? nil : .membershipRefused("the certificate of \(id) is being made at this moment; ask again in a few seconds")
            }
            guard let member = membership.members[id] else { return .unknownMember(id) }
            if member.phase == .leaving { return nil }
            let others = membership.voters.contains { $0 != id && membership.members[$0]?.phase != .leaving }
            return others ? nil : .membershipRefused("\(id) is the last member that votes; a cluster without one does nothing more")
        case .setMemberAddress(let id, let address):
            guard membership.members[id] != nil else { return .unknownMember(id) }
            return addressProblem(address, of: id)
        default: return nil
        }
    }

    private func admissionRefusal(_ join: JoinRequest, at now: ClusterTime) -> Refusal? {
        if let problem = join.signingRequest.problem { return .invalid(problem) }
        guard (1...Membership.publicKeyLimit).contains(join.publicKey.count) else {
            return .invalid("a public key has 1 to \(Membership.publicKeyLimit) bytes")
        }
        // The same host asks again because it heard no answer: what it gets can be used with its key only.
        if let member = membership.members[join.member], member.publicKey == join.publicKey { return nil }
        guard let invitation = membership.invitations[join.member], invitation.secretHash == join.secretHash,
            invitation.binding != nil || now < invitation.expires
        else { return .invitationUnknown }
        guard let binding = invitation.binding else { return reservationRefusal }
        return binding.publicKey == join.publicKey ? nil : .invitationUsed(join.member)
    }

    private var formerRefusal: Refusal? {
        // Every member may leave one day, and its id is kept.
        let everybody = membership.former.count + membership.members.count + membership.invitations.count
        return everybody >= Membership.formerLimit
            ? .tooMany("the ids of \(Membership.formerLimit) members are kept, and no more fit") : nil
    }

    private func addressProblem(_ address: String, of id: MemberID) -> Refusal? {
        let bytes = Array(address.utf8)
        guard (3...Membership.addressLimit).contains(bytes.count), bytes.allSatisfy({ (33...126).contains($0) && $0 != 44 && $0 != 61 }),
            let colon = bytes.lastIndex(of: 58), colon > 0, let port = UInt16(String(decoding: bytes[(colon + 1)...], as: UTF8.self)),
            port > 0
        else { return .invalid("the address of a member is HOST:PORT, such as 192.0.2.4:7446") }
        let holder =
            membership.members.values.first { $0.id != id && $0.address == address }?.id
            ?? membership.invitations.values.first { $0.id != id && $0.address == address }?.id
        return holder.map { .invalid("\(address) is the address of \($0); every member has a peer port of its own") }
    }

    // MARK: Steps. Their refusals were asked for before.

    mutating func invite(_ id: MemberID, _ address: String, _ secretHash: [UInt8], _ calendar: WallClock) -> Outcome {
        let until = time + Membership.invitationMilliseconds
        membership.invite(
            Invitation(id: id, address: address, secretHash: secretHash, expires: until, invitedAt: calendar), at: appliedIndex)
        return .invited(id, until: until)
    }

    /// The token is bound to the key of whoever came with it first.
    mutating func admit(_ join: JoinRequest, _ term: Term, _ calendar: WallClock) -> Outcome {
        if let member = membership.members[join.member] { return .memberAdmitted(join.member, member.certificateSerial) }
        if let binding = membership.invitations[join.member]?.binding { return .underway(binding.obligation) }
        let outcome = oblige(.memberCertificate(join.member), join.signingRequest, term, calendar)
        if case .underway(let obligation) = outcome {
            membership.bind(join.member, to: Invitation.Binding(publicKey: join.publicKey, obligation: obligation), at: appliedIndex)
        }
        return outcome
    }

    mutating func recordMember(_ id: MemberID, _ obligation: ObligationID, _ certificate: [UInt8], _ serial: SerialNumber) -> Outcome {
        guard let invitation = membership.invitations[id], let binding = invitation.binding, binding.obligation == obligation else {
            return .refused(.invitationUnknown)
        }
        membership.admit(
            KnownMember(
                id: id, address: invitation.address, certificateSerial: serial, certificate: certificate, publicKey: binding.publicKey,
                phase: .joining), at: appliedIndex)
        return .memberAdmitted(id, serial)
    }

    mutating func withdrawInvitation(of id: MemberID) { membership.withdraw(id, at: appliedIndex) }

    mutating func removeMember(_ id: MemberID) -> Outcome {
        if membership.invitations[id] != nil {
            membership.withdraw(id, at: appliedIndex)
        } else {
            membership.leave(id, at: appliedIndex)
        }
        return .memberRemoved(id)
    }

    mutating func moveMember(_ id: MemberID, to address: String) -> Outcome {
        membership.move(id, to: address, at: appliedIndex)
        return .memberMoved(id)
    }

    mutating func reconfigure(_ configuration: Configuration, _ calendar: WallClock) {
        for gone in membership.take(configuration, at: appliedIndex, calendar) { identityBook.release(gone) }
    }
}
