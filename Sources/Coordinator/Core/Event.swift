// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What happens to a member. Each event is handed in with the moment that was read after the event's bytes. Boxed where it is large: it goes
// through several hands, and each would copy all of it.

import Consensus
import CtrlExec
import DispatcherState
import Wire

package enum Event: Sendable {
    /// Due at `nextDeadline`; harmless at any other time.
    case tick
    indirect case peer(PeerMessage, from: MemberID)
    case wrote(WriteID)
    case writeFailed(DiskFailure)
    /// There is no space for the next writes. They are kept and tried again; `.wrote` tells when they found some.
    case diskFull
    /// An authenticated caller asks for an exclusive operation; without an id the member mints one.
    indirect case request(ExclusiveOperation, RequestID?, from: Principal, deadline: Instant, Ticket)
    case read(ReadConsistency, deadline: Instant, Ticket)
    /// Reports of all members, as many as answer before the deadline.
    case reports(deadline: Instant, Ticket)
    case callerGone(Ticket)
    indirect case signed(ObligationID, SerialNumber, Result<SignedCertificate, SigningFailure>)
    /// This member can present the identity.
    case holding(SerialNumber)
    indirect case agentAnswered(call: UInt64, AgentTaskAnswer)
    /// Some call to an agent found it otherwise than the state says.
    indirect case observed(AgentObservation)
    /// The tags that an agent said it has.
    indirect case tagsObserved(AgentKey, AgentTags)
    /// What the shell has found out about its surroundings; told to whoever asks how the member is.
    indirect case facts(MemberFacts)
    /// The process was asked to end: a leader hands leadership on.
    case drain
    /// `.takeSnapshot` is done: this one is durable, as is every one that is older.
    case snapshotSaved(SnapshotPlace)
    case snapshotNotSaved(SnapshotFailure)
    /// `.fetchSnapshot` is done: the snapshot is durable here, and this is the state in it.
    indirect case snapshotFetched(LogBase, DispatcherState)
    /// It could not be had; why, for people. The leader offers it again.
    case snapshotNotFetched(SnapshotPlace, reason: String)
}

/// Architecture, rule 3.
package enum ReadConsistency: String, Hashable, Sendable { case linearizable, lease, stale }

package struct SignedCertificate: Hashable, Sendable {
    package let der: [UInt8]
    package let notAfter: WallClock
    /// Of a dispatcher identity: the key that was made for it, sealed.
    package let key: SealedKey?
    package init(der: [UInt8], notAfter: WallClock, key: SealedKey? = nil) {
        self.der = der
        self.notAfter = notAfter
        self.key = key
    }
}

package enum SigningFailure: Error, Hashable, Sendable {
    /// The lease was over before the job began; nothing was signed.
    case dropped
    /// The request itself cannot be signed; trying again would not help.
    case impossible(String)
}

/// Why a snapshot was not saved.
package enum SnapshotFailure: Error, Hashable, Sendable {
    /// The state has outgrown what a snapshot may be; the log is kept.
    case tooLarge(String)
    case disk(DiskFailure)
}

/// When to take a snapshot, and how much of the log to keep in front of it.
package struct SnapshotPolicy: Hashable, Sendable {
    /// A snapshot is taken after so many applied entries. Too few: the disk writes the state all the time. Too many: a long log to read at
    /// a start.
    package var entries: UInt64
    /// Or after so many bytes of them.
    package var bytes: Int
    /// So many entries before the newest snapshot stay in the log. Too few: whoever was away for a moment must fetch the state.
    package var margin: UInt64
    /// What a leader keeps beyond that for members that are behind and answer. Too little: on a busy cluster whoever fetches the state is
    /// behind again by the time he has it.
    package var keptForOthers: RetentionLimit
    package init(entries: UInt64, bytes: Int, margin: UInt64, keptForOthers: RetentionLimit) {
        self.entries = entries
        self.bytes = bytes
        self.margin = margin
        self.keptForOthers = keptForOthers
    }
    package static let standard = SnapshotPolicy(entries: 20_000)
    /// All that follows from the number of entries.
    package init(entries: UInt64) {
        let kept = Int(clamping: min(8 * min(entries, 1 << 40), UInt64(RetentionLimit.most)))
        self.init(
            entries: entries, bytes: 64 << 20, margin: entries / 4, keptForOthers: RetentionLimit(entries: kept, bytes: 256 << 20))
    }
}

/// What the member is told once, at its start.
package struct MemberSettings: Hashable, Sendable {
    package var id: MemberID
    package var version: String
    package var timing: Timing
    /// The newest version of the state machine that this member is to know: what its release knows, or less, so that the one before can
    /// be put back.
    package var knows: MachineVersion
    /// Random, of this process: distinguishes the request ids that it mints.
    package var session: UInt64
    /// How long certificates are valid, in days.
    package var agentDays: Int64
    package var operatorDays: Int64
    package var dispatcherDays: Int64
    /// Members of whom it was told when it joined, or knew in an earlier life.
    package var contacts: [MemberID]
    /// Nil: no snapshot is taken, and no log is cut.
    package var snapshots: SnapshotPolicy?
    package init(
        id: MemberID, version: String, timing: Timing = Timing(), knows: MachineVersion = .newest, session: UInt64, agentDays: Int64 = 825,
        operatorDays: Int64 = 825,
        dispatcherDays: Int64 = 825, snapshots: SnapshotPolicy? = nil, contacts: [MemberID] = []
    ) {
        self.id = id
        self.version = version
        self.timing = timing
        self.knows = knows
        self.session = session
        self.agentDays = agentDays
        self.operatorDays = operatorDays
        self.dispatcherDays = dispatcherDays
        self.snapshots = snapshots
        self.contacts = contacts
    }
}
