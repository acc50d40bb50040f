// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who belongs to the cluster: the members with their addresses, those who are invited, and those who were there and never come back. What is
// wanted stands here; who votes at this moment is the configuration, which follows it one change at a time, each by an entry that the leader
// proposes (`reconfigure`). Nothing is remembered between leaders but this, so that the next one goes on from whatever it finds.
//
//     invite ──▶ invitation ──admit──▶ (certificate) ──▶ joining: learner ──▶ staying: voter ──remove──▶ leaving ──▶ former

import Consensus
import CtrlExec

/// A member that has its certificate.
package struct KnownMember: Hashable, Sendable {
    package enum Phase: String, Hashable, Sendable {
        /// On its way to be a voter.
        case joining
        case staying
        /// On its way out.
        case leaving
    }
    package let id: MemberID
    /// `HOST:PORT` of its peer port.
    package var address: String
    package let certificateSerial: SerialNumber
    /// DER. Empty for those with which the cluster began.
    package let certificate: [UInt8]
    /// The key (SubjectPublicKeyInfo) that its invitation was bound to. Empty for those with which the cluster began.
    package let publicKey: [UInt8]
    package var phase: Phase
    package init(
        id: MemberID, address: String, certificateSerial: SerialNumber, certificate: [UInt8], publicKey: [UInt8], phase: Phase
    ) {
        self.id = id
        self.address = address
        self.certificateSerial = certificateSerial
        self.certificate = certificate
        self.publicKey = publicKey
        self.phase = phase
    }
}

/// A token that lets one host in as this member, once.
package struct Invitation: Hashable, Sendable {
    /// The key that has used it, and the certificate that is being made for it.
    package struct Binding: Hashable, Sendable {
        package let publicKey: [UInt8]
        package let obligation: ObligationID
        package init(publicKey: [UInt8], obligation: ObligationID) {
            self.publicKey = publicKey
            self.obligation = obligation
        }
    }
    package let id: MemberID
    package let address: String
    /// SHA-256 of the token's secret, which is kept nowhere.
    package let secretHash: [UInt8]
    package let expires: ClusterTime
    /// For people.
    package let invitedAt: WallClock
    package var binding: Binding?
    package init(
        id: MemberID, address: String, secretHash: [UInt8], expires: ClusterTime, invitedAt: WallClock, binding: Binding? = nil
    ) {
        self.id = id
        self.address = address
        self.secretHash = secretHash
        self.expires = expires
        self.invitedAt = invitedAt
        self.binding = binding
    }
}

/// One that was a member. Its id is never given again.
package struct FormerMember: Hashable, Sendable {
    package let id: MemberID
    package let certificateSerial: SerialNumber
    /// The entry since which it is none.
    package let index: LogIndex
    package let removedAt: WallClock
    package init(id: MemberID, certificateSerial: SerialNumber, index: LogIndex, removedAt: WallClock) {
        self.id = id
        self.certificateSerial = certificateSerial
        self.index = index
        self.removedAt = removedAt
    }
}

/// What a host that joins says, checked by the member that took it.
package struct JoinRequest: Hashable, Sendable {
    package let member: MemberID
    /// SHA-256 of the secret that it showed.
    package let secretHash: [UInt8]
    /// The key of the signing request (SubjectPublicKeyInfo).
    package let publicKey: [UInt8]
    package let signingRequest: SigningRequest
    package init(member: MemberID, secretHash: [UInt8], publicKey: [UInt8], signingRequest: SigningRequest) {
        self.member = member
        self.secretHash = secretHash
        self.publicKey = publicKey
        self.signingRequest = signingRequest
    }
}

struct Membership: Hashable, Sendable {
    /// As many as may vote.
    static let limit = 5
    static let invitationMilliseconds: UInt64 = 600_000
    /// Their ids are kept for ever.
    static let formerLimit = 1_000
    static let hashBytes = 32
    static let publicKeyLimit = 2_048
    static let addressLimit = 262

    private(set) var members = SortedArrayMap<MemberID, KnownMember>()
    private(set) var invitations = SortedArrayMap<MemberID, Invitation>()
    private(set) var former = SortedArrayMap<MemberID, FormerMember>()
    /// Who votes and who learns, as of the newest applied entry that says so; sorted.
    private(set) var voters: [MemberID]
    private(set) var learners: [MemberID] = []
    /// The last entry that changed anything here.
    private(set) var changed = LogIndex.zero

    init(founders: [MemberRecord]) {
        for founder in founders {
            members[founder.id] = KnownMember(
                id: founder.id, address: founder.address, certificateSerial: founder.certificateSerial, certificate: [], publicKey: [],
                phase: .staying)
        }
        voters = founders.map(\.id).sorted()
    }

    init(
        members: SortedArrayMap<MemberID, KnownMember>, invitations: SortedArrayMap<MemberID, Invitation>,
        former: SortedArrayMap<MemberID, FormerMember>, voters: [MemberID], learners: [MemberID], changed: LogIndex
    ) {
        self.members = members
        self.invitations = invitations
        self.former = former
        self.voters = voters
        self.learners = learners
        self.changed = changed
    }

    /// Places that are taken, by members and by what is promised to others than `guest`.
    func seats(besides guest: MemberID, at now: ClusterTime) -> Int {
        members.values.count { $0.phase != .leaving }
            + invitations.values.count { $0.id != guest && ($0.binding != nil || now < $0.expires) }
    }

    /// Invitations that nobody used in time.
    mutating func forget(at now: ClusterTime) {
        for invitation in invitations.values where invitation.binding == nil && invitation.expires <= now {
            invitations[invitation.id] = nil
        }
    }

    /// When the first of those would be forgotten.
    var nextExpiry: ClusterTime? { invitations.values.filter { $0.binding == nil }.map(\.expires).min() }

    mutating func invite(_ invitation: Invitation, at index: LogIndex) {
        invitations[invitation.id] = invitation
        changed = index
    }

    mutating func bind(_ id: MemberID, to binding: Invitation.Binding, at index: LogIndex) {
        invitations.update(id) { $0.binding = binding }
        changed = index
    }

    mutating func withdraw(_ id: MemberID, at index: LogIndex) {
        invitations[id] = nil
        changed = index
    }

    mutating func admit(_ member: KnownMember, at index: LogIndex) {
        invitations[member.id] = nil
        members[member.id] = member
        changed = index
    }

    mutating func leave(_ id: MemberID, at index: LogIndex) {
        members.update(id) { $0.phase = .leaving }
        changed = index
    }

    mutating func move(_ id: MemberID, to address: String, at index: LogIndex) {
        members.update(id) { $0.address = address }
        changed = index
    }

    /// Who is to leave and stands in it no more is gone; who is to stay and votes has arrived. Returns those that are gone.
    mutating func take(_ configuration: Configuration, at index: LogIndex, _ calendar: WallClock) -> [MemberID] {
        voters = configuration.voters
        learners = configuration.learners
        changed = index
        var gone: [MemberID] = []
        for member in members.values {
            if member.phase == .joining, configuration.isVoter(member.id) { members.update(member.id) { $0.phase = .staying } }
            guard member.phase == .leaving, !configuration.members.contains(member.id) else { continue }
            members[member.id] = nil
            former[member.id] = FormerMember(
                id: member.id, certificateSerial: member.certificateSerial, index: index, removedAt: calendar)
            gone.append(member.id)
        }
        return gone
    }
}
