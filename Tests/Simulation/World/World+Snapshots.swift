// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Snapshots as the shell takes and fetches them: encoded beside the loop, written as real files by the real store onto the member's simulated
// disk, read in parts by whoever was offered one, over the same network. Between any two of these a member may pause, die, or lose its disk.

import Consensus
import CoordinatorCore
import DispatcherState
import Wire

/// What one process does with snapshots.
struct SnapshotWork {
    /// Encoded, and not written yet.
    var taking: Snapshot?
    var fetch: Fetch?
    /// Written, and the loop was not told yet.
    var isUntold = false

    struct Fetch {
        let place: SnapshotPlace
        let source: Int
        var bytes: [UInt8] = []
        var failures = 0
    }
}

/// What a member finds on its disk when it starts.
struct OpenedDisk {
    let journal: Journal<SimulatedDisk>
    let genesis: Genesis
    let recovered: Recovered
    let snapshots: SnapshotStore<SimulatedDisk>
    let snapshot: Snapshot?
}

enum DiskRefusal: Error, CustomStringConvertible {
    case journal(JournalRefusal)
    case snapshot(SnapshotRefusal)

    /// The disk fails now, and may not the next time.
    var isPassing: Bool {
        switch self {
        case .journal(.disk), .snapshot(.disk): true
        default: false
        }
    }
    var description: String {
        switch self {
        case .journal(let refusal): "\(refusal)"
        case .snapshot(let refusal): "\(refusal)"
        }
    }
}

extension World {
    // MARK: Beginning

    /// The newest snapshot first, then the journal behind it.
    func open(_ disk: inout SimulatedDisk) throws(DiskRefusal) -> OpenedDisk {
        let (snapshots, newest): (SnapshotStore<SimulatedDisk>, Snapshot?)
        do throws(SnapshotRefusal) { (snapshots, newest) = try SnapshotStore.open(on: &disk) } catch { throw .snapshot(error) }
        do throws(JournalRefusal) {
            let opened = try Journal.open(on: &disk, behind: newest?.base, layout: layout)
            return OpenedDisk(
                journal: opened.journal, genesis: opened.genesis, recovered: opened.recovered, snapshots: snapshots, snapshot: newest)
        } catch { throw .journal(error) }
    }

    /// What a damaged disk gave back is what it would give back whole.
    func recoveredDamaged(_ machine: SimulatedMember, _ opened: OpenedDisk) throws(Broken) {
        try checks.journalRecovery.recoveredDamaged(machine.id, opened.recovered, known: machine.known) { history.prefix(through: $0) }
        if let snapshot = opened.snapshot { _ = try restored(snapshot, machine) }
    }

    /// What a disk of a while ago gave back was written once, all of it.
    func recoveredEarlier(_ machine: SimulatedMember, _ opened: OpenedDisk) throws(Broken) {
        try checks.journalRecovery.recoveredEarlier(
            machine.id, opened.recovered, newest: machine.known.written.ballot, committed: { history.mark(at: $0) },
            isKnown: { checks.logMatching.isKnown($0, at: $1) })
        if let snapshot = opened.snapshot { _ = try restored(snapshot, machine) }
    }

    /// So many states that came out of snapshots are kept.
    private static let restoredLimit = 6
    /// A fetch that gets nothing so often in a row ends.
    private static let fetchPatience = 12

    // MARK: Taking one

    func takeSnapshot(_ base: LogBase, _ state: DispatcherState, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        guard process.snapshotWork.taking == nil else {
            throw Broken("CoreInvariant", [machine.id], "it wants to take a snapshot while it takes one")
        }
        // Whoever begins from it is compared with what was taken; this would only find it sooner, and costs more than the rest of a run.
        if base.index.position % 16 == 0 { try checks.imageFidelity.survives(state) }
        let body: [UInt8]
        do throws(WireFailure) { body = try state.image().encoded() } catch {
            throw Broken("ImageFidelity", [machine.id], "its state cannot be encoded: \(error)")
        }
        try checks.snapshotSafety.holds(machine.id, base.place, hash: state.fullStateHash())
        process.snapshotWork.taking = Snapshot(place: base.place, configuration: base.configuration, body: body)
        agenda.plan(
            .snapshotEncoded(machine.place, life: process.life.number),
            at: now + snapshotPlan.encoding + snapshotGenerator.span(upTo: .milliseconds(2)))
    }

    func snapshotEncoded(_ machine: SimulatedMember, _ life: Int) throws(Broken) {
        guard let process = machine.process, process.life.number == life, let snapshot = process.snapshotWork.taking else { return }
        if let later = whenDiskWorks(machine) {
            if later != .never { agenda.plan(.snapshotEncoded(machine.place, life: life), at: later) }
            return
        }
        process.snapshotWork.taking = nil
        guard let failure = try save(snapshot, machine, process) else { return }
        switch failure {
        case .none:
            coverage.note(.snapshotsTaken)
            try give(.event(.snapshotSaved(snapshot.place)), to: machine, process)
        case .some(let failure): try give(.event(.snapshotNotSaved(.disk(failure))), to: machine, process)
        }
    }

    /// Nil: now.
    func whenDiskWorks(_ machine: SimulatedMember) -> TrueTime? {
        let time = max(machine.pausedUntil, machine.diskStallsUntil)
        return time > now ? time : nil
    }

    /// Nil: the process is dead. Otherwise nil within: it is durable.
    private func save(_ snapshot: Snapshot, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) -> DiskFailure?? {
        try checks.noSecretInTheClear.leaves(machine.id, snapshot.body, as: "its snapshot")
        let isBroken = !machine.isSound && snapshotGenerator.below(1000) < snapshotPlan.breaksPerMille
        if isBroken, snapshotGenerator.below(2) == 0 {
            process.journal.disk.faults.operationsUntilPowerFails = 1 + snapshotGenerator.below(6)
        }
        machine.known.saves(snapshot.place)
        let failure = process.withSnapshots { snapshots -> DiskFailure? in
            do throws(DiskFailure) { try snapshots.save(snapshot) } catch { return error }
            return nil
        }
        trace.mix(snapshot.place.index.position)
        if let failure {
            trace.say(now, "\(process.life) cannot save the snapshot behind \(snapshot.place): \(failure)")
            if process.journal.disk.faults.operationsUntilPowerFails == 0 {
                coverage.note(.snapshotWritesInterrupted)
                try die(machine, losingPower: true)
                return nil
            }
            coverage.note(failure == .full ? .fullDisks : .diskFailures)
            return .some(failure)
        }
        trace.say(now, "\(process.life) has the snapshot behind \(snapshot.place) on disk")
        try checks.snapshotSafety.saved(
            machine.id, snapshot.place, snapshot.configuration, committed: history.mark(at: snapshot.place.index),
            inForce: history.configuration(at: snapshot.place.index) ?? configuration)
        machine.known.saved(snapshot.place, prefix: history.prefix(through: snapshot.place.index))
        process.snapshotWork.isUntold = true
        if isBroken {
            try die(machine, losingPower: snapshotGenerator.below(2) == 0)
            return nil
        }
        process.snapshotWork.isUntold = false
        return .some(nil)
    }

    // MARK: Fetching one

    func fetchSnapshot(_ place: SnapshotPlace, from source: MemberID, _ machine: SimulatedMember, _ process: SimulatedProcess)
        throws(Broken)
    {
        guard process.snapshotWork.fetch == nil else {
            throw Broken("CoreInvariant", [machine.id], "it wants to fetch a snapshot while it fetches one")
        }
        guard let from = members.firstIndex(where: { $0.id == source }) else {
            throw Broken("CoreInvariant", [machine.id], "it wants the snapshot of \(source), which is no member")
        }
        coverage.note(.snapshotsOffered)
        process.snapshotWork.fetch = SnapshotWork.Fetch(place: place, source: from)
        planPart(machine, process.life.number, after: snapshotPlan.part)
    }

    private func planPart(_ machine: SimulatedMember, _ life: Int, after span: TimeSpan) {
        agenda.plan(.snapshotPart(machine.place, life: life), at: now + span)
    }

    func fetchPart(_ machine: SimulatedMember, _ life: Int) throws(Broken) {
        guard let process = machine.process, process.life.number == life, var fetch = process.snapshotWork.fetch else { return }
        if let later = whenDiskWorks(machine) {
            if later != .never { agenda.plan(.snapshotPart(machine.place, life: life), at: later) }
            return
        }
        let source = members[fetch.source]
        let isReached =
            !network.isCut(from: machine.place, to: source.place) && !network.isCut(from: source.place, to: machine.place)
            && now >= source.pausedUntil && now >= source.diskStallsUntil
        guard isReached, let other = source.process else { return try fetchFailed(fetch, machine, process, "nobody answers") }
        let found = other.withSnapshots { snapshots -> Swift.Result<(size: UInt64, part: [UInt8])?, DiskFailure> in
            do throws(DiskFailure) {
                guard let size = try snapshots.size(of: fetch.place),
                    let part = try snapshots.read(fetch.place, at: UInt64(fetch.bytes.count), count: snapshotPlan.partBytes)
                else { return .success(nil) }
                return .success((size, part))
            } catch { return .failure(error) }
        }
        let answer: (size: UInt64, part: [UInt8])?
        do throws(DiskFailure) { answer = try found.get() } catch {
            // Reading is what it died of.
            if other.journal.disk.faults.operationsUntilPowerFails == 0 { try die(source, losingPower: true) }
            return try fetchFailed(fetch, machine, process, "\(error)")
        }
        guard let (size, part) = answer else {
            trace.say(now, "\(process.life) asks \(source.id) for the snapshot behind \(fetch.place), and it is gone")
            coverage.note(.snapshotsGone)
            process.snapshotWork.fetch = nil
            return try give(.event(.snapshotNotFetched(fetch.place, reason: "it is gone")), to: machine, process)
        }
        fetch.failures = 0
        fetch.bytes += part
        process.snapshotWork.fetch = fetch
        guard UInt64(fetch.bytes.count) >= size else {
            return planPart(machine, life, after: snapshotPlan.part + snapshotGenerator.span(upTo: snapshotPlan.part))
        }
        try fetched(fetch, machine, process)
    }

    private func fetchFailed(
        _ failed: SnapshotWork.Fetch, _ machine: SimulatedMember, _ process: SimulatedProcess, _ reason: String
    ) throws(Broken) {
        var fetch = failed
        fetch.failures += 1
        guard fetch.failures > World.fetchPatience else {
            process.snapshotWork.fetch = fetch
            return planPart(machine, process.life.number, after: .milliseconds(50))
        }
        process.snapshotWork.fetch = nil
        coverage.note(.fetchesGivenUp)
        try give(.event(.snapshotNotFetched(fetch.place, reason: reason)), to: machine, process)
    }

    /// All of it is here: checked as the shell does, saved, and only then told.
    private func fetched(_ fetch: SnapshotWork.Fetch, _ machine: SimulatedMember, _ process: SimulatedProcess) throws(Broken) {
        let snapshot: Snapshot
        do throws(SnapshotFlaw) { snapshot = try SnapshotFile.decode(fetch.bytes) } catch {
            throw Broken("SnapshotSafety", [machine.id], "what it fetched is no snapshot: \(error)")
        }
        guard snapshot.place == fetch.place else {
            throw Broken("SnapshotSafety", [machine.id], "it asked for the snapshot behind \(fetch.place) and got another")
        }
        let state = try restored(snapshot, machine)
        let failure = try save(snapshot, machine, process)
        guard let failure, machine.process === process else { return }
        process.snapshotWork.fetch = nil
        if let failure {
            if failure != .full {
                // What a failure of the disk means, it means here as well.
                return try give(.event(.snapshotNotSaved(.disk(failure))), to: machine, process)
            }
            return try give(.event(.snapshotNotFetched(fetch.place, reason: "\(failure)")), to: machine, process)
        }
        try give(.event(.snapshotFetched(snapshot.base, state)), to: machine, process)
    }

    /// What is in a snapshot is the state that every member has there.
    func restored(_ snapshot: Snapshot, _ machine: SimulatedMember) throws(Broken) -> DispatcherState {
        // The same bytes were read a moment ago, mostly by another member or by an earlier life of this one.
        let same = restoredBefore.first { $0.snapshot == snapshot }
        if let same { return same.state }
        let state: DispatcherState
        do {
            state = try DispatcherState(genesis: genesis, image: try StateImage(decoding: snapshot.body))
        } catch {
            throw Broken("SnapshotSafety", [machine.id], "the snapshot behind \(snapshot.place) holds no state: \(error)")
        }
        guard state.appliedIndex == snapshot.place.index else {
            throw Broken("SnapshotSafety", [machine.id], "the snapshot behind \(snapshot.place) holds the state at \(state.appliedIndex)")
        }
        try checks.stateMachineSafety.applied(machine.id, through: state.appliedIndex, hash: state.stateHash)
        try checks.snapshotSafety.holds(machine.id, snapshot.place, hash: state.fullStateHash())
        if restoredBefore.count == World.restoredLimit { restoredBefore.removeFirst() }
        restoredBefore.append((snapshot, state))
        return state
    }

    // MARK: What is observed

    /// After every step.
    func observeLog(_ machine: SimulatedMember, _ process: SimulatedProcess, base: LogBase, last: LogIndex) throws(Broken) {
        guard last == machine.known.written.last else {
            throw Broken(
                "LogMatching", [machine.id],
                "its log ends at \(last), and it wrote one that ends at \(machine.known.written.last)")
        }
        guard base != process.lastBase else { return }
        process.lastBase = base
        coverage.note(.logsCut)
        try checks.snapshotSafety.stands(
            machine.id, behind: base.place, base.configuration, committed: history.mark(at: base.index),
            inForce: history.configuration(at: base.index) ?? configuration)
        try checks.snapshotSafety.forgets(machine.id, through: base.index, durable: machine.known.snapshot)
    }
}
