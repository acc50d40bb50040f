// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Two members with the same fingerprint will do the same from now on, whatever happens to them. It is what an exhaustive search needs to know
// that it was here before: deadlines count from now, and what is over is over, however long ago; an instant in the past counts by its age,
// up to the promise, beyond which nothing looks. Names of writes count from the newest that is durable.
//
// Left out is what decides nothing: the generator (a search gives no jitter), when a leader was last heard of, what was announced last, the
// journal's stall (a search lets no disk stall).

/// A number that stands for a sequence of numbers (each step of SplitMix64 over the last result and the next number).
package struct CoreFingerprint: Hashable, Sendable {
    package private(set) var value: UInt64 = 0x5bd1_e995_9e37_79b9
    package init() {}

    package mutating func add(_ word: UInt64) {
        var mixed = (value ^ word) &+ 0x9e37_79b9_7f4a_7c15
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        value = mixed ^ (mixed >> 31)
    }
    package mutating func add(_ flag: Bool) { add(flag ? 1 : 0) }
    package mutating func add(_ member: MemberID?) {
        add(UInt64(member?.name.utf8.count ?? 0))
        for byte in member?.name.utf8 ?? "".utf8 { add(UInt64(byte)) }
    }
    package mutating func add(_ ballot: Ballot) {
        add(ballot.term.number)
        add(ballot.vote)
    }
    package mutating func add(_ entries: [Entry]) {
        add(UInt64(entries.count))
        for entry in entries {
            add(entry.index.position)
            add(entry.term.number)
            add(UInt64(entry.payload.count))
            for byte in entry.payload { add(UInt64(byte)) }
            for members in [entry.configuration?.voters ?? [], entry.configuration?.learners ?? []] {
                add(UInt64(members.count))
                for member in members { add(member) }
            }
        }
    }
    /// How far ahead a deadline is; nothing, if it is over.
    package mutating func add(deadline: Instant, at now: Instant) {
        add(deadline == LeaseRaft.never ? .max : deadline.since(now).nanoseconds)
    }
    /// How long ago an instant is, at most `limit`.
    package mutating func add(age instant: Instant?, at now: Instant, limit: TimeSpan) {
        add(instant.map { min(now.since($0), limit).nanoseconds + 1 } ?? 0)
    }
}

extension LeaseRaft {
    package func addFingerprint(at now: Instant, to fingerprint: inout CoreFingerprint) {
        fingerprint.add(Ballot(term: term, vote: vote))
        for write in [termWrite, ballotWrite, promise.longestWrite, writes.newest] {
            fingerprint.add(write > writes.durable ? write.number - writes.durable.number : 0)
        }
        fingerprint.add(commitIndex.position)
        fingerprint.add(announcedCommit.position)
        fingerprint.add(log.entries)
        for place in [log.base.place, snapshot, fetching] {
            fingerprint.add(place?.index.position ?? 0)
            fingerprint.add(place?.term.number ?? 0)
        }

        fingerprint.add(writes.durableIndex.position)
        fingerprint.add(writes.durableBallot)
        for write in writes.pending {
            fingerprint.add(write.logThrough.position)
            fingerprint.add(write.ballot ?? .initial)
        }

        fingerprint.add(deadline: promise.end, at: now)
        fingerprint.add(deadline: promise.restartHoldEnd, at: now)
        fingerprint.add(promise.newestHeartbeat.term.number)
        fingerprint.add(promise.newestHeartbeat.number.number)
        fingerprint.add(promise.longest.nanoseconds)

        fingerprint.add(deadline: campaignAt, at: now)
        fingerprint.add(min(failedCampaigns, 4))
        fingerprint.add(deadline: diskFullUntil, at: now)
        fingerprint.add(deadline: fetchNotBefore, at: now)
        addState(at: now, to: &fingerprint)
    }

    private func addState(at now: Instant, to fingerprint: inout CoreFingerprint) {
        switch state {
        case .follower(let following):
            fingerprint.add(1)
            fingerprint.add(following.leader)
            fingerprint.add(UInt64(following.reads.count))
        case .preCandidate(let attempt):
            fingerprint.add(2)
            add(attempt, to: &fingerprint)
        case .candidate(let attempt):
            fingerprint.add(3)
            add(attempt, to: &fingerprint)
        case .leader(let leading):
            fingerprint.add(4)
            add(leading, at: now, to: &fingerprint)
        }
    }

    private func add(_ attempt: Campaign, to fingerprint: inout CoreFingerprint) {
        fingerprint.add(attempt.term.number)
        for member in configuration.members {
            fingerprint.add(attempt.granted.contains(member))
            fingerprint.add(attempt.refused.contains(member))
        }
    }

    private func add(_ leading: LeaderState, at now: Instant, to fingerprint: inout CoreFingerprint) {
        let limit = timing.promise
        fingerprint.add(leading.firstIndex.position)
        fingerprint.add(leading.isEstablished)
        fingerprint.add(leading.heartbeats.newest.number)
        var number = leading.quorumAnswered.next
        while number <= leading.heartbeats.newest {
            fingerprint.add(age: leading.heartbeats.made(number), at: now, limit: limit)
            number = number.next
        }
        fingerprint.add(deadline: leading.nextHeartbeat, at: now)
        fingerprint.add(leading.quorumAnswered.number)
        fingerprint.add(age: leading.quorumContact, at: now, limit: limit)
        fingerprint.add(leading.leaseFloor.number)
        fingerprint.add(age: leading.leaseStart, at: now, limit: limit)
        fingerprint.add(UInt64(leading.reads.count))
        if let transfer = leading.transfer {
            fingerprint.add(transfer.target)
            fingerprint.add(deadline: transfer.deadline, at: now)
            if case .sent(let last) = transfer.phase { fingerprint.add(last.number + 1) } else { fingerprint.add(0) }
        }
        for peer in leading.peers {
            fingerprint.add(peer.match.position)
            fingerprint.add(peer.next.position)
            fingerprint.add(peer.answered.number)
            fingerprint.add(peer.commitSent.position)
            switch peer.mode {
            case .probe(let sent, let isRepeated):
                fingerprint.add(isRepeated)
                fingerprint.add(age: sent, at: now, limit: limit)
            case .replicate: fingerprint.add(2)
            case .offer(let first, let sent):
                fingerprint.add(first.index.position + 3)
                fingerprint.add(age: sent, at: now, limit: limit)
            }
            for append in peer.inFlight {
                fingerprint.add(append.last.position)
                fingerprint.add(age: append.sent, at: now, limit: limit)
            }
        }
    }
}
