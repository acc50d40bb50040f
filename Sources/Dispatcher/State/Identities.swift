// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The dispatcher's identities. There may be several at a time; one is current. Which one an agent is shown depends on what it has confirmed.

import Consensus
import CtrlExec

/// A dispatcher certificate with its key.
package struct Identity: Hashable, Sendable {
    package enum Phase: String, Hashable, Sendable { case prepared, current, previous, retired, aborting, aborted }
    package let serial: SerialNumber
    package let certificate: [UInt8]
    package let key: SealedKey
    package let notAfter: WallClock
    package var phase: Phase
    package init(serial: SerialNumber, certificate: [UInt8], key: SealedKey, notAfter: WallClock, phase: Phase) {
        self.serial = serial
        self.certificate = certificate
        self.key = key
        self.notAfter = notAfter
        self.phase = phase
    }

    /// No agent is meant to trust it any more. Its key is kept all the same, for the agent that was restored from an old backup.
    package var isFinished: Bool { phase == .retired || phase == .aborted }
    /// What an agent may rely on: prepared ones may still be aborted.
    var isActivated: Bool { phase == .current || phase == .previous }
}

/// The identities in the order in which they were made, oldest first.
struct Identities: Hashable, Sendable {
    /// Not finished. The eighth waits for agents that nobody has seen for years.
    static let limit = 8
    /// Finished ones beyond this are forgotten, oldest first.
    static let keptLimit = 16

    private(set) var all: [Identity]
    /// By serial; for those that are not finished.
    private(set) var uses = SortedArrayMap<SerialNumber, IdentityUse>()
    /// The one rotation that is not activated yet.
    var rotation: Rotation?
    private(set) var lastRotation: RotationRecord?

    init(genesis: Identity, members: [MemberID]) {
        all = [genesis]
        // Every bundle holds it, and a member that cannot open it does not start.
        uses[genesis.serial] = IdentityUse(holders: members.sorted())
    }

    init(all: [Identity], uses: SortedArrayMap<SerialNumber, IdentityUse>, rotation: Rotation?, lastRotation: RotationRecord?) {
        self.all = all
        self.uses = uses
        self.rotation = rotation
        self.lastRotation = lastRotation
    }

    subscript(serial: SerialNumber) -> Identity? { all.first { $0.serial == serial } }
    var current: Identity? { all.last { $0.phase == .current } }
    var isFull: Bool { all.count { !$0.isFinished } >= Identities.limit }
    /// What agents are told of: the identity that is being introduced, else the current one.
    var newest: Identity? { all.last { $0.phase == .prepared || $0.phase == .current } }

    func position(of serial: SerialNumber) -> Int? { all.firstIndex { $0.serial == serial } }

    /// The identity that this agent is shown first: the newest that it confirmed and that is in use; failing that, the newest that it
    /// confirmed at all.
    func newest(confirmedBy agent: AgentRecord) -> Identity? {
        func last(where isWanted: (Identity) -> Bool) -> Identity? {
            all.last { isWanted($0) && agent.confirmedIdentities.contains($0.serial) }
        }
        return last { $0.phase == .prepared || $0.isActivated } ?? last { $0.phase == .aborting } ?? last { _ in true }
    }

    /// In the order in which a member presents them: what the agent confirmed, then the others, those in use and the newest first.
    func presentation(to agent: AgentRecord) -> [SerialNumber] {
        let first = newest(confirmedBy: agent)?.serial
        let others = all.reversed().filter { $0.serial != first }
        return (first.map { [$0] } ?? []) + (others.filter { !$0.isFinished } + others.filter(\.isFinished)).map(\.serial)
    }

    mutating func add(_ identity: Identity) {
        all.append(identity)
        uses[identity.serial] = IdentityUse(holders: [])
        while all.count > Identities.keptLimit, let oldest = all.firstIndex(where: \.isFinished) { all.remove(at: oldest) }
    }

    mutating func hold(_ serial: SerialNumber, by member: MemberID) {
        uses.update(serial) { use in
            guard !use.holders.contains(member) else { return }
            use.holders.insert(member, at: use.holders.firstIndex { member < $0 } ?? use.holders.count)
        }
    }

    /// The member is gone: nobody waits for it, and it holds nothing.
    mutating func release(_ member: MemberID) {
        for serial in uses.keys { uses.update(serial) { $0.holders.removeAll { $0 == member } } }
    }

    /// The new one becomes current, the current one previous.
    mutating func activate(_ serial: SerialNumber, after rotation: Rotation, retirePreviousAt: ClusterTime, at calendar: WallClock) {
        lastRotation = RotationRecord(
            serial: serial, previous: current?.serial, startedAt: rotation.startedAt, activatedAt: calendar,
            overlapMilliseconds: rotation.isCompromised ? 0 : rotation.overlapMilliseconds, previousRetiredAt: nil)
        for position in all.indices {
            if all[position].phase == .current {
                all[position].phase = .previous
                uses.update(all[position].serial) { $0.retireAt = retirePreviousAt }
            }
            if all[position].serial == serial { all[position].phase = .current }
        }
    }

    mutating func abort(_ serial: SerialNumber) {
        if let position = position(of: serial), all[position].phase == .prepared { all[position].phase = .aborting }
    }

    mutating func finish(_ serial: SerialNumber, at calendar: WallClock) {
        if lastRotation?.previous == serial { lastRotation?.previousRetiredAt = calendar }
        guard let position = position(of: serial) else { return }
        all[position].phase = all[position].phase == .aborting ? .aborted : .retired
        uses[serial] = nil
    }
}
