// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What consensus wants done, and what each of it waits for. SEAM: the member adds effects of its own and hands all to the shell.

/// What an effect waits for. There is no other way to run one.
package enum Gate: Hashable, Sendable {
    case none
    /// Not before this write is on disk.
    case durable(WriteID)
}

package enum Role: Hashable, Sendable { case follower, preCandidate, candidate, leader }

package enum StepDownReason: Hashable, Sendable {
    case higherTerm, lostQuorum, journalStalled, diskFull, transferred, lostElection
    /// The configuration without it is committed.
    case removed
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
    /// Get this snapshot from that member, and make it durable; ends with `snapshotIsDurable` or `snapshotNotFetched`. One at a time.
    case fetchSnapshot(SnapshotPlace, from: MemberID, gate: Gate)
}

package enum ProposeFailure: Error, Hashable, Sendable {
    /// Not the leader; whom this member believes to lead.
    case notLeader(MemberID?)
    /// Leadership is being handed over: ask again in a moment.
    case transferring
    /// More bytes than `Entry.payloadLimit`.
    case tooLarge
    /// Too many entries wait for their commit, or the log has reached its limit.
    case logFull
    /// Changes of the configuration only: another one is not committed yet, or no entry of this term is.
    case changeUnderway
    /// Changes of the configuration only: more than one voter would come or go.
    case tooManyChanges
    /// Transfers only: this member is no other voter, so it cannot be handed the leadership.
    case cannotLead(MemberID)
}
