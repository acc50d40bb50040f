// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Handing leadership on without waiting for promises to end (dissertation, section 3.10, with a lease to give up first).
//
// Promises are set aside only for a request that names the last heartbeat of the leader that hands over, by members that took no later
// one. The leader gives its lease up *before* anybody can learn that number, and if it goes on, its next lease rests on later heartbeats
// alone. So a `TimeoutNow` that was on its way for a long time, and arrives after the leader has gone on, finds a quorum that refuses.

extension LeaseRaft {
    mutating func beginTransfer(to target: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        leading.transfer = LeaderState.Transfer(target: target, deadline: now + timing.promise, phase: .waitingForLog)
        sendTimeoutNowIfReady(at: now, into: &effects)
    }

    /// Once the target has the whole log: no lease, no heartbeat, no append from here on; then `TimeoutNow`.
    mutating func sendTimeoutNowIfReady(at now: Instant, into effects: inout [ConsensusEffect]) {
        guard var transfer = leading.transfer, transfer.phase == .waitingForLog, let position = leading.position(of: transfer.target),
            leading.peers[position].match == log.lastIndex
        else { return }
        let last = leading.heartbeats.newest
        leading.leaseStart = nil
        leading.leaseFloor = last
        transfer.phase = .sent(lastHeartbeat: last)
        transfer.deadline = now + TimeSpan(nanoseconds: timing.promise.nanoseconds / 2)
        leading.transfer = transfer
        send(.timeoutNow(lastHeartbeat: last), to: transfer.target, into: &effects)
    }

    /// Nothing came of it: the leader goes on, above the number that it gave away.
    mutating func expireTransfer(at now: Instant, into effects: inout [ConsensusEffect]) {
        guard let transfer = leading.transfer, now >= transfer.deadline else { return }
        leading.transfer = nil
        effects.append(.transferFailed(to: transfer.target))
        heartbeatRound(at: now, into: &effects)
        pushToAll(at: now, into: &effects)
    }

    mutating func handleTimeoutNow(
        lastHeartbeat: HeartbeatNumber, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        guard case .follower(let following) = state, following.leader == from, configuration.isVoter(id) else { return }
        let transfer = VoteRequest.Transfer(term: term, lastHeartbeat: lastHeartbeat)
        if promise.isHeldByRestart(at: now) || !promise.mayBeSetAside(for: transfer) || isObstructed(at: now) { return }
        campaign(transfer: transfer, at: now, into: &effects)
    }
}
