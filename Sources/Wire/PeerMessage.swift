// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What members say to each other, as values. How it looks in bytes is the business of the conversions beside this file.

import Consensus
import CtrlExec
import DispatcherState

/// The first frame of a peer connection; both sides must agree on all but the member.
package struct PeerHello: Hashable, Sendable {
    /// What the connection is for.
    package enum Link: Hashable, Sendable {
        case control
        /// What is large; `BulkMessage` follows.
        case bulk
    }
    /// Raised when an older member could not understand.
    package static let currentProtocol: UInt32 = 1
    package var protocolVersion: UInt32
    package var cluster: ClusterID
    package var incarnation: Incarnation
    package var member: MemberID
    package var link: Link
    /// `HOST:PORT` at which it is dialled; empty: it does not know.
    package var address: String
    /// The one that dialled is a member no more, since this entry.
    package var removedAt: LogIndex?
    package init(
        protocolVersion: UInt32 = PeerHello.currentProtocol, cluster: ClusterID, incarnation: Incarnation, member: MemberID,
        link: Link = .control, address: String = "", removedAt: LogIndex? = nil
    ) {
        self.protocolVersion = protocolVersion
        self.cluster = cluster
        self.incarnation = incarnation
        self.member = member
        self.link = link
        self.address = address
        self.removedAt = removedAt
    }
}

/// What must be done once: carried out by the leader, whoever accepted it.
package enum ExclusiveOperation: Hashable, Sendable {
    case command(Command)
    /// Hand leadership to this member; nil: to the voter that is furthest along.
    case transfer(to: MemberID?)
}

package enum PeerMessage: Hashable, Sendable {
    case consensus(Message, SenderNote)
    case forward(ForwardedRequest)
    case forwardAnswer(ForwardAnswer)
    case reportRequest(number: UInt64)
    case report(number: UInt64, MemberReport)
    /// To the leader: the dispatcher identities that the sender can present.
    case holding([SerialNumber])
    /// To the leader: an agent was not as the state says.
    case observed(AgentObservation)
    /// To the leader: the tags that an agent has now are not those of the state.
    case tagsObserved(AgentKey, AgentTags)
    /// From one that hears of no leader: is it a member?
    case standingRequest
    /// The receiver is a member no more, since this entry.
    case removed(at: LogIndex)
}

/// What a member says of itself beside every consensus message.
package struct SenderNote: Hashable, Sendable {
    /// What its calendar showed when it decided to say this.
    package var calendar: WallClock
    /// The newest version of the state machine that it knows.
    package var knows: MachineVersion
    package init(calendar: WallClock, knows: MachineVersion) {
        self.calendar = calendar
        self.knows = knows
    }
}

/// An exclusive operation on its way to the leader. It takes one hop: a member that does not lead answers and forwards nothing.
package struct ForwardedRequest: Hashable, Sendable {
    /// Names it at the member that carries it.
    package var number: UInt64
    package var operation: ExclusiveOperation
    /// Who asked. The peer's certificate says only who carries; the leader authorises the principal against its own applied state.
    package var principal: Principal
    package var request: RequestID
    package var remainingMilliseconds: UInt64
    /// The term in which the carrier believes.
    package var believedTerm: Term
    package init(
        number: UInt64, operation: ExclusiveOperation, principal: Principal, request: RequestID, remainingMilliseconds: UInt64,
        believedTerm: Term
    ) {
        self.number = number
        self.operation = operation
        self.principal = principal
        self.request = request
        self.remainingMilliseconds = remainingMilliseconds
        self.believedTerm = believedTerm
    }
}

package struct ForwardAnswer: Hashable, Sendable {
    package enum Result: Hashable, Sendable {
        /// The outcome, and an index at which it is part of the state: the carrier answers once it has applied that.
        case settled(Outcome, through: LogIndex)
        /// Not the established leader of any term now; whom it believes.
        case notLeader(MemberID?, term: Term)
        /// Leadership moved to this member.
        case transferred(to: MemberID)
        case transferFailed
    }
    package var number: UInt64
    package var result: Result
    package init(number: UInt64, result: Result) {
        self.number = number
        self.result = result
    }
}

/// How a member is, in its own words.
package struct MemberReport: Hashable, Sendable {
    package var member: MemberID
    package var version: String
    package var role: Role
    package var term: Term
    package var leader: MemberID?
    package var lastLogIndex: LogIndex
    package var commitIndex: LogIndex
    package var appliedIndex: LogIndex
    /// The hash of its state at `appliedIndex`.
    package var stateHash: UInt64
    package var isReady: Bool
    /// Milliseconds since it last heard from a leader (a leader: since a quorum last answered); nil: never.
    package var leaderContactMilliseconds: UInt64?
    /// Leader only: milliseconds since each other member last answered it, in order of id; nil: not in this term.
    package var peers: [PeerContact]
    /// The newest rules of the state machine that it can follow, or may; nil: not said.
    package var knows: MachineVersion?
    /// What its calendar showed when it said this.
    package var calendar: WallClock?
    package var facts: MemberFacts
    package init(
        member: MemberID, version: String, role: Role, term: Term, leader: MemberID?, lastLogIndex: LogIndex, commitIndex: LogIndex,
        appliedIndex: LogIndex, stateHash: UInt64, isReady: Bool, leaderContactMilliseconds: UInt64?, peers: [PeerContact],
        knows: MachineVersion? = nil, calendar: WallClock? = nil, facts: MemberFacts = MemberFacts()
    ) {
        self.member = member
        self.version = version
        self.role = role
        self.term = term
        self.leader = leader
        self.lastLogIndex = lastLogIndex
        self.commitIndex = commitIndex
        self.appliedIndex = appliedIndex
        self.stateHash = stateHash
        self.isReady = isReady
        self.leaderContactMilliseconds = leaderContactMilliseconds
        self.peers = peers
        self.knows = knows
        self.calendar = calendar
        self.facts = facts
    }
}

package struct PeerContact: Hashable, Sendable {
    package var member: MemberID
    package var match: LogIndex
    package var lastAnswerMilliseconds: UInt64?
    package init(member: MemberID, match: LogIndex, lastAnswerMilliseconds: UInt64?) {
        self.member = member
        self.match = match
        self.lastAnswerMilliseconds = lastAnswerMilliseconds
    }
}

/// What an agent accepted, and what it refused just before.
package struct AgentObservation: Hashable, Sendable {
    package var agent: AgentKey
    package var accepted: SerialNumber
    package var refused: [SerialNumber]
    package init(agent: AgentKey, accepted: SerialNumber, refused: [SerialNumber]) {
        self.agent = agent
        self.accepted = accepted
        self.refused = refused
    }
}
