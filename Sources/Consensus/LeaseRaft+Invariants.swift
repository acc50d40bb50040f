// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What must hold of one member after every step (after LogCabin's RaftConsensusInvariants). What must hold between members (election
// safety, log matching, leases that never overlap) only a simulator can see.

extension LeaseRaft {
    /// How many entries at the log's end one check looks at, so that a check after every step stays cheap.
    private static let checkedTail = 4
    private static let otherPeers = "a leader's peers are not the members"

    /// The first thing that is wrong with this member, in words; nil if all is well.
    package func invariantViolation() -> String? {
        logViolation() ?? configurationViolation() ?? durabilityViolation() ?? promiseViolation() ?? roleViolation()
    }

    private func logViolation() -> String? {
        let entries = log.entries
        for position in max(0, entries.count - LeaseRaft.checkedTail)..<entries.count {
            let index = LogIndex(log.base.index.position + UInt64(position) + 1)
            if entries[position].index != index { return "the log has a gap at \(index)" }
            if entries[position].term < (log.term(at: index.previous) ?? .zero) { return "terms fall in the log at \(index)" }
        }
        if log.base.index > announcedCommit { return "the log begins behind \(log.base.place), and \(announcedCommit) is committed" }
        if log.base.index > snapshot?.index ?? .zero { return "the log has forgotten what no snapshot holds" }
        if let snapshot, snapshot.index <= log.lastIndex, log.term(at: snapshot.index) != snapshot.term {
            return "the snapshot behind \(snapshot) is not of this log"
        }
        if log.lastTerm > term { return "the log's last term \(log.lastTerm) is beyond the current term \(term)" }
        if commitIndex > log.lastIndex { return "commit index \(commitIndex) is beyond the log's end \(log.lastIndex)" }
        if announcedCommit > min(commitIndex, writes.durableIndex) {
            return "entries up to \(announcedCommit) were handed out, committed \(commitIndex), durable \(writes.durableIndex)"
        }
        return nil
    }

    private func configurationViolation() -> String? {
        let newest = log.newestChange
        if newest.index != configurationIndex { return "the configuration of \(configurationIndex) is not the log's newest" }
        if newest.configuration != configuration { return "the configuration is not what stands at \(newest.index)" }
        return nil
    }

    private func durabilityViolation() -> String? {
        if writes.durableIndex > log.lastIndex { return "durable index \(writes.durableIndex) is beyond the log's end" }
        var through = writes.durableIndex
        var id = writes.durable
        for write in writes.pending {
            if write.id != id.next { return "pending writes are not in order" }
            if write.logThrough < through { return "a later write makes less of the log durable" }
            through = write.logThrough
            id = write.id
        }
        if id != writes.newest || through != log.lastIndex { return "the last pending write does not make the whole log durable" }
        if writes.durableBallot.term > term { return "the journal's term is beyond the current one" }
        let ballot = Ballot(term: term, vote: vote)
        let newest = writes.pending.last { $0.ballot != nil }?.ballot ?? writes.durableBallot
        if newest != ballot { return "term and vote were changed without a write" }
        if writes.isDurable(termWrite), writes.durableBallot.term != term { return "the term passes for durable and is not" }
        return nil
    }

    private func promiseViolation() -> String? {
        if promise.newestHeartbeat.term > term { return "a heartbeat of a later term was promised" }
        if promise.longestWrite > writes.newest { return "the longest promise names a write that was never made" }
        return nil
    }

    private func roleViolation() -> String? {
        switch state {
        case .follower(let following):
            if following.leader == id { return "a follower follows itself" }
            if following.leader == nil, !following.reads.isEmpty { return "reads wait for a leader that is not known" }
            return nil
        case .preCandidate(let attempt):
            return attempt.term == term.next ? campaignViolation(attempt) : "a pre-vote asks for a term other than the next"
        case .candidate(let attempt):
            if attempt.term != term || vote != id { return "a candidate did not vote for itself in its term" }
            if attempt.granted.contains(id), !writes.isDurable(ballotWrite) {
                return "a candidate counts its own vote before it is durable"
            }
            return campaignViolation(attempt)
        case .leader(let leading):
            return leaderViolation(leading) ?? leaseViolation(leading)
        }
    }

    private func campaignViolation(_ attempt: Campaign) -> String? {
        if !mayCampaign { return "a member campaigns that is no voter" }
        for voter in attempt.granted where !configuration.isVoter(voter) { return "\(voter) consented and is no voter" }
        for voter in attempt.refused where !configuration.isVoter(voter) { return "\(voter) refused and is no voter" }
        if attempt.granted.count >= configuration.quorum { return "a campaign is won and not over" }
        return nil
    }

    private func leaderViolation(_ leading: LeaderState) -> String? {
        if vote != id { return "a leader did not vote for itself in its term" }
        if leading.isVoter != configuration.isVoter(id) { return "a leader does not know whether it votes" }
        if !leading.isVoter, commitIndex >= configurationIndex { return "a member leads that is committed to be removed" }
        var others = 0
        for member in configuration.members where member != id {
            guard others < leading.peers.count, leading.peers[others].member == member else { return LeaseRaft.otherPeers }
            guard leading.peers[others].isVoter == configuration.isVoter(member) else {
                return "the leader does not know whether \(member) votes"
            }
            others += 1
        }
        if others != leading.peers.count { return LeaseRaft.otherPeers }
        if writes.durableBallot != Ballot(term: term, vote: id) { return "a leader's ballot is not durable" }
        // Where that is forgotten, the log begins behind a later entry of the same term.
        if log.term(at: max(leading.firstIndex, log.base.index)) != term { return "a leader has no entry of its term" }
        if leading.isEstablished != (announcedCommit >= leading.firstIndex) {
            return "a leader is established without an entry of its term"
        }
        // What was committed by the quorum of a former configuration need not be held by one of the newest yet.
        if commitIndex >= max(leading.firstIndex, configurationIndex) {
            let held = leading.reachedByQuorum(configuration.quorum, own: writes.durableIndex) { $0.match }
            if held.map({ $0 < commitIndex }) ?? true { return "an entry is committed that no quorum holds" }
        }
        for peer in leading.peers {
            if peer.match > log.lastIndex { return "\(peer.member) matches beyond the leader's log" }
            if peer.next <= peer.match || peer.next > log.lastIndex.next { return "the next entry for \(peer.member) is \(peer.next)" }
            if peer.answered > leading.heartbeats.newest { return "\(peer.member) answered a heartbeat that was never made" }
            if peer.inFlight.count > Progress.windowAppends { return "the window of \(peer.member) is exceeded" }
            if peer.bytesInFlight != peer.inFlight.reduce(0, { $0 + $1.bytes }) {
                return "bytes in flight to \(peer.member) are miscounted"
            }
            if peer.mode != .replicate, !peer.inFlight.isEmpty { return "\(peer.member) is probed with appends in flight" }
            if case .offer = peer.mode, snapshot == nil { return "\(peer.member) was offered a snapshot that is not there" }
            if let last = peer.inFlight.last, last.last != peer.next.previous { return "the window of \(peer.member) has a gap" }
        }
        return nil
    }

    private func leaseViolation(_ leading: LeaderState) -> String? {
        let newest = leading.heartbeats.newest
        if newest > .zero, promise.newestHeartbeat != HeartbeatStamp(term: term, number: newest) {
            return "the leader's own promise is behind its newest heartbeat"
        }
        if leading.quorumAnswered > newest { return "a quorum answered a heartbeat that was never made" }
        if let start = leading.leaseStart {
            if leading.quorumAnswered <= leading.leaseFloor { return "a lease rests on a heartbeat after which it was given up" }
            if start + timing.lease > promise.end { return "the lease outlasts the leader's own promise" }
        }
        if leading.isSilent {
            if leading.leaseStart != nil { return "a lease lives on while leadership is handed over" }
            if leading.transfer?.phase != .sent(lastHeartbeat: newest) { return "a heartbeat was made after TimeoutNow" }
        }
        for (earlier, later) in zip(leading.reads, leading.reads.dropFirst()) where earlier.round > later.round {
            return "reads wait out of order"
        }
        return nil
    }
}
