// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Rotation (architecture, rule 4): there is no moment at which everybody must switch. What is to be done next is derived from the state and
// nothing else, so that any leader goes on from whatever it finds; and every step is checked again where it is applied.
//
// Why no agent is lost: an identity is taken from an agent only over a newer one that this agent has just accepted and that every configured
// member holds. An agent that keeps one serial only (0.8) loses the old one in the moment in which it learns the new one, so that it is told
// last: once the new identity is current and every configured member holds it.

import Consensus
import CtrlExec

extension DispatcherState {
    /// The rotation that is not activated yet.
    package var rotation: Rotation? { identityBook.rotation }
    package var lastRotation: RotationRecord? { identityBook.lastRotation }
    /// The identity that agents are told of.
    package var newestIdentity: Identity? { identityBook.newest }
    package func identity(_ serial: SerialNumber) -> Identity? { identityBook[serial] }
    /// Nil once it is finished.
    package func use(of serial: SerialNumber) -> IdentityUse? { identityBook.uses[serial] }
    package func holds(_ member: MemberID, _ serial: SerialNumber) -> Bool {
        identityBook.uses[serial]?.holders.contains(member) ?? false
    }
    /// What a member presents to this agent, in this order; each but the first only after the agent has proved that nothing ran.
    package func presentation(to agent: AgentRecord) -> [SerialNumber] { identityBook.presentation(to: agent) }

    /// Members that do not hold it. One on its way out is one until it is gone.
    package func membersWithout(_ serial: SerialNumber) -> [MemberID] {
        members.map(\.id).filter { !holds($0, serial) }
    }

    /// What this agent must be told now; nil: nothing, or not yet.
    package func step(for agent: AgentRecord, at now: ClusterTime) -> AgentStep? {
        if isRevoked(agent) { return nil }
        // One that keeps a single serial forgets the old one when it is told; there would be no way back.
        let target = agent.dialect == .single ? identityBook.current : identityBook.newest
        if let target, !agent.confirmedIdentities.contains(target.serial) {
            let mayBeTold = agent.dialect != .single || membersWithout(target.serial).isEmpty
            return mayBeTold ? .announce(target.serial) : nil
        }
        guard identityBook.all.count > 1 else { return nil }
        for (position, identity) in identityBook.all.enumerated() where mustForget(agent, identity, at: now) {
            let keeper = identityBook.all.indices.last { other in
                let candidate = identityBook.all[other]
                guard other != position, candidate.isActivated, agent.confirmedIdentities.contains(candidate.serial) else { return false }
                return identity.phase != .previous || (other > position && membersWithout(candidate.serial).isEmpty)
            }
            if let keeper { return .remove(identity.serial, over: identityBook.all[keeper].serial) }
        }
        return nil
    }

    private func mustForget(_ agent: AgentRecord, _ identity: Identity, at now: ClusterTime) -> Bool {
        switch identity.phase {
        case .prepared, .current: return false
        case .previous:
            guard let retireAt = identityBook.uses[identity.serial]?.retireAt, retireAt <= now else { return false }
            return !agent.hasForgotten(identity.serial)
        case .aborting: return !agent.hasForgotten(identity.serial)
        // It was seen to trust it after all: restored from a backup, or told late.
        case .retired, .aborted: return agent.dialect != .single && agent.confirmedIdentities.contains(identity.serial)
        }
    }

    /// Whether the new identity may become current; that the members whom the leader reaches hold it as well is the leader's to know.
    package func canActivate(_ serial: SerialNumber) -> Bool {
        guard identityBook.rotation?.stage == .prepared(serial), let use = identityBook.uses[serial] else { return false }
        return use.holders.count { member($0) != nil } > members.count / 2
    }

    /// Whether nobody needs it any more.
    package func canFinish(_ identity: Identity, at now: ClusterTime) -> Bool {
        switch identity.phase {
        case .previous:
            guard let current = identityBook.current, let retireAt = identityBook.uses[identity.serial]?.retireAt, retireAt <= now,
                membersWithout(current.serial).isEmpty
            else { return false }
        case .aborting: break
        case .prepared, .current, .retired, .aborted: return false
        }
        return registry.agents.values.allSatisfy { $0.hasForgotten(identity.serial) || isRevoked($0) }
    }

    /// For whom the end of a previous or aborted identity waits.
    package func retirementWait(of identity: Identity) -> RetirementWait? {
        guard identity.phase == .previous || identity.phase == .aborting, let current = identityBook.current else { return nil }
        let retireAt = identityBook.uses[identity.serial]?.retireAt ?? .zero
        return RetirementWait(
            milliseconds: retireAt.milliseconds - min(retireAt.milliseconds, time.milliseconds),
            members: identity.phase == .previous ? membersWithout(current.serial) : [],
            agents: registry.agents.values.filter { !$0.hasForgotten(identity.serial) && !isRevoked($0) }.map(\.name))
    }

    /// The earliest cluster time at which a previous identity may be taken from agents, among those that lie ahead.
    package func nextRetirement(after now: ClusterTime) -> ClusterTime? {
        identityBook.uses.values.compactMap(\.retireAt).filter { $0 > now }.min()
    }

    // MARK: Refusals

    func rotationRefusal(of command: Command, at now: ClusterTime) -> Refusal? {
        switch command {
        case .beginRotation(let overlap, _, let replaced):
            guard overlap <= Rotation.overlapLimitMilliseconds else { return .invalid("an overlap is at most 3650 days") }
            if let replaced, replaced != identityBook.current?.serial { return .stepGone }
            if identityBook.rotation != nil { return .rotationUnderway }
            return identityBook.isFull ? .tooManyIdentities : nil
        case .abortRotation: return identityBook.rotation == nil ? .noRotation : nil
        case .recordIdentity(let id, let serial, let certificate, let key, _):
            guard openObligations.open[id]?.serial == serial, openObligations.open[id]?.purpose == .dispatcherIdentity else {
                return .reservationGone
            }
            let limit = DispatcherState.certificateLimit
            return (1...limit).contains(certificate.count) && (1...limit).contains(key.bytes.count) && key.name.utf8.count <= 256
                ? nil : .invalid("a certificate and a sealed key have 1 to \(limit) bytes each")
        case .memberHolds(let member, let serial):
            return self.member(member) != nil && identityBook.uses[serial] != nil ? nil : .stepGone
        case .identityConfirmed(let key, let serial, let refused):
            guard refused.count <= Identities.keptLimit, !refused.contains(serial) else {
                return .invalid("an agent refuses what it does not accept, and at most all that there is")
            }
            return stands(key) && identityBook[serial] != nil ? nil : .stepGone
        case .identityRemoved(let key, let serial):
            guard stands(key), let identity = identityBook[serial] else { return .stepGone }
            return identity.phase == .current || identity.phase == .prepared ? .stepGone : nil
        case .dialectLearned(let key, _): return stands(key) ? nil : .stepGone
        case .activate(let serial): return canActivate(serial) ? nil : .stepGone
        case .retire(let serial):
            guard let identity = identityBook[serial], canFinish(identity, at: now) else { return .stepGone }
            return nil
        default: return nil
        }
    }

    func stands(_ key: AgentKey) -> Bool { registry.agents[key.name]?.reqid == key.pairing }

    // MARK: Steps. Their refusals were asked for before.

    mutating func recordIdentity(_ identity: Identity) -> Outcome {
        identityBook.add(identity)
        identityBook.rotation?.stage = .prepared(identity.serial)
        return .rotationBegun(identity.serial)
    }

    /// The obligation whose work is no longer wanted, if key and certificate were still being made.
    mutating func abortRotation() -> ObligationID? {
        defer { identityBook.rotation = nil }
        switch identityBook.rotation?.stage {
        case .making(let obligation): return obligation
        case .prepared(let serial):
            identityBook.abort(serial)
            return nil
        case nil: return nil
        }
    }

    mutating func activate(_ serial: SerialNumber, at calendar: WallClock) {
        guard let rotation = identityBook.rotation else { return }
        identityBook.activate(
            serial, after: rotation, retirePreviousAt: time + (rotation.isCompromised ? 0 : rotation.overlapMilliseconds), at: calendar)
        identityBook.rotation = nil
    }

    mutating func confirm(_ name: AgentName, _ serial: SerialNumber, refused: [SerialNumber], at calendar: WallClock) {
        let order = identityBook.all.map(\.serial)
        registry.update(name) { agent in
            var confirmed = agent.confirmedIdentities.filter { $0 != serial && !refused.contains($0) }
            if agent.dialect == .single { confirmed = [] }
            confirmed.append(serial)
            // Oldest first; what was forgotten here counts for nothing.
            agent.confirmedIdentities = order.filter(confirmed.contains)
            agent.confirmedAt = calendar
            agent.forgottenIdentities.removeAll { $0 == serial }
        }
    }

    mutating func forget(_ name: AgentName, _ serial: SerialNumber) {
        registry.update(name) { agent in
            agent.confirmedIdentities.removeAll { $0 == serial }
            guard identityBook[serial]?.isFinished == false, !agent.forgottenIdentities.contains(serial) else { return }
            agent.forgottenIdentities.append(serial)
        }
    }

    mutating func learn(_ name: AgentName, _ dialect: AgentDialect) {
        registry.update(name) { agent in
            agent.dialect = dialect
            if dialect == .single { agent.confirmedIdentities = agent.confirmedIdentities.suffix(1) }
        }
    }

    mutating func finish(_ serial: SerialNumber, at calendar: WallClock) {
        identityBook.finish(serial, at: calendar)
        registry.updateAll { $0.forgottenIdentities.removeAll { $0 == serial } }
    }
}

extension AgentRecord {
    package var key: AgentKey { AgentKey(name: name, pairing: reqid) }

    /// Whether it no longer trusts this identity, as far as is known. Who keeps a single serial has forgotten all others.
    func hasForgotten(_ serial: SerialNumber) -> Bool {
        if confirmedIdentities.contains(serial) { return false }
        return forgottenIdentities.contains(serial) || (dialect == .single && !confirmedIdentities.isEmpty)
    }
}
