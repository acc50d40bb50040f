// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How a leader is found: pre-vote, vote, and who may not give either (paper, sections 5.2 and 5.4.1; dissertation, sections 4.2.3 and 9.6).
// The promise is asked first, before anybody looks at a request's term; see `Promise`.

extension LeaseRaft {
    /// The next campaign: after `instant`, after everything that binds this member, and a little later by chance.
    mutating func scheduleCampaign(after instant: Instant) {
        guard mayCampaign else {
            campaignAt = max(instant, promise.free)
            return
        }
        campaignAt = max(instant, promise.free) + generator.span(upTo: timing.electionJitter)
    }

    mutating func campaignIfAllowed(at now: Instant, into effects: inout [ConsensusEffect]) {
        guard mayCampaign else {
            // A learner waits to be led; it only stops believing in a leader that it no longer hears.
            becomeFollower(of: nil, because: nil, at: now, into: &effects)
            campaignAt = LeaseRaft.never
            return
        }
        if promise.binds(at: now) {
            scheduleCampaign(after: now)
            return
        }
        if isObstructed(at: now) {
            becomeFollower(of: nil, because: .lostElection, at: now, into: &effects)
            scheduleCampaign(after: now + timing.electionRetry)
            return
        }
        if case .candidate = state, !writes.isDurable(ballotWrite) {
            // The requests of this campaign have not even left.
            scheduleCampaign(after: now + timing.electionRetry)
            return
        }
        if configuration.voters == [id] {
            campaign(transfer: nil, at: now, into: &effects)
        } else {
            preCampaign(at: now, into: &effects)
        }
    }

    /// Asks whether a campaign would be won, so that a member that was cut off cannot unseat a leader by its high term.
    private mutating func preCampaign(at now: Instant, into effects: inout [ConsensusEffect]) {
        failReads(into: &effects)
        var attempt = Campaign(term: term.next)
        if configuration.isVoter(id) { attempt.count(id, granted: true) }
        state = .preCandidate(attempt)
        campaignAt = now + timing.electionRetry + generator.span(upTo: timing.electionJitter)
        announceRole(because: nil, into: &effects)
        requestVotes(isPreVote: true, term: attempt.term, transfer: nil, into: &effects)
    }

    /// Takes the next term and asks for votes in it. Requests and the own vote wait for the ballot.
    mutating func campaign(transfer: VoteRequest.Transfer?, at now: Instant, into effects: inout [ConsensusEffect]) {
        failReads(into: &effects)
        term = term.next
        vote = id
        var record = JournalWrite(ballot: Ballot(term: term, vote: id))
        // What the heartbeats of this term would otherwise have to wait for.
        let isLonger = timing.promise > promise.longest
        if isLonger { record.longestPromise = timing.promise }
        ballotWrite = write(record, at: now, into: &effects)
        termWrite = ballotWrite
        if isLonger { promise.recorded(longest: timing.promise, in: ballotWrite) }
        state = .candidate(Campaign(term: term))
        // Votes wait for disks: a cluster whose disks are slow must be given more time at each attempt, or it never elects.
        let patience = TimeSpan(nanoseconds: timing.electionRetry.nanoseconds << min(failedCampaigns, 3))
        failedCampaigns += 1
        campaignAt = now + patience + generator.span(upTo: timing.electionJitter)
        announceRole(because: nil, into: &effects)
        requestVotes(isPreVote: false, term: term, transfer: transfer, into: &effects)
    }

    private func requestVotes(
        isPreVote: Bool, term: Term, transfer: VoteRequest.Transfer?, into effects: inout [ConsensusEffect]
    ) {
        let request = VoteRequest(isPreVote: isPreVote, lastLogIndex: log.lastIndex, lastLogTerm: log.lastTerm, transfer: transfer)
        for voter in configuration.voters where voter != id {
            effects.append(.send(Message(term: term, body: .voteRequest(request)), to: voter, gate: writes.gate(termWrite)))
        }
    }

    mutating func handleVoteRequest(
        _ request: VoteRequest, term asked: Term, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        // Neither need be a voter by what stands in this log: the one who asks may know a newer configuration, and counts by it.
        if isBound(against: request, term: asked, at: now) {
            answerVote(request, term: asked, granted: false, to: from, into: &effects)
            return
        }
        let isUpToDate = log.isNotAhead(ofLastIndex: request.lastLogIndex, lastTerm: request.lastLogTerm)
        if request.isPreVote {
            answerVote(request, term: asked, granted: asked > term && isUpToDate, to: from, into: &effects)
            return
        }
        if asked > term {
            adopt(asked, vote: isUpToDate ? from : nil, leader: nil, because: reasonToFollow(from), at: now, into: &effects)
        } else if asked == term, vote == nil, leader == nil, isUpToDate {
            // Without a vote of its own in this term it is at most about to campaign in the next; it helps instead.
            becomeFollower(of: nil, because: nil, at: now, into: &effects)
            vote = from
            ballotWrite = write(JournalWrite(ballot: Ballot(term: term, vote: from)), at: now, into: &effects)
        }
        let isGranted = asked == term && vote == from
        // Whoever has just helped gives the other time to win.
        if isGranted { scheduleCampaign(after: now + timing.electionRetry) }
        answerVote(request, term: asked, granted: isGranted, to: from, into: &effects)
    }

    private func isBound(against request: VoteRequest, term asked: Term, at now: Instant) -> Bool {
        if promise.isHeldByRestart(at: now) { return true }
        guard promise.binds(at: now) else { return false }
        guard let transfer = request.transfer, !request.isPreVote, transfer.term < asked, asked <= transfer.term.next else { return true }
        return !promise.mayBeSetAside(for: transfer)
    }

    private func answerVote(
        _ request: VoteRequest, term asked: Term, granted: Bool, to member: MemberID, into effects: inout [ConsensusEffect]
    ) {
        let answer = VoteAnswer(isPreVote: request.isPreVote, granted: granted, campaignTerm: asked)
        // A vote given again may still be on its way to the disk from the first time.
        send(.voteAnswer(answer), to: member, after: granted && !request.isPreVote ? ballotWrite : .zero, into: &effects)
    }

    mutating func handleVoteAnswer(_ answer: VoteAnswer, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard configuration.isVoter(from) else { return }
        switch state {
        case .preCandidate(var attempt) where answer.isPreVote && answer.campaignTerm == attempt.term:
            attempt.count(from, granted: answer.granted)
            state = .preCandidate(attempt)
            if attempt.granted.count >= configuration.quorum { campaign(transfer: nil, at: now, into: &effects) }
        case .candidate(var attempt) where !answer.isPreVote && answer.campaignTerm == attempt.term:
            attempt.count(from, granted: answer.granted)
            state = .candidate(attempt)
            if attempt.granted.count >= configuration.quorum {
                becomeLeader(at: now, into: &effects)
            } else if attempt.refused.count > configuration.voters.count - configuration.quorum {
                becomeFollower(of: nil, because: .lostElection, at: now, into: &effects)
            }
        case .follower, .preCandidate, .candidate, .leader: break
        }
    }

    /// A candidate's own vote counts once its ballot is on disk.
    mutating func countOwnVote(at now: Instant, into effects: inout [ConsensusEffect]) {
        guard case .candidate(var attempt) = state, writes.isDurable(ballotWrite), configuration.isVoter(id) else { return }
        attempt.count(id, granted: true)
        state = .candidate(attempt)
        if attempt.granted.count >= configuration.quorum { becomeLeader(at: now, into: &effects) }
    }

    private mutating func becomeLeader(at now: Instant, into effects: inout [ConsensusEffect]) {
        let next = log.lastIndex.next
        let peers = configuration.members.filter { $0 != id }
            .map { Progress(member: $0, isVoter: configuration.isVoter($0), next: next) }
        state = .leader(
            LeaderState(
                peers: peers, isVoter: configuration.isVoter(id), firstIndex: next, nextHeartbeat: now + timing.heartbeat,
                quorumContact: now))
        failedCampaigns = 0
        announceRole(because: nil, into: &effects)
        // Nothing of an older term commits by counting (paper, section 5.4.2); this entry carries it along.
        _ = appendAsLeader([], at: now, into: &effects)
        // The entry was a heartbeat for everybody else already.
        if !needsOthers { heartbeatRound(at: now, into: &effects) }
    }

    /// Whoever leads this term is followed. False if that cannot be: then the message is no leader's.
    mutating func follow(_ from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) -> Bool {
        switch state {
        case .leader: return false
        case .follower(let following):
            if following.leader == from { return true }
            guard following.leader == nil else { return false }
            becomeFollower(of: from, because: nil, at: now, into: &effects)
        case .preCandidate, .candidate:
            becomeFollower(of: from, because: .lostElection, at: now, into: &effects)
        }
        return true
    }
}
