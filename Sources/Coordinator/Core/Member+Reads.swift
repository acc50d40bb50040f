// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When may the state be read? `linearizable`: once this member has applied what a leader confirmed, by a heartbeat round that began after
// the request, to be committed. `lease` and `stale` are asked for by name.

import Consensus
import CtrlExec
import DispatcherState
import Wire

struct PendingRead: Hashable, Sendable {
    enum Stage: Hashable, Sendable {
        /// Asked at this instant; nil: no leader is known, and it is asked in the step in which one appears.
        case waiting(retryAt: Instant?)
        case asked(ReadToken)
        case confirmed(LogIndex)
    }
    /// Nil for the read by which a member that has just started finds out how far it must catch up.
    let ticket: Ticket?
    let deadline: Instant
    var stage: Stage

    var nextDeadline: Instant {
        if case .waiting(let retryAt) = stage { return min(retryAt ?? deadline, deadline) }
        return deadline
    }
}

extension Member {
    mutating func beginRead(
        _ consistency: ReadConsistency, deadline: Instant, _ ticket: Ticket, at now: Moment, consensus: inout [ConsensusEffect],
        into effects: inout [Effect]
    ) {
        switch consistency {
        case .stale:
            effects.append(Effect(.reply(.readable, ticket)))
        case .lease:
            guard let lease = lease(at: now.instant) else {
                effects.append(Effect(.reply(.notReadable, ticket)))
                return
            }
            // A slow disk may keep the leader from applying what the others have on theirs, and have shown to somebody.
            if state.appliedIndex >= raft.commitIndex {
                effects.append(Effect(.reply(.readable, ticket), notAfter: lease))
            } else {
                appendRead(PendingRead(ticket: ticket, deadline: deadline, stage: .confirmed(raft.commitIndex)), into: &effects)
            }
        case .linearizable:
            appendRead(PendingRead(ticket: ticket, deadline: deadline, stage: .waiting(retryAt: now.instant)), into: &effects)
        }
    }

    private mutating func appendRead(_ read: PendingRead, into effects: inout [Effect]) {
        if reads.count < Member.callLimit {
            reads.append(read)
        } else if let ticket = read.ticket {
            effects.append(Effect(.reply(.overloaded, ticket)))
        }
    }

    mutating func readReady(_ token: ReadToken, _ index: LogIndex?, at now: Moment) {
        for position in reads.indices where reads[position].stage == .asked(token) {
            if let index {
                reads[position].stage = .confirmed(index)
                hasConfirmedReads = true
            } else {
                reads[position].stage = .waiting(retryAt: now.instant + Member.retryInterval)
            }
        }
    }

    /// Another leads now, or none: what the one before turned away is asked again as soon as there is one.
    mutating func releaseReads() {
        for position in reads.indices {
            if case .waiting = reads[position].stage { reads[position].stage = .waiting(retryAt: nil) }
        }
    }

    mutating func advanceReads(at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]) {
        hasConfirmedReads = false
        if !hasCaughtUp, !reads.contains(where: { $0.ticket == nil }) {
            let farAway = Instant(nanosecondsSinceBoot: .max)
            reads.append(PendingRead(ticket: nil, deadline: farAway, stage: .waiting(retryAt: now.instant)))
        }
        var isAnswered = false
        for position in reads.indices {
            switch reads[position].stage {
            case .confirmed(let index) where state.appliedIndex >= index:
                if let ticket = reads[position].ticket {
                    effects.append(Effect(.reply(.readable, ticket)))
                } else {
                    hasCaughtUp = true
                    // Before, the files of the last run are newer than what this member has applied.
                    effects.append(Effect(.project(.everything)))
                }
                reads[position].stage = .confirmed(.zero)
                isAnswered = true
            case .waiting(let retryAt) where now.instant < reads[position].deadline:
                guard raft.leader != nil else {
                    reads[position].stage = .waiting(retryAt: nil)
                    continue
                }
                if let retryAt, now.instant < retryAt { continue }
                let token = ReadToken(takeNumber())
                reads[position].stage = .asked(token)
                raft.requestRead(token, at: now.instant, into: &consensus)
            default:
                guard now.instant >= reads[position].deadline, let ticket = reads[position].ticket else { continue }
                effects.append(Effect(.reply(.notReadable, ticket)))
                reads[position].stage = .confirmed(.zero)
                isAnswered = true
            }
        }
        if isAnswered { reads.removeAll { $0.stage == .confirmed(.zero) } }
    }
}
