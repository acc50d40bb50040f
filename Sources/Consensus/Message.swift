// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What members say to each other to agree. Carried by `Wire`; every one names its sender's term.

package struct Message: Hashable, Sendable {
    /// The sender's term; in a pre-vote request, the term that the sender would campaign in.
    package var term: Term
    package var body: Body
    package init(term: Term, body: Body) {
        self.term = term
        self.body = body
    }

    package enum Body: Hashable, Sendable {
        case heartbeat(Heartbeat)
        case heartbeatAnswer(HeartbeatAnswer)
        case append(Append)
        case appendAnswer(AppendAnswer)
        /// In place of an append, when the leader has forgotten what the follower lacks. Answered as an append is.
        case offer(SnapshotOffer)
        case voteRequest(VoteRequest)
        case voteAnswer(VoteAnswer)
        /// Campaign now: the leader has sent its last heartbeat, `lastHeartbeat`, and given up its lease.
        case timeoutNow(lastHeartbeat: HeartbeatNumber)
        /// A member asks its leader up to which index it must have applied to answer a linearizable read.
        case readIndexRequest(ReadToken)
        case readIndexAnswer(ReadToken, LogIndex?)
    }
}

/// Names one read at the member that asked for it.
package struct ReadToken: Hashable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
}

/// Keeps a promise alive. Does not wait for the disk.
package struct Heartbeat: Hashable, Sendable {
    package var number: HeartbeatNumber
    /// `P`, which the follower promises from the instant at which it handles this.
    package var promise: TimeSpan
    /// Never beyond what the leader knows to match in this follower's log; in an append, what matches once it is taken.
    package var commit: LogIndex
    package init(number: HeartbeatNumber, promise: TimeSpan, commit: LogIndex) {
        self.number = number
        self.promise = promise
        self.commit = commit
    }
}

package struct HeartbeatAnswer: Hashable, Sendable {
    /// The number of the heartbeat that is answered; zero in a refusal of an old term's leader.
    package var number: HeartbeatNumber
    package init(number: HeartbeatNumber) { self.number = number }
}

/// Entries behind `previous`; also a heartbeat.
package struct Append: Hashable, Sendable {
    package var heartbeat: Heartbeat
    package var previousIndex: LogIndex
    package var previousTerm: Term
    package var entries: [Entry]
    package init(heartbeat: Heartbeat, previousIndex: LogIndex, previousTerm: Term, entries: [Entry]) {
        self.heartbeat = heartbeat
        self.previousIndex = previousIndex
        self.previousTerm = previousTerm
        self.entries = entries
    }
}

/// A snapshot that the leader has; also a heartbeat.
package struct SnapshotOffer: Hashable, Sendable {
    package var heartbeat: Heartbeat
    package var place: SnapshotPlace
    package init(heartbeat: Heartbeat, place: SnapshotPlace) {
        self.heartbeat = heartbeat
        self.place = place
    }
}

package struct AppendAnswer: Hashable, Sendable {
    package var number: HeartbeatNumber
    package var result: Result
    package init(number: HeartbeatNumber, result: Result) {
        self.number = number
        self.result = result
    }
    package enum Result: Hashable, Sendable {
        /// Everything up to here is durable at the follower and equals the leader's log.
        case matched(LogIndex)
        /// The follower's log does not contain `previous`; try again at or before this index, whose term there is this.
        case mismatch(hint: LogIndex, hintTerm: Term)
    }
}

package struct VoteRequest: Hashable, Sendable {
    package var isPreVote: Bool
    package var lastLogIndex: LogIndex
    package var lastLogTerm: Term
    /// Set by the target of a transfer.
    package var transfer: Transfer?
    package init(isPreVote: Bool, lastLogIndex: LogIndex, lastLogTerm: Term, transfer: Transfer?) {
        self.isPreVote = isPreVote
        self.lastLogIndex = lastLogIndex
        self.lastLogTerm = lastLogTerm
        self.transfer = transfer
    }
    /// The term of the leader that hands over, and the number of its last heartbeat.
    package struct Transfer: Hashable, Sendable {
        package var term: Term
        package var lastHeartbeat: HeartbeatNumber
        package init(term: Term, lastHeartbeat: HeartbeatNumber) {
            self.term = term
            self.lastHeartbeat = lastHeartbeat
        }
    }
}

package struct VoteAnswer: Hashable, Sendable {
    package var isPreVote: Bool
    package var granted: Bool
    /// In a pre-vote answer, the term that was asked for.
    package var campaignTerm: Term
    package init(isPreVote: Bool, granted: Bool, campaignTerm: Term) {
        self.isPreVote = isPreVote
        self.granted = granted
        self.campaignTerm = campaignTerm
    }
}
