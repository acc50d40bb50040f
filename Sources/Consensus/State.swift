// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member is at this moment, with what it needs to be it. A leader's progress of others exists only in `.leader`.

enum State: Sendable {
    case follower(FollowerState)
    case preCandidate(Campaign)
    case candidate(Campaign)
    case leader(LeaderState)
}

struct FollowerState: Sendable {
    /// Whom this member heard lead its term.
    let leader: MemberID?
    /// Reads that the leader was asked about; empty without a leader.
    var reads: [ForwardedRead] = []
}

struct ForwardedRead: Hashable, Sendable {
    let token: ReadToken
    /// The name under which the leader was asked. Never the caller's own: after a restart that could name an older question.
    let question: ReadToken
    let deadline: Instant
}

/// One attempt to be elected. Answers count once per voter.
struct Campaign: Sendable {
    /// The term to lead; this member's term already, unless it is a pre-vote.
    let term: Term
    private(set) var granted: [MemberID] = []
    private(set) var refused: [MemberID] = []

    init(term: Term) { self.term = term }

    mutating func count(_ voter: MemberID, granted isGranted: Bool) {
        guard !granted.contains(voter), !refused.contains(voter) else { return }
        if isGranted { granted.append(voter) } else { refused.append(voter) }
    }
}

struct LeaderState: Sendable {
    /// All other members, sorted.
    var peers: [Progress]
    /// A leader that removes itself counts itself out at once, and leads until that is committed.
    var isVoter: Bool
    /// The empty entry with which this term began. Once it is committed this leader may serve.
    let firstIndex: LogIndex
    var isEstablished = false

    var heartbeats = Heartbeats()
    var nextHeartbeat: Instant
    /// The newest heartbeat that a quorum of the voters has answered, the leader counting as one.
    var quorumAnswered = HeartbeatNumber.zero
    /// When that was made; before the first one, when this leader was elected.
    var quorumContact: Instant
    /// Heartbeats up to here carry no lease: it was given up after them.
    var leaseFloor = HeartbeatNumber.zero
    /// The instant from which the lease counts.
    var leaseStart: Instant?

    /// In the order of their arrival, hence of `round`.
    var reads: [LeaderRead] = []
    var transfer: Transfer?

    struct Transfer: Hashable, Sendable {
        let target: MemberID
        /// First for the target's log to become whole, then for its election.
        var deadline: Instant
        var phase: Phase
        enum Phase: Hashable, Sendable { case waitingForLog, sent(lastHeartbeat: HeartbeatNumber) }
    }

    /// Between `TimeoutNow` and the end of the transfer, neither heartbeats nor appends leave.
    var isSilent: Bool {
        guard let transfer, case .sent = transfer.phase else { return false }
        return true
    }

    func position(of member: MemberID) -> Int? {
        for position in peers.indices where peers[position].member == member { return position }
        return nil
    }

    /// Takes the members as they are from now on; who stays keeps its progress.
    mutating func change(to configuration: Configuration, leader: MemberID, next: LogIndex) {
        isVoter = configuration.isVoter(leader)
        let former = peers
        peers = configuration.members.filter { $0 != leader }
            .map { member in
                guard var known = former.first(where: { $0.member == member }) else {
                    return Progress(member: member, isVoter: configuration.isVoter(member), next: next)
                }
                known.isVoter = configuration.isVoter(member)
                return known
            }
    }

    /// The greatest value that a quorum of the voters has reached, `own` being the leader's.
    func reachedByQuorum<Value: Comparable>(_ quorum: Int, own: Value, _ value: (Progress) -> Value) -> Value? {
        var best: Value?
        func consider(_ candidate: Value) {
            if let best, best >= candidate { return }
            var count = isVoter && own >= candidate ? 1 : 0
            for peer in peers where peer.isVoter && value(peer) >= candidate { count += 1 }
            if count >= quorum { best = candidate }
        }
        if isVoter { consider(own) }
        for peer in peers where peer.isVoter { consider(value(peer)) }
        return best
    }
}

struct LeaderRead: Hashable, Sendable {
    let asker: MemberID
    let token: ReadToken
    /// The commit index when the read was accepted; nil until an entry of this term is committed.
    var index: LogIndex?
    /// A quorum must answer a heartbeat with this number or a higher one: it was made after the read arrived.
    var round: HeartbeatNumber
}
