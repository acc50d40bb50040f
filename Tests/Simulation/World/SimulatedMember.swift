// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One member with the shell that the world runs it in: its machine's clock and disk, and while its process lives, the value itself, the
// journal's thread, the effects that wait for their gates, and the callers. What moves all this is `World+Shell.swift`.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

/// A machine: it outlives the process.
final class SimulatedMember {
    let id: MemberID
    let place: Int
    var clock: SimulatedClock
    /// Meaningful while no process holds it.
    var disk: SimulatedDisk
    var known = KnownJournal()
    var process: SimulatedProcess?
    var lives = 0
    /// What its release knows.
    var knows = MachineVersion.newest
    /// Until then nothing in the process runs.
    var pausedUntil = TrueTime.zero
    /// A slow disk: every flush takes so much longer.
    var extraFlushTime = TimeSpan.zero
    /// No flush ends before.
    var diskStallsUntil = TrueTime.zero
    /// When it last lost its process, to see how soon it came back.
    var diedAt = TrueTime.zero
    var isRestartPlanned = false
    /// Its disk is gone or was turned back: it never comes back under this id.
    var isLost = false
    /// A machine that is no member yet …
    var isAbsent = false
    /// … and how far it has come.
    var isInvited = false
    var isStarting = false
    /// Whom it was told of when it joined.
    var contacts: [MemberID] = []
    /// It was removed, has heard of it, and has stopped for ever.
    var wasTold = false
    var hasLeft = false
    /// What its disk held a while ago, for the day on which somebody puts that back.
    var keptDisk: SimulatedDisk?
    /// Nothing that the world breaks is broken here any more.
    var isSound = false
    /// Set once all faults but these have ended.
    var standing: StandingFault?
    /// The process is killed while its next writes are on their way to the disk; the machine fails soon after it has come back.
    var diesAtNextFlush = false
    var losesPowerAfterRestart = false

    init(id: MemberID, place: Int, clock: SimulatedClock, disk: SimulatedDisk) {
        self.id = id
        self.place = place
        self.clock = clock
        self.disk = disk
    }

    var life: Life { Life(id, lives) }
}

final class SimulatedProcess {
    enum Input {
        case event(Event)
        /// The journal's thread is done with these writes.
        case flushed([WriteID])
        case gatesOpen(through: WriteID)
    }
    enum Stage {
        case idle
        /// The clock was read, the step is not made yet.
        indirect case beforeStep(Event, Moment, readAt: TrueTime)
        case effects
    }
    struct Held {
        let effect: Effect
        let write: WriteID
    }
    struct Caller {
        let ticket: Ticket
        let call: Int
    }

    struct Reader {
        let ticket: Ticket
        let mustSee: LogIndex
    }

    let life: Life
    var member: Member
    var journal: Journal<SimulatedDisk>

    // The loop.
    var inputs: [Input] = []
    var firstInput = 0
    var stage = Stage.idle
    var isBusy = false
    var effects: [Effect] = []
    var firstEffect = 0
    var tickPlannedAt = TrueTime.never
    var held: [Held] = []
    var durable = WriteID.zero

    // The journal's thread.
    var queue: [(write: JournalWrite, id: WriteID)] = []
    var flushing: [WriteID] = []
    var hasFailed = false
    /// The journal waits for space.
    var isDiskFull = false

    /// Its disk is the journal's; each has it in turn.
    var snapshots: SnapshotStore<SimulatedDisk>
    var snapshotWork = SnapshotWork()
    var lastBase: LogBase

    // Callers, by ticket, rising.
    var callers: [Caller] = []
    var goneCallers: [Ticket] = []
    /// They wait as well, and are no clients (`World+Readers.swift`).
    var readers: [Reader] = []
    var nextTicket: UInt64 = 1
    var isServing = false
    /// Once it was, it serves what needs no agreement even when it is cut off.
    var hasBeenReady = false

    // What it was after its last step.
    var nextDeadline = Instant.zero
    var wasLeader = false
    var lastTerm = Term.zero
    var lastConfiguration: Configuration
    var lastConfigurationIndex: LogIndex
    var lastCommit = LogIndex.zero
    var lastApplied = LogIndex.zero
    var servedTerm = Term.zero
    /// Since when each other member answers it without a pause, and when it did last.
    var answers = PerMember<(since: Instant, last: Instant)>()
    var steps: UInt64 = 0

    init(life: Life, member: Member, journal: Journal<SimulatedDisk>, snapshots: SnapshotStore<SimulatedDisk>) {
        self.life = life
        self.member = member
        lastConfiguration = member.raft.configuration
        lastConfigurationIndex = member.raft.configurationIndex
        self.journal = journal
        self.snapshots = snapshots
        self.snapshots.disk = SimulatedProcess.noDisk
        lastBase = member.raft.logBase
        lastTerm = member.raft.term
        lastCommit = member.raft.commitIndex
        lastApplied = member.state.appliedIndex
        nextDeadline = member.nextDeadline
    }

    /// They lie on the journal's disk, which they have for so long and no longer.
    func withSnapshots<Value>(_ body: (inout SnapshotStore<SimulatedDisk>) -> Value) -> Value {
        snapshots.disk = journal.disk
        defer {
            journal.disk = snapshots.disk
            snapshots.disk = SimulatedProcess.noDisk
        }
        return body(&snapshots)
    }
    private static let noDisk = SimulatedDisk(seed: 0)

    func takeInput() -> Input? {
        guard firstInput < inputs.count else { return nil }
        let input = inputs[firstInput]
        firstInput += 1
        if firstInput == inputs.count {
            inputs.removeAll(keepingCapacity: true)
            firstInput = 0
        }
        return input
    }

    func takeEffect() -> Effect? {
        guard firstEffect < effects.count else {
            effects.removeAll(keepingCapacity: true)
            firstEffect = 0
            return nil
        }
        firstEffect += 1
        return effects[firstEffect - 1]
    }
}
