// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How the log travels and what of it is committed (paper, sections 5.3 and 5.4.2; dissertation, section 10.2.1 for writing in parallel).

extension LeaseRaft {
    // MARK: The leader

    /// The own write and the followers' run side by side.
    mutating func appendAsLeader(
        _ payload: [UInt8], changing change: Configuration? = nil, at now: Instant, into effects: inout [ConsensusEffect]
    ) -> LogIndex {
        let entry = Entry(index: log.lastIndex.next, term: term, payload: payload, configuration: change)
        log.append(entry)
        if let change {
            logChanged()
            leading.change(to: change, leader: id, next: entry.index)
        }
        _ = write(JournalWrite(entries: [entry]), at: now, into: &effects)
        pushToAll(at: now, into: &effects)
        return entry.index
    }

    mutating func pushToAll(at now: Instant, into effects: inout [ConsensusEffect]) {
        var number: HeartbeatNumber?
        for position in leading.peers.indices { push(toPeerAt: position, as: &number, at: now, into: &effects) }
    }

    /// Sends what this peer lacks and its window admits; and, if no append carries it, the commit index that it has not heard of.
    /// All that leaves in one step shares one heartbeat number.
    mutating func push(
        toPeerAt position: Int, as number: inout HeartbeatNumber?, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        if leading.isSilent { return }
        while leading.peers[position].maySend(lastIndex: log.lastIndex) {
            let number = makeIfNeeded(&number, at: now, into: &effects)
            if isForgotten(forPeerAt: position) {
                sendOffer(as: number, toPeerAt: position, at: now, into: &effects)
            } else {
                sendAppend(as: number, toPeerAt: position, at: now, into: &effects)
            }
        }
        let peer = leading.peers[position]
        if min(peer.match, commitIndex) > peer.commitSent {
            let number = makeIfNeeded(&number, at: now, into: &effects)
            sendHeartbeat(number, toPeerAt: position, at: now, into: &effects)
        }
    }

    private mutating func makeIfNeeded(
        _ number: inout HeartbeatNumber?, at now: Instant, into effects: inout [ConsensusEffect]
    ) -> HeartbeatNumber {
        if let number { return number }
        let made = makeHeartbeat(at: now, into: &effects)
        number = made
        return made
    }

    private mutating func sendAppend(
        as number: HeartbeatNumber, toPeerAt position: Int, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        let peer = leading.peers[position]
        let previous = peer.next.previous
        guard let previousTerm = log.term(at: previous) else { preconditionFailure("a peer's next entry lies beyond the log's end") }
        let batch = peer.carriesEntries ? log.batch(from: peer.next) : (entries: [], bytes: 0)
        // Once the follower has taken this append, it matches up to its end.
        let matched = max(peer.match, LogIndex(previous.position + UInt64(batch.entries.count)))
        let commit = min(commitIndex, matched)
        leading.peers[position].sentAppend(count: batch.entries.count, bytes: batch.bytes, at: now)
        leading.peers[position].told(commit: min(commitIndex, peer.match))
        leading.peers[position].sent(number, at: now)
        let heartbeat = Heartbeat(number: number, promise: timing.promise, commit: commit)
        let append = Append(heartbeat: heartbeat, previousIndex: previous, previousTerm: previousTerm, entries: batch.entries)
        send(.append(append), to: peer.member, after: promise.longestWrite, into: &effects)
    }

    mutating func retransmit(at now: Instant, into effects: inout [ConsensusEffect]) {
        var number: HeartbeatNumber?
        for position in leading.peers.indices {
            guard let due = leading.peers[position].retransmission(after: timing.retransmit), now >= due else { continue }
            leading.peers[position].goBack()
            push(toPeerAt: position, as: &number, at: now, into: &effects)
        }
    }

    mutating func handleAppendAnswer(_ answer: AppendAnswer, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard case .leader = state, let position = leading.position(of: from), answer.number > .zero else { return }
        guard heard(answer.number, fromPeerAt: position, at: now) else { return }
        quorumMayHaveAnswered(at: now, into: &effects)
        switch answer.result {
        case .matched(let index):
            guard index <= log.lastIndex else { return }
            leading.peers[position].matched(index, base: log.base.index)
        case .mismatch(let hint, let hintTerm):
            // What matched once is durable there for ever: this answer is older than that.
            guard hint >= leading.peers[position].match else { return }
            leading.peers[position].mismatched(meeting: log.lastIndex(upTo: hint, termAtMost: hintTerm))
        }
        if !commitWhatAQuorumHolds(at: now, into: &effects) {
            var number: HeartbeatNumber?
            push(toPeerAt: position, as: &number, at: now, into: &effects)
        }
        // A leader that removed itself leads no more once that is committed.
        if case .leader = state { sendTimeoutNowIfReady(at: now, into: &effects) }
    }

    mutating func ownWriteIsDurable(at now: Instant, into effects: inout [ConsensusEffect]) {
        commitWhatAQuorumHolds(at: now, into: &effects)
        guard case .leader = state else { return }
        // The own promise may be what the lease of a sole voter waited for.
        quorumMayHaveAnswered(at: now, into: &effects)
    }

    /// Only an entry of this term commits by counting; the leader counts with what is durable here. True if the commit index rose.
    @discardableResult
    mutating func commitWhatAQuorumHolds(at now: Instant, into effects: inout [ConsensusEffect]) -> Bool {
        let own = writes.durableIndex
        guard let held = leading.reachedByQuorum(configuration.quorum, own: own, { $0.match }), held > commitIndex,
            held >= leading.firstIndex
        else { return false }
        advanceCommit(to: held, at: now, into: &effects)
        pushToAll(at: now, into: &effects)
        if !leading.isVoter, commitIndex >= configurationIndex {
            // The others know of it with what has just left; this member is no more than a former one.
            becomeFollower(of: nil, because: .removed, at: now, into: &effects)
        }
        return true
    }

    mutating func advanceCommit(to index: LogIndex, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard index > commitIndex else { return }
        precondition(index <= log.lastIndex, "an entry is committed that is not here")
        commitIndex = index
        announceCommit(at: now, into: &effects)
    }

    // MARK: The follower

    mutating func handleAppend(_ append: Append, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        guard append.isWellFormed(in: term), let append = append.rest(behind: log.base) else { return }
        guard takeHeartbeat(append.heartbeat, from: from, at: now, into: &effects) else { return }
        guard log.term(at: append.previousIndex) == append.previousTerm else {
            // Up to the base all logs agree.
            let hint = max(log.base.index, log.lastIndex(upTo: append.previousIndex, termAtMost: append.previousTerm))
            let result = AppendAnswer.Result.mismatch(hint: hint, hintTerm: log.term(at: hint) ?? .zero)
            let answer = AppendAnswer(number: append.heartbeat.number, result: result)
            send(.appendAnswer(answer), to: from, after: promise.longestWrite, into: &effects)
            return
        }
        take(append.entries, at: now, into: &effects)
        // Not this member's whole log: what stands behind may be left over from another leader.
        let matched = LogIndex(append.previousIndex.position + UInt64(append.entries.count))
        advanceCommit(to: min(append.heartbeat.commit, log.lastIndex), at: now, into: &effects)
        let answer = AppendAnswer(number: append.heartbeat.number, result: .matched(matched))
        let write = max(promise.longestWrite, writes.writeThatMakesDurable(matched))
        send(.appendAnswer(answer), to: from, after: write, into: &effects)
    }

    /// Entries that are here stay; only a real conflict removes anything, for an old append must not undo a newer one.
    private mutating func take(_ entries: [Entry], at now: Instant, into effects: inout [ConsensusEffect]) {
        var position = 0
        while position < entries.count, log.term(at: entries[position].index) == entries[position].term { position += 1 }
        guard position < entries.count else { return }
        var record = JournalWrite(entries: position == 0 ? entries : Array(entries[position...]))
        let first = entries[position].index
        if first <= log.lastIndex {
            precondition(first > commitIndex, "a committed entry conflicts with the leader's")
            record.truncateFrom = first
            log.truncate(from: first)
        }
        for entry in record.entries { log.append(entry) }
        logChanged()
        _ = write(record, at: now, into: &effects)
    }

    /// A leader of an older term learns the newer one, so that it steps down; others' old messages say nothing any more.
    func refuseOldTerm(_ message: Message, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        switch message.body {
        case .heartbeat, .append, .offer: send(.heartbeatAnswer(HeartbeatAnswer(number: .zero)), to: from, into: &effects)
        case .readIndexRequest(let question): send(.readIndexAnswer(question, nil), to: from, into: &effects)
        case .heartbeatAnswer, .appendAnswer, .voteRequest, .voteAnswer, .timeoutNow, .readIndexAnswer: break
        }
    }
}

extension Append {
    /// What of it stands behind the base: up to there every leader's log is the same, because it was committed. Nil: this one's is not.
    fileprivate func rest(behind base: LogBase) -> Append? {
        guard previousIndex < base.index else { return self }
        let known = min(entries.count, Int(clamping: base.index.position - previousIndex.position))
        if known > 0, entries[known - 1].index == base.index, entries[known - 1].term != base.term { return nil }
        var rest = self
        rest.entries.removeFirst(known)
        rest.previousIndex = base.index
        rest.previousTerm = base.term
        return rest
    }

    /// Entries follow each other and `previous`, and none is of a later term than the leader's.
    fileprivate func isWellFormed(in term: Term) -> Bool {
        guard previousTerm <= term, previousIndex.position < 1 << 62, (previousIndex == .zero) == (previousTerm == .zero) else {
            return false
        }
        var index = previousIndex
        var last = previousTerm
        for entry in entries {
            guard entry.index == index.next, entry.term >= last, entry.term > .zero, entry.term <= term else { return false }
            index = entry.index
            last = entry.term
        }
        return true
    }
}
