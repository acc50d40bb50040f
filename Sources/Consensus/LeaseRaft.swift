// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The lease-Raft core as a value. SEAM: this file fixes the outward face; the room's builder fills it.

/// What an effect waits for. There is no other way to run one.
package enum Gate: Hashable, Sendable {
    case none
    /// Not before this write is on disk.
    case durable(WriteID)
}

package enum Role: Hashable, Sendable { case follower, preCandidate, candidate, leader }

package enum StepDownReason: Hashable, Sendable {
    case higherTerm, lostQuorum, journalStalled, diskFull, transferred, lostElection
}

/// What consensus wants done. The member adds effects of its own and hands all to the shell.
package enum ConsensusEffect: Hashable, Sendable {
    case write(JournalWrite, WriteID)
    case send(Message, to: MemberID, gate: Gate)
    /// Role or leader changed; for logs and for the member's duties.
    case roleChanged(Role, term: Term, leader: MemberID?, because: StepDownReason?)
    /// This member leads and an entry of its own term is committed: it may serve. Comes after the `commit` that made it so.
    case leadershipEstablished(Term)
    /// Entries up to here are committed and durable here; the member applies them, in order, exactly once.
    case commit(through: LogIndex)
    /// A linearizable read may be answered once this index is applied; nil: no leader could confirm it, ask again.
    case readReady(ReadToken, LogIndex?)
    /// The transfer ended without success; the leader goes on.
    case transferFailed(to: MemberID)
}

package enum ProposeFailure: Error, Hashable, Sendable { case notLeader(MemberID?), transferring, tooLarge, logFull }

package struct LeaseRaft: Sendable {
    package let id: MemberID
    package private(set) var configuration: Configuration
    package private(set) var term: Term
    package private(set) var role: Role
    package private(set) var leader: MemberID?
    package private(set) var commitIndex: LogIndex
    package var lastLogIndex: LogIndex { fatalError("seam") }

    package init(id: MemberID, configuration: Configuration, recovered: Recovered, timing: Timing, seed: UInt64, now: Instant) {
        fatalError("seam")
    }

    /// Call at least when `nextDeadline` has come; calling more often is harmless.
    package mutating func tick(at now: Instant, into effects: inout [ConsensusEffect]) { fatalError("seam") }
    package mutating func receive(_ message: Message, from: MemberID, at now: Instant, into effects: inout [ConsensusEffect]) {
        fatalError("seam")
    }
    package mutating func wrote(_ id: WriteID, at now: Instant, into effects: inout [ConsensusEffect]) { fatalError("seam") }
    /// Returns the index and term at which the entry will stand if it is committed.
    package mutating func propose(_ payload: [UInt8], at now: Instant, into effects: inout [ConsensusEffect]) throws(ProposeFailure) -> (
        index: LogIndex, term: Term
    ) { fatalError("seam") }
    /// Asks for the index of a linearizable read; answered by `readReady`. Works on leader and follower.
    package mutating func requestRead(_ token: ReadToken, at now: Instant, into effects: inout [ConsensusEffect]) { fatalError("seam") }
    package mutating func transferLeadership(to target: MemberID, at now: Instant, into effects: inout [ConsensusEffect])
        throws(ProposeFailure)
    { fatalError("seam") }
    package mutating func diskIsFull(at now: Instant, into effects: inout [ConsensusEffect]) { fatalError("seam") }

    /// Entries `after` < index <= `through`, which have been committed.
    package func committedEntries(after: LogIndex, through: LogIndex) -> ArraySlice<Entry> { fatalError("seam") }
    /// The instant to which this leader's lease reaches; nil if it is not an established leader or its lease is over or given up.
    package func lease(at now: Instant) -> Instant? { fatalError("seam") }
    /// When `tick` is due next.
    package var nextDeadline: Instant { fatalError("seam") }
    /// When this member last handled a heartbeat or append of the leader of its term (the leader: its newest quorum-confirmed heartbeat).
    package var lastLeaderContact: Instant? { fatalError("seam") }
    /// Leader only: what it knows of another member.
    package func progress(of member: MemberID) -> (match: LogIndex, lastAnswer: Instant?)? { fatalError("seam") }
}
