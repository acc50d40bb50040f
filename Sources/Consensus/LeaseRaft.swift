// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The lease-Raft core as a value: what happens is handed in with the instant, what it does is handed back as effects. SEAM: the package
// functions here are the outward face. Each concern has a room of its own: `+Election`, `+Replication`, `+Lease`, `+Transfer`, `+Reads`,
// `+Snapshots`, `+Invariants`; what is kept is declared in `State`, `Progress`, `Log`, `Writes`, `Promise`, `Heartbeats`.
//
// Left to others: authenticating peers (a message's sender is who `from` says), running effects through their gates, applying entries.

package struct LeaseRaft: Sendable {
    package let id: MemberID
    /// The newest in the log, committed or not; the initial one if there is none.
    package private(set) var configuration: Configuration
    /// Where it stands; zero for the initial one. Where that is forgotten, the log's base.
    package private(set) var configurationIndex: LogIndex
    package let timing: Timing

    /// Term and vote as this member acts by them; the journal follows, and messages that reveal them wait for it.
    package internal(set) var term: Term
    var vote: MemberID?
    /// The write that makes `term` durable, and the one that makes the newest ballot durable.
    var termWrite = WriteID.zero
    var ballotWrite = WriteID.zero

    var state = State.follower(FollowerState(leader: nil))
    /// Known to be committed; entries up to here may not yet be durable here. Never falls.
    package internal(set) var commitIndex = LogIndex.zero
    /// The last `commit(through:)` that was handed out.
    var announcedCommit = LogIndex.zero
    var log: Log
    /// The newest that is on disk here, and can be had by others. Never before the log's base.
    package internal(set) var snapshot: SnapshotPlace?
    /// What this member was offered and is getting.
    var fetching: SnapshotPlace?
    /// No other fetch before this instant: the last one failed.
    var fetchNotBefore = Instant.zero
    var writes: Writes
    var promise: Promise
    /// The newest instant at which this member, as follower, handled a heartbeat, or had made one, as leader, that a quorum answered.
    var lastContact: Instant?

    /// When this member campaigns, unless a heartbeat comes first.
    var campaignAt: Instant
    /// Campaigns since the last leader was heard of; the wait between them grows.
    var failedCampaigns: UInt64 = 0
    /// No campaign before this instant, because the disk was reported full.
    var diskFullUntil = Instant.zero
    var generator: SeededGenerator
    var nextQuestion: UInt64
    private var announced: Announced

    private struct Announced: Equatable {
        var role: Role
        var term: Term
        var leader: MemberID?
    }

    /// Terms beyond this are not believed; nobody gets there by elections.
    static let lastTerm = Term(1 << 62)
    /// An instant that does not come.
    static let never = Instant(nanosecondsSinceBoot: .max)

    /// A member need not stand in its configuration: it may be about to join, or removed. `configuration` is the initial one; `recovered` is what the journal gave back, `now` the first reading of the clock in this life. The seed must differ between members
    /// and between two starts of the same member.
    package init(id: MemberID, configuration: Configuration, recovered: Recovered, timing: Timing, seed: UInt64, now: Instant) {
        self.id = id
        self.timing = timing
        term = recovered.ballot.term
        vote = recovered.ballot.vote
        let log = Log(recovered.entries, behind: recovered.base ?? .origin(configuration))
        self.log = log
        (configurationIndex, self.configuration) = log.newestChange
        precondition(log.lastTerm <= term, "the recovered log is ahead of the recovered term")
        let snapshot = recovered.snapshot ?? SnapshotPlace(index: .zero, term: .zero)
        precondition(
            snapshot.index >= log.base.index && log.term(at: snapshot.index) == snapshot.term,
            "the snapshot does not stand where the recovered log does")
        self.snapshot = recovered.snapshot
        commitIndex = snapshot.index
        announcedCommit = snapshot.index
        writes = Writes(durableIndex: log.lastIndex, durableBallot: recovered.ballot, now: now)
        // Whoever has always been alone has promised nothing to anybody. One that is alone now may have promised another leader a moment ago.
        // What is forgotten may have told of others.
        let wasAlwaysSole =
            configuration.voters == [id] && recovered.base == nil
            && recovered.entries.allSatisfy { $0.configuration.map { $0.voters == [id] } ?? true }
        promise = Promise(longest: recovered.longestPromise, mustWait: !wasAlwaysSole, now: now)
        generator = SeededGenerator(seed: seed)
        nextQuestion = generator.next()
        announced = Announced(role: .follower, term: term, leader: nil)
        campaignAt = LeaseRaft.never
        if wasAlwaysSole { campaignAt = now } else if mayCampaign { scheduleCampaign(after: now) }
    }

    package var role: Role {
        switch state {
        case .follower: .follower
        case .preCandidate: .preCandidate
        case .candidate: .candidate
        case .leader: .leader
        }
    }

    package var leader: MemberID? {
        switch state {
        case .follower(let following): following.leader
        case .preCandidate, .candidate: nil
        case .leader: id
        }
    }

    package var lastLogIndex: LogIndex { log.lastIndex }
    /// What stands up to here is forgotten.
    package var logBase: LogBase { log.base }

    // MARK: Events

    /// Call at least when `nextDeadline` has come; calling more often is harmless.
    package mutating func tick(at now: Instant, into effects: inout [ConsensusEffect]) {
        if case .leader = state {
            tickAsLeader(at: now, into: &effects)
        } else {
            expireForwardedReads(at: now, into: &effects)
            if now >= campaignAt { campaignIfAllowed(at: now, into: &effects) }
        }
    }

    package mutating func receive(_ message: Message, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        // Whoever speaks may be a member by an entry that is not here yet: only the shell turns strangers away.
        guard from != id else { return }
        guard message.term <= LeaseRaft.lastTerm else { return }
        // A vote request is judged by the promise before anybody looks at its term.
        if case .voteRequest(let request) = message.body {
            handleVoteRequest(request, term: message.term, from: from, at: now, into: &effects)
            return
        }
        if message.term > term {
            adopt(message.term, leader: message.comesFromLeader ? from : nil, because: reasonToFollow(from), at: now, into: &effects)
        }
        // Answers to a pre-vote come from members of older terms, too.
        if case .voteAnswer(let answer) = message.body {
            handleVoteAnswer(answer, from: from, at: now, into: &effects)
            return
        }
        guard message.term == term else {
            refuseOldTerm(message, from: from, at: now, into: &effects)
            return
        }
        switch message.body {
        case .heartbeat(let heartbeat): handleHeartbeat(heartbeat, from: from, at: now, into: &effects)
        case .heartbeatAnswer(let answer): handleHeartbeatAnswer(answer, from: from, at: now, into: &effects)
        case .append(let append): handleAppend(append, from: from, at: now, into: &effects)
        case .appendAnswer(let answer): handleAppendAnswer(answer, from: from, at: now, into: &effects)
        case .offer(let offer): handleOffer(offer, from: from, at: now, into: &effects)
        case .timeoutNow(let last): handleTimeoutNow(lastHeartbeat: last, from: from, at: now, into: &effects)
        case .readIndexRequest(let question): handleReadIndexRequest(question, from: from, at: now, into: &effects)
        case .readIndexAnswer(let question, let index): handleReadIndexAnswer(question, index, from: from, into: &effects)
        case .voteRequest, .voteAnswer: break  // handled above
        }
    }

    /// The write is on disk, and so is every one before it.
    package mutating func wrote(_ id: WriteID, at now: Instant, into effects: inout [ConsensusEffect]) {
        writes.becameDurable(id, at: now)
        switch state {
        case .follower, .preCandidate: break
        case .candidate: countOwnVote(at: now, into: &effects)
        case .leader: ownWriteIsDurable(at: now, into: &effects)
        }
        announceCommit(at: now, into: &effects)
    }

    /// Returns the index and term at which the entry will stand if it is committed.
    ///
    /// - Parameter change: who the members are from this entry on. One change at a time, none before an entry of the leader's own term is
    ///   committed (without that, two leaders' changes could stand side by side: dissertation, section 4.1, and the note on it of 2015).
    package mutating func propose(
        _ payload: [UInt8], changing change: Configuration? = nil, at now: Instant, into effects: inout [ConsensusEffect]
    ) throws(ProposeFailure) -> (index: LogIndex, term: Term) {
        guard case .leader(let leading) = state else { throw .notLeader(leader) }
        if leading.transfer != nil { throw .transferring }
        if let change {
            guard leading.isEstablished, commitIndex >= configurationIndex else { throw .changeUnderway }
            guard change.isOneChange(from: configuration) else { throw .tooManyChanges }
        }
        if payload.count > Entry.payloadLimit { throw .tooLarge }
        let uncommitted = log.lastIndex.position - commitIndex.position
        if uncommitted >= Log.uncommittedLimit || log.entries.count >= Log.entryLimit { throw .logFull }
        let index = appendAsLeader(payload, changing: change, at: now, into: &effects)
        return (index, term)
    }

    /// Asks for the index of a linearizable read; answered by `readReady`. Works on leader and follower.
    package mutating func requestRead(_ token: ReadToken, at now: Instant, into effects: inout [ConsensusEffect]) {
        switch state {
        case .leader: acceptRead(token, asker: id, at: now, into: &effects)
        case .follower: forwardRead(token, at: now, into: &effects)
        case .preCandidate, .candidate: effects.append(.readReady(token, nil))
        }
    }

    /// Hands leadership to another voter. The outcome shows as `roleChanged` because of `transferred`, or as `transferFailed`.
    package mutating func transferLeadership(
        to target: MemberID, at now: Instant, into effects: inout [ConsensusEffect]
    ) throws(ProposeFailure) {
        guard case .leader(let leading) = state else { throw .notLeader(leader) }
        if leading.transfer != nil { throw .transferring }
        guard target != id, configuration.isVoter(target) else { throw .cannotLead(target) }
        beginTransfer(to: target, at: now, into: &effects)
    }

    /// The disk has no room. A leader gives up; nobody here campaigns for a while after each such report.
    package mutating func diskIsFull(at now: Instant, into effects: inout [ConsensusEffect]) {
        diskFullUntil = max(diskFullUntil, now + timing.journalStall)
        if case .leader = state { becomeFollower(of: nil, because: .diskFull, at: now, into: &effects) }
    }

    // MARK: Questions

    /// Entries `after` < index <= `through`, which have been committed. Do not keep the slice: it shares the log's storage.
    package func committedEntries(after: LogIndex, through: LogIndex) -> ArraySlice<Entry> {
        precondition(after <= through && through <= commitIndex, "these entries are not committed")
        return log.slice(after: after, through: through)
    }

    /// The instant to which this leader's lease reaches; nil if it is not an established leader or its lease is over or given up.
    package func lease(at now: Instant) -> Instant? {
        guard case .leader(let leading) = state, leading.isEstablished, !leading.isSilent, let start = leading.leaseStart else {
            return nil
        }
        let end = start + timing.lease
        return now < end ? end : nil
    }

    /// When `tick` is due next.
    package var nextDeadline: Instant {
        switch state {
        case .leader(let leading): nextDeadline(of: leading)
        case .follower(let following):
            following.reads.reduce(campaignAt) { min($0, $1.deadline) }
        case .preCandidate, .candidate: campaignAt
        }
    }

    /// When this member last handled a heartbeat or append of the leader of its term at that time (the leader: when it made its newest
    /// heartbeat that a quorum has answered).
    package var lastLeaderContact: Instant? {
        if case .leader(let leading) = state, leading.quorumAnswered > .zero { return leading.quorumContact }
        return lastContact
    }

    /// Leader only, before the message is received: if it answers a heartbeat of this term, how long it was under way at most.
    package func transit(of message: Message, from member: MemberID, at now: Instant) -> TimeSpan? {
        guard case .leader(let leading) = state, message.term == term, let position = leading.position(of: member) else { return nil }
        let answered: HeartbeatNumber
        switch message.body {
        case .heartbeatAnswer(let answer): answered = answer.number
        case .appendAnswer(let answer): answered = answer.number
        default: return nil
        }
        guard let timed = leading.peers[position].timed, answered >= timed.number else { return nil }
        return now.since(timed.made)
    }

    /// Leader only: what it knows of another member.
    package func progress(of member: MemberID) -> (match: LogIndex, lastAnswer: Instant?)? {
        guard case .leader(let leading) = state, let position = leading.position(of: member) else { return nil }
        return (leading.peers[position].match, leading.peers[position].lastAnswer)
    }

    // MARK: What every room uses

    /// The leader's state, changed in place. Only while this member leads.
    var leading: LeaderState {
        get {
            guard case .leader(let leading) = state else { preconditionFailure("only a leader has a leader's state") }
            return leading
        }
        _modify {
            guard case .leader(var leading) = state else { preconditionFailure("only a leader has a leader's state") }
            // The state gives up its reference, so that nothing is copied.
            state = .follower(FollowerState(leader: nil))
            defer { state = .leader(leading) }
            yield &leading
        }
    }

    /// The follower's state, changed in place. Only while this member follows.
    var following: FollowerState {
        get {
            guard case .follower(let following) = state else { preconditionFailure("only a follower has a follower's state") }
            return following
        }
        _modify {
            guard case .follower(var following) = state else { preconditionFailure("only a follower has a follower's state") }
            state = .follower(FollowerState(leader: nil))
            defer { state = .follower(following) }
            yield &following
        }
    }

    /// The log grew or was cut: the configuration is the newest in it.
    mutating func logChanged() {
        let newest = log.newestChange
        guard newest.index != configurationIndex || newest.configuration != configuration else { return }
        (configurationIndex, configuration) = newest
    }

    /// Whether this member may stand for election: as a voter; and as one that the newest configuration leaves out, for as long as that is not
    /// known to be committed, because the others may lack the entry and then cannot elect anybody without it (dissertation, section 4.2.2).
    var mayCampaign: Bool {
        if configuration.isVoter(id) { return true }
        return configurationIndex > commitIndex && log.configurationBeforeNewest.isVoter(id)
    }

    /// Whether anybody but this member is needed for a quorum.
    var needsOthers: Bool { configuration.voters != [id] }

    mutating func write(_ record: JournalWrite, at now: Instant, into effects: inout [ConsensusEffect]) -> WriteID {
        let id = writes.add(record, logThrough: log.lastIndex, at: now)
        effects.append(.write(record, id))
        return id
    }

    /// Every message reveals this member's term, so it waits for the term's record at least.
    func send(_ body: Message.Body, to member: MemberID, after write: WriteID = .zero, into effects: inout [ConsensusEffect]) {
        effects.append(.send(Message(term: term, body: body), to: member, gate: writes.gate(max(termWrite, write))))
    }

    /// Takes a higher term, and perhaps casts its vote at once: one record.
    mutating func adopt(
        _ newTerm: Term, vote newVote: MemberID? = nil, leader: MemberID?, because reason: StepDownReason?, at now: Instant,
        into effects: inout [ConsensusEffect]
    ) {
        precondition(newTerm > term, "a term is never taken twice")
        term = newTerm
        vote = newVote
        ballotWrite = write(JournalWrite(ballot: Ballot(term: term, vote: vote)), at: now, into: &effects)
        termWrite = ballotWrite
        becomeFollower(of: leader, because: reason, at: now, into: &effects)
    }

    mutating func becomeFollower(
        of leader: MemberID?, because reason: StepDownReason?, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        var shown: StepDownReason?
        switch state {
        case .follower: break
        case .preCandidate: scheduleCampaign(after: now)
        case .candidate:
            shown = reason
            scheduleCampaign(after: now)
        case .leader(let leading):
            shown = reason
            if leading.quorumAnswered > .zero { lastContact = leading.quorumContact }
            scheduleCampaign(after: now)
        }
        failReads(into: &effects)
        state = .follower(FollowerState(leader: leader))
        announceRole(because: shown, into: &effects)
    }

    /// Why this member, should it lead, gives way to what `from` says about a higher term.
    func reasonToFollow(_ from: MemberID) -> StepDownReason {
        if case .leader(let leading) = state, leading.isSilent, leading.transfer?.target == from { return .transferred }
        return .higherTerm
    }

    mutating func announceRole(because reason: StepDownReason?, into effects: inout [ConsensusEffect]) {
        let current = Announced(role: role, term: term, leader: leader)
        let isSameButTerm = current.role == announced.role && current.leader == announced.leader
        defer { announced = current }
        if isSameButTerm, current.term == announced.term || (current.role == .follower && current.leader == nil) { return }
        effects.append(.roleChanged(current.role, term: current.term, leader: current.leader, because: reason))
    }

    /// Hands out what is committed and durable here. No member applies beyond its own durable index.
    mutating func announceCommit(at now: Instant, into effects: inout [ConsensusEffect]) {
        let through = min(commitIndex, writes.durableIndex)
        guard through > announcedCommit else { return }
        announcedCommit = through
        effects.append(.commit(through: through))
        if case .leader(let leading) = state, !leading.isEstablished, through >= leading.firstIndex {
            self.leading.isEstablished = true
            effects.append(.leadershipEstablished(term))
            admitWaitingReads(at: now, into: &effects)
        }
    }

    /// Whether the disk would make a leader of this member give up at once.
    func isObstructed(at now: Instant) -> Bool {
        if now < diskFullUntil { return true }
        guard let stall = writes.stalls(after: timing.journalStall) else { return false }
        return now >= stall
    }
}

extension Message {
    /// Only the leader of `term` sends these.
    fileprivate var comesFromLeader: Bool {
        switch body {
        case .heartbeat, .append, .offer, .timeoutNow: true
        case .heartbeatAnswer, .appendAnswer, .voteRequest, .voteAnswer, .readIndexRequest, .readIndexAnswer: false
        }
    }
}
