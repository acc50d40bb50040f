// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is forgotten behind a snapshot, and how a follower gets on that lacks what its leader has forgotten (paper, section 7). The snapshot
// itself does not pass through here: it is offered by its place, fetched by the shell, and becomes the log's base once it is on disk.
//
// A snapshot stands behind committed entries only. So whoever holds its entry has the same log up to it, and whoever has committed up to
// some index matches every later leader up to there: that is what an offer is answered with.

/// How much of the log a leader keeps for followers who are behind. Beyond either they get a snapshot.
package struct RetentionLimit: Hashable, Sendable {
    package var entries: Int
    package var bytes: Int
    package init(entries: Int, bytes: Int) {
        self.entries = entries
        self.bytes = bytes
    }
    /// Well below what stops a leader from accepting proposals.
    package static let most = Log.entryLimit / 2
}

extension LeaseRaft {
    /// The log is kept for a follower that answered within so long.
    static let reachedSpan = TimeSpan.seconds(10)
    /// Offers come every `Timing.retransmit`; one that cannot be taken up is not tried as often.
    static let fetchPause = TimeSpan.seconds(1)

    // MARK: Everybody

    /// Where a snapshot of the state after `index` stands, which must have been handed out for applying.
    package func base(at index: LogIndex) -> LogBase {
        precondition(index <= announcedCommit, "a snapshot stands behind applied entries only")
        guard let term = log.term(at: index) else { preconditionFailure("what was just applied is still in the log") }
        return LogBase(place: SnapshotPlace(index: index, term: term), configuration: log.configuration(at: index))
    }

    /// A snapshot of what was applied here is on disk.
    package mutating func snapshotWasTaken(_ place: SnapshotPlace) {
        precondition(place.index <= announcedCommit, "a snapshot stands behind applied entries only")
        if snapshot.map({ $0 < place }) ?? true { snapshot = place }
    }

    /// A snapshot that was fetched is on disk.
    ///
    /// - Returns: whether the log now begins behind it. Then the state is the snapshot's, and what this member had not applied before it
    ///   will not come as entries.
    package mutating func snapshotIsDurable(_ base: LogBase, at now: Instant, into effects: inout [ConsensusEffect]) -> Bool {
        if fetching == base.place { fetching = nil }
        if let snapshot, snapshot >= base.place { return false }
        guard base.index > commitIndex else {
            snapshot = base.place
            return false
        }
        if log.term(at: base.index) == base.term {
            snapshot = base.place
            isCommitted(base.place, at: now, into: &effects)
            answerFetched(at: now, into: &effects)
            return false
        }
        // A leader has everything that is committed in its log, and this is not there.
        if case .leader = state { return false }
        beginAnew(behind: base, at: now, into: &effects)
        answerFetched(at: now, into: &effects)
        return true
    }

    /// The log holds the entry of a snapshot that is on disk here.
    private mutating func isCommitted(_ place: SnapshotPlace, at now: Instant, into effects: inout [ConsensusEffect]) {
        writes.becameDurable(through: place.index, lastIndex: log.lastIndex)
        advanceCommit(to: place.index, at: now, into: &effects)
    }

    /// What the log holds is void: it lacks the entry, or has another in its place.
    private mutating func beginAnew(behind base: LogBase, at now: Instant, into effects: inout [ConsensusEffect]) {
        switch state {
        case .follower, .leader: break
        case .preCandidate, .candidate: becomeFollower(of: nil, because: .lostElection, at: now, into: &effects)
        }
        log = Log(behind: base)
        snapshot = base.place
        commitIndex = base.index
        announcedCommit = base.index
        writes.becameDurable(through: base.index, lastIndex: base.index)
        logChanged()
        _ = write(JournalWrite(base: base), at: now, into: &effects)
    }

    /// The leader waits to hear of it.
    private mutating func answerFetched(at now: Instant, into effects: inout [ConsensusEffect]) {
        guard case .follower(let following) = state, let leader = following.leader, promise.newestHeartbeat.term == term else { return }
        answerOffer(promise.newestHeartbeat.number, from: leader, into: &effects)
    }

    /// The shell could not get it; after a while an offer begins anew.
    package mutating func snapshotNotFetched(_ place: SnapshotPlace, at now: Instant) {
        guard fetching == place else { return }
        fetching = nil
        fetchNotBefore = now + LeaseRaft.fetchPause
    }

    /// Forgets entries up to `index`, as far as a durable snapshot stands behind them and, on a leader, nobody is about to need them.
    package mutating func forget(
        through index: LogIndex, keepingForOthers limit: RetentionLimit, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        var through = min(index, announcedCommit, snapshot?.index ?? .zero)
        if case .leader(let leading) = state, log.entries.count <= limit.entries, log.bytes <= limit.bytes {
            for peer in leading.peers where peer.lastAnswer.map({ now.since($0) < LeaseRaft.reachedSpan }) ?? false {
                through = min(through, peer.needsBehind)
            }
        }
        guard through > log.base.index else { return }
        log.forget(through: through)
        logChanged()
        _ = write(JournalWrite(forgetThrough: through), at: now, into: &effects)
    }

    // MARK: The leader

    /// Whether this peer's next append would begin before the base.
    func isForgotten(forPeerAt position: Int) -> Bool {
        if case .offer = leading.peers[position].mode { return true }
        return leading.peers[position].next.previous < log.base.index
    }

    mutating func sendOffer(
        as number: HeartbeatNumber, toPeerAt position: Int, at now: Instant, into effects: inout [ConsensusEffect]
    ) {
        guard let snapshot else { preconditionFailure("a log that has forgotten something stands behind a snapshot") }
        let commit = min(leading.peers[position].match, commitIndex)
        leading.peers[position].sentOffer(snapshot, at: now)
        leading.peers[position].told(commit: commit)
        leading.peers[position].sent(number, at: now)
        let offer = SnapshotOffer(heartbeat: Heartbeat(number: number, promise: timing.promise, commit: commit), place: snapshot)
        send(.offer(offer), to: leading.peers[position].member, after: promise.longestWrite, into: &effects)
    }

    // MARK: The follower

    mutating func handleOffer(_ offer: SnapshotOffer, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        let (index, offeredTerm) = (offer.place.index, offer.place.term)
        guard index > .zero, index.position < 1 << 62, offeredTerm > .zero, offeredTerm <= term else { return }
        guard takeHeartbeat(offer.heartbeat, from: from, at: now, into: &effects) else { return }
        advanceCommit(to: min(offer.heartbeat.commit, log.lastIndex), at: now, into: &effects)
        if index > commitIndex {
            if log.term(at: index) == offeredTerm {
                advanceCommit(to: index, at: now, into: &effects)
            } else if fetching == nil, now >= fetchNotBefore {
                fetching = offer.place
                // Whoever starts from the snapshot must know its term.
                effects.append(.fetchSnapshot(offer.place, from: from, gate: writes.gate(termWrite)))
            }
        }
        answerOffer(offer.heartbeat.number, from: from, into: &effects)
    }

    private mutating func answerOffer(_ number: HeartbeatNumber, from leader: MemberID, into effects: inout [ConsensusEffect]) {
        let write = max(promise.longestWrite, writes.writeThatMakesDurable(commitIndex))
        send(.appendAnswer(AppendAnswer(number: number, result: .matched(commitIndex))), to: leader, after: write, into: &effects)
    }
}
