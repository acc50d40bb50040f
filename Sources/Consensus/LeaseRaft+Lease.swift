// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Promises and what they carry. The leader makes numbered heartbeats, members promise and repeat the number, and the lease reaches `L`
// past the instant at which the newest heartbeat was made that a quorum of the voters has answered. When an answer arrives is irrelevant.
//
// The leader counts as one of them, so each heartbeat that it makes binds its own vote, too. Appends are heartbeats.

extension LeaseRaft {
    // MARK: The leader

    mutating func tickAsLeader(at now: Instant, into effects: inout [ConsensusEffect]) {
        if let stall = writes.stalls(after: timing.journalStall), now >= stall {
            becomeFollower(of: nil, because: .journalStalled, at: now, into: &effects)
            return
        }
        if needsOthers, now >= leading.quorumContact + timing.promise {
            becomeFollower(of: nil, because: .lostQuorum, at: now, into: &effects)
            return
        }
        expireTransfer(at: now, into: &effects)
        if leading.isSilent { return }
        if now >= leading.nextHeartbeat { heartbeatRound(at: now, into: &effects) }
        retransmit(at: now, into: &effects)
    }

    func nextDeadline(of leading: LeaderState) -> Instant {
        var due = writes.stalls(after: timing.journalStall) ?? LeaseRaft.never
        if needsOthers { due = min(due, leading.quorumContact + timing.promise) }
        if let transfer = leading.transfer { due = min(due, transfer.deadline) }
        if leading.isSilent { return due }
        due = min(due, leading.nextHeartbeat)
        for peer in leading.peers {
            if let retransmission = peer.retransmission(after: timing.retransmit) { due = min(due, retransmission) }
        }
        return due
    }

    /// Makes the next heartbeat's number and renews this leader's own promise.
    mutating func makeHeartbeat(at now: Instant, into effects: inout [ConsensusEffect]) -> HeartbeatNumber {
        precondition(!leading.isSilent, "no heartbeat is made between TimeoutNow and the end of the transfer")
        let number = leading.heartbeats.make(at: now)
        keepPromise(timing.promise, for: number, at: now, into: &effects)
        return number
    }

    /// One heartbeat for all. A silent leader makes none.
    mutating func heartbeatRound(at now: Instant, into effects: inout [ConsensusEffect]) {
        if leading.isSilent { return }
        let number = makeHeartbeat(at: now, into: &effects)
        leading.nextHeartbeat = now + timing.heartbeat
        for position in leading.peers.indices { sendHeartbeat(number, toPeerAt: position, at: now, into: &effects) }
        quorumMayHaveAnswered(at: now, into: &effects)
    }

    mutating func sendHeartbeat(
        _ number: HeartbeatNumber, toPeerAt position: Int, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        let commit = min(leading.peers[position].match, commitIndex)
        leading.peers[position].told(commit: commit)
        leading.peers[position].sent(number, at: now)
        let heartbeat = Heartbeat(number: number, promise: timing.promise, commit: commit)
        send(.heartbeat(heartbeat), to: leading.peers[position].member, after: promise.longestWrite, into: &effects)
    }

    mutating func handleHeartbeatAnswer(_ answer: HeartbeatAnswer, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard case .leader = state, let position = leading.position(of: from), answer.number > .zero else { return }
        guard heard(answer.number, fromPeerAt: position, at: now) else { return }
        quorumMayHaveAnswered(at: now, into: &effects)
    }

    /// False if the answer repeats a number that was never made.
    mutating func heard(_ number: HeartbeatNumber, fromPeerAt position: Int, at now: Instant) -> Bool {
        guard number <= leading.heartbeats.newest else { return false }
        leading.peers[position].heard(number, at: now)
        return true
    }

    /// Recounts which heartbeat a quorum has answered; the lease, the check of the quorum and waiting reads follow from it.
    mutating func quorumMayHaveAnswered(at now: Instant, into effects: inout [ConsensusEffect]) {
        let own = writes.isDurable(promise.longestWrite) ? leading.heartbeats.newest : .zero
        let number = leading.reachedByQuorum(configuration.quorum, own: own) { $0.answered } ?? .zero
        if number > leading.quorumAnswered, let made = leading.heartbeats.made(number) {
            leading.quorumAnswered = number
            leading.quorumContact = made
            if number > leading.leaseFloor { leading.leaseStart = made }
            leading.heartbeats.forget(through: number)
        }
        answerConfirmedReads(at: now, into: &effects)
    }

    // MARK: Everybody

    mutating func handleHeartbeat(_ heartbeat: Heartbeat, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard takeHeartbeat(heartbeat, from: from, at: now, into: &effects) else { return }
        // Never beyond what this member has acknowledged as durable in this log.
        advanceCommit(to: min(heartbeat.commit, log.lastIndex), at: now, into: &effects)
        send(.heartbeatAnswer(HeartbeatAnswer(number: heartbeat.number)), to: from, after: promise.longestWrite, into: &effects)
    }

    /// Follows and promises. False if the message is no leader's, or asks for more than may be promised.
    mutating func takeHeartbeat(
        _ heartbeat: Heartbeat, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]
    ) -> Bool {
        guard heartbeat.number > .zero, heartbeat.promise <= Timing.longestPromise else { return false }
        guard follow(from, at: now, into: &effects) else { return false }
        keepPromise(heartbeat.promise, for: heartbeat.number, at: now, into: &effects)
        failedCampaigns = 0
        lastContact = now
        scheduleCampaign(after: now)
        return true
    }

    /// Promises from now on. A promise longer than any before goes to the journal first: after a restart, nobody else remembers it.
    private mutating func keepPromise(
        _ span: TimeSpan, for number: HeartbeatNumber, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        if span > promise.longest {
            promise.recorded(longest: span, in: write(JournalWrite(longestPromise: span), at: now, into: &effects))
        }
        promise.extend(by: span, for: HeartbeatStamp(term: term, number: number), at: now)
    }
}
