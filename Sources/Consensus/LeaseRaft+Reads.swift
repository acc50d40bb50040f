// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Linearizable reads (dissertation, section 6.4): the leader's commit index at the read's arrival, confirmed by a heartbeat that was made
// afterwards and that a quorum answered. One heartbeat round serves all reads that came before it. No lease and no clock is involved.

extension LeaseRaft {
    /// A leader answers "ask again" beyond this many waiting reads, and so does a follower.
    static let readLimit = 4096

    // MARK: The leader

    mutating func acceptRead(_ token: ReadToken, asker: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard leading.reads.count < LeaseRaft.readLimit else {
            answerRead(LeaderRead(asker: asker, token: token, index: nil, round: .zero), with: nil, into: &effects)
            return
        }
        let isQuiet = leading.reads.isEmpty
        let index = leading.isEstablished ? commitIndex : nil
        leading.reads.append(LeaderRead(asker: asker, token: token, index: index, round: leading.heartbeats.newest.next))
        // While a round is on its way, later reads wait for its end and share the next one.
        if isQuiet, leading.isEstablished { heartbeatRound(at: now, into: &effects) }
    }

    /// Reads that came before an entry of this term was committed begin here.
    mutating func admitWaitingReads(at now: Instant, into effects: inout [ConsensusEffect]) {
        if leading.reads.isEmpty { return }
        let round = leading.heartbeats.newest.next
        for position in leading.reads.indices {
            leading.reads[position].index = commitIndex
            leading.reads[position].round = round
        }
        heartbeatRound(at: now, into: &effects)
    }

    mutating func answerConfirmedReads(at now: Instant, into effects: inout [ConsensusEffect]) {
        let answered = leading.quorumAnswered
        var count = 0
        while count < leading.reads.count, let index = leading.reads[count].index, leading.reads[count].round <= answered {
            answerRead(leading.reads[count], with: index, into: &effects)
            count += 1
        }
        if count == 0 { return }
        leading.reads.removeFirst(count)
        if let next = leading.reads.first, next.round > leading.heartbeats.newest { heartbeatRound(at: now, into: &effects) }
    }

    private func answerRead(_ read: LeaderRead, with index: LogIndex?, into effects: inout [ConsensusEffect]) {
        if read.asker == id {
            effects.append(.readReady(read.token, index))
        } else {
            send(.readIndexAnswer(read.token, index), to: read.asker, into: &effects)
        }
    }

    mutating func handleReadIndexRequest(
        _ question: ReadToken, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        if case .leader = state {
            acceptRead(question, asker: from, at: now, into: &effects)
        } else {
            send(.readIndexAnswer(question, nil), to: from, into: &effects)
        }
    }

    // MARK: The follower

    mutating func forwardRead(_ token: ReadToken, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard let leader = following.leader, following.reads.count < LeaseRaft.readLimit else {
            effects.append(.readReady(token, nil))
            return
        }
        let question = ReadToken(nextQuestion)
        nextQuestion &+= 1
        following.reads.append(ForwardedRead(token: token, question: question, deadline: now + timing.promise))
        send(.readIndexRequest(question), to: leader, into: &effects)
    }

    mutating func handleReadIndexAnswer(
        _ question: ReadToken, _ index: LogIndex?, from: MemberID, into effects: inout [ConsensusEffect]
    ) {
        guard case .follower(let current) = state, current.leader == from,
            let position = current.reads.firstIndex(where: { $0.question == question })
        else { return }
        let read = current.reads[position]
        following.reads.remove(at: position)
        effects.append(.readReady(read.token, index))
    }

    mutating func expireForwardedReads(at now: Instant, into effects: inout [ConsensusEffect]) {
        guard case .follower(let current) = state, current.reads.contains(where: { now >= $0.deadline }) else { return }
        for read in current.reads where now >= read.deadline { effects.append(.readReady(read.token, nil)) }
        following.reads.removeAll { now >= $0.deadline }
    }

    /// Leadership changes: nobody who asked here will be answered any more.
    func failReads(into effects: inout [ConsensusEffect]) {
        switch state {
        case .follower(let following):
            for read in following.reads { effects.append(.readReady(read.token, nil)) }
        case .leader(let leading):
            for read in leading.reads where read.asker == id { effects.append(.readReady(read.token, nil)) }
        case .preCandidate, .candidate: break
        }
    }
}
