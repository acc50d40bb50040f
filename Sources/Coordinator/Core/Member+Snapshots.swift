// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When the state is put into a snapshot, what of the log may go then, and what it means to take over somebody else's state instead of the
// entries that led to it. Encoding, writing, fetching are the shell's; here is only when, and what follows.

import Consensus
import CtrlExec
import DispatcherState
import Wire

/// What a member knows of its snapshots.
struct SnapshotDuty: Hashable, Sendable {
    /// The newest that is durable.
    var newest: LogIndex
    /// What was applied since the newest that was taken: bytes of payload.
    var bytes = 0
    var isUnderWay = false
    /// None is taken before this index is applied: the last attempt failed.
    var notBefore = LogIndex.zero
}

extension Member {
    /// Once the policy says so. The state is a value: whoever encodes it has its own.
    mutating func tendSnapshots(into effects: inout [Effect]) {
        guard let policy = settings.snapshots, !snapshots.isUnderWay, state.appliedIndex > snapshots.newest,
            state.appliedIndex >= snapshots.notBefore, knowsTheRules
        else { return }
        let entries = state.appliedIndex.position - snapshots.newest.position
        guard entries >= policy.entries || snapshots.bytes >= policy.bytes else { return }
        snapshots.isUnderWay = true
        snapshots.bytes = 0
        effects.append(Effect(.takeSnapshot(raft.base(at: state.appliedIndex), state)))
    }

    mutating func snapshotSaved(
        _ place: SnapshotPlace, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        snapshots.isUnderWay = false
        effects.append(Effect(.log(LogRecord(.info, "snapshot", [("INDEX", "\(place.index)"), ("TERM", "\(place.term)")]))))
        // What stands behind it may have been fetched meanwhile.
        guard place.index > snapshots.newest else { return }
        raft.snapshotWasTaken(place)
        cutLog(behind: place, at: now, consensus: &consensus)
    }

    /// Never what is not applied: it may still be wanted here.
    private mutating func cutLog(behind place: SnapshotPlace, at now: Moment, consensus: inout [ConsensusEffect]) {
        snapshots.newest = max(snapshots.newest, place.index)
        guard let policy = settings.snapshots, place.index.position > policy.margin else { return }
        let index = LogIndex(place.index.position - policy.margin)
        raft.forget(
            through: min(index, state.appliedIndex), keepingForOthers: policy.keptForOthers, at: now.instant, into: &consensus)
    }

    mutating func snapshotNotSaved(_ failure: SnapshotFailure, into effects: inout [Effect]) {
        snapshots.isUnderWay = false
        let reason: String
        switch failure {
        case .tooLarge(let what): reason = what
        case .disk(.full): reason = "\(DiskFailure.full)"
        case .disk(let failure):
            effects.append(Effect(.stop(.snapshotFailed(failure))))
            return
        }
        // The log is longer than it should be and nothing is lost; after a while there may be room.
        snapshots.notBefore = LogIndex(state.appliedIndex.position + (settings.snapshots?.entries ?? 0) / 8 + 1)
        effects.append(Effect(.log(LogRecord(.warning, "snapshot-fail", [("INDEX", "\(state.appliedIndex)"), ("ERROR", reason)]))))
    }

    // MARK: Somebody else's

    mutating func snapshotFetched(
        _ base: LogBase, _ fetched: DispatcherState, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard fetched.appliedIndex == base.index else {
            return snapshotNotFetched(base.place, because: "it holds the state at \(fetched.appliedIndex)", at: now, into: &effects)
        }
        if raft.snapshotIsDurable(base, at: now.instant, into: &consensus) { install(fetched, into: &effects) }
        // Where the log leads to the same place, its entries are applied as they would have been.
        if raft.snapshot == base.place { cutLog(behind: base.place, at: now, consensus: &consensus) }
    }

    mutating func snapshotNotFetched(_ place: SnapshotPlace, because reason: String, at now: Moment, into effects: inout [Effect]) {
        raft.snapshotNotFetched(place, at: now.instant)
        effects.append(Effect(.log(LogRecord(.warning, "snapshot-fetch-fail", [("INDEX", "\(place.index)"), ("ERROR", reason)]))))
    }

    /// What happened between the former state and this one, this member was not told entry by entry.
    private mutating func install(_ fetched: DispatcherState, into effects: inout [Effect]) {
        let former = state
        state = fetched
        snapshots.bytes = 0
        effects.append(
            Effect(.log(LogRecord(.info, "snapshot-install", [("INDEX", "\(state.appliedIndex)"), ("FROM", "\(former.appliedIndex)")]))))
        guard knowsTheRules else {
            effects.append(Effect(.stop(.versionUnknown(state.machineVersion, known: settings.knows))))
            return
        }
        // Whoever holds the connection of an agent that waited answers it now.
        for pairing in former.pairings {
            if let decision = state.decision(of: pairing.submission.reqid) { effects.append(Effect(.announce(decision))) }
        }
        openIdentities(into: &effects)
        lookAtHoldings()
        if hasCaughtUp { effects.append(Effect(.project(.everything))) }
        // Outcomes of requests came with the state: whoever waits for one finds it there.
        callsDue = .zero
    }

    /// Those of the state that this member does not hold, since their entries did not come by.
    mutating func openIdentities(into effects: inout [Effect]) {
        for identity in state.identities where !held.contains(identity.serial) && state.use(of: identity.serial) != nil {
            effects.append(Effect(.hold(identity)))
        }
    }
}
