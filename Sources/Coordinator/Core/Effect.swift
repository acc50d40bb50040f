// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member wants done. The shell and the simulator run effects, each only through its gate.

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct Effect: Sendable {
    package let action: Action
    /// Not before the write that it waits for is on disk.
    package let gate: Gate
    /// Lease-guarded: dropped, not run, once the member's clock has passed this.
    package let notAfter: Instant?
    package init(_ action: Action, gate: Gate = .none, notAfter: Instant? = nil) {
        self.action = action
        self.gate = gate
        self.notAfter = notAfter
    }
}

/// Boxed: an action goes through several hands, and each would copy all of it.
package indirect enum Action: Sendable {
    /// Append to the journal; answered by `.wrote` or `.writeFailed`, maybe after `.diskFull`.
    case write(JournalWrite, WriteID)
    case send(PeerMessage, to: MemberID)
    /// To a caller who waits; exactly one for each ticket, except after `.callerGone`.
    case reply(Reply, Ticket)
    /// On a worker thread; answered by `.signed`. Harmless when it comes twice.
    case sign(SigningJob)
    /// Open this identity's key; answered by `.holding` once the member can present it. Given on every member.
    case hold(Identity)
    /// Ask something of an agent; answered by `.agentAnswered`. Harmless when it comes twice.
    case call(AgentCall)
    /// A pairing was decided: whoever holds the agent's connection answers it. Given on every member.
    case announce(PairingDecision)
    /// What follows of files from what was applied; the first says everything, once this member has caught up. Given on every member.
    case project(ProjectionChange)
    case log(LogRecord)
    /// Encode this state and make it durable as a snapshot, off the loop: answered by `.snapshotSaved` or `.snapshotNotSaved`. One at a time.
    case takeSnapshot(LogBase, DispatcherState)
    /// Get the snapshot from that member, over the bulk connection; check it, make it durable: answered by `.snapshotFetched` or
    /// `.snapshotNotFetched`. One at a time.
    case fetchSnapshot(SnapshotPlace, from: MemberID)
    /// This member was removed, since that entry: end in good order and do not come back. Given once.
    case leave(since: LogIndex)
    /// End the process (a supervisor starts it anew from what the disk holds).
    case stop(StopReason)
}

/// Names a caller who waits at this member. Never reused within the life of the process.
package struct Ticket: Comparable, Hashable, Sendable {
    package let number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static func < (left: Ticket, right: Ticket) -> Bool { left.number < right.number }
}

package enum Reply: Hashable, Sendable {
    /// The outcome of an exclusive operation; this member has applied it.
    case settled(Outcome)
    case transferred(to: MemberID)
    case transferFailed
    /// The deadline came first. Whether it will happen is not known; repeating with the same id makes it happen at most once.
    case noLeader(RequestID)
    /// The read may be answered from the state that this member has now.
    case readable
    case notReadable
    case reports([MemberReport])
    /// More callers wait than this member takes.
    case overloaded
}

/// What to sign: bytes in, bytes out; the keys stay in the shell.
package struct SigningJob: Hashable, Sendable {
    package let obligation: Obligation
    /// Whoever signs must not look anywhere else for what to sign.
    package let validity: Validity
    package init(obligation: Obligation, validity: Validity) {
        self.obligation = obligation
        self.validity = validity
    }
    package struct Validity: Hashable, Sendable {
        package let notBefore: WallClock
        package let notAfter: WallClock
        package init(notBefore: WallClock, notAfter: WallClock) {
            self.notBefore = notBefore
            self.notAfter = notAfter
        }
    }
}

/// What to ask of which agent, presenting what.
package struct AgentCall: Hashable, Sendable {
    /// Names it at the leader that made it.
    package let number: UInt64
    package let agent: AgentRecord
    package let task: AgentTask
    /// Nil: to be found out.
    package let dialect: AgentDialect?
    /// In the order in which they are presented, each but the first only after the agent has proved that nothing ran.
    package let identities: [SerialNumber]
    package init(number: UInt64, agent: AgentRecord, task: AgentTask, dialect: AgentDialect?, identities: [SerialNumber]) {
        self.number = number
        self.agent = agent
        self.task = task
        self.dialect = dialect
        self.identities = identities
    }
}

/// A line for the log in ctrl-exec's vocabulary: the action, and its fields in no particular order.
package struct LogRecord: Hashable, Sendable {
    package enum Level: Hashable, Sendable { case info, warning, error }
    package let level: Level
    package let action: String
    package let fields: [Field]
    package struct Field: Hashable, Sendable {
        package let key: String
        package let value: String
    }
    package init(_ level: Level, _ action: String, _ fields: [(String, String)] = []) {
        self.level = level
        self.action = action
        self.fields = fields.map { Field(key: $0.0, value: $0.1) }
    }
}

package enum StopReason: Hashable, Sendable {
    /// A write or fsync failed; it is never repeated.
    case journalFailed(DiskFailure)
    /// The same of a snapshot.
    case snapshotFailed(DiskFailure)
    /// An invariant of the core does not hold: going on could do harm.
    case invariantBroken(String)
    /// The cluster follows rules that this member does not know.
    case versionUnknown(MachineVersion, known: MachineVersion)
}
