// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The replicated state machine: the same entries in the same order make the same state on every member. A value without clock, randomness or
// I/O. This file is its outward face and what it is made of; how an entry changes it is in `DispatcherState+Apply.swift`.

import Consensus
import CtrlExec

package struct DispatcherState: Hashable, Sendable {
    private let shared: SharedGenesis
    /// The greatest that an entry carried.
    package internal(set) var time: ClusterTime
    package internal(set) var appliedIndex: LogIndex
    /// Chained over every applied entry and its outcome: equal on all members at `appliedIndex`, at no cost. Not cryptographic.
    /// `fullStateHash()` covers the state itself.
    package internal(set) var stateHash: UInt64

    var serials: Serials
    var requests = RequestTable()
    var openObligations = Obligations()
    var registry = Registry()
    var pairing = PairingQueue()
    var operatorBook = Operators()
    var identityBook: Identities
    var revocationBook = Revocations()
    var membership: Membership
    /// Which rules are in force.
    package internal(set) var machineVersion = MachineVersion.first
    /// Where the last entry stands that could change what some agent must be told.
    package internal(set) var rotationIndex = LogIndex.zero

    package init(genesis: GenesisState) {
        shared = SharedGenesis(genesis)
        time = .zero
        appliedIndex = .zero
        serials = Serials(incarnation: genesis.incarnation, next: genesis.nextSerialCounter)
        identityBook = Identities(genesis: genesis.identity, members: genesis.members.map(\.id))
        membership = Membership(founders: genesis.members)
        stateHash = DispatcherState.hash(of: genesis)
    }

    package var genesis: GenesisState { _read { yield shared.state } }

    /// What some leader must still do, oldest first.
    package var obligations: [Obligation] { openObligations.open.values }
    package func obligation(_ id: ObligationID) -> Obligation? { openObligations.open[id] }
    /// Sorted by name.
    package var agents: [AgentRecord] { registry.agents.values }
    package func agent(named name: AgentName) -> AgentRecord? { registry.agents[name] }
    /// Those that wait for a decision or, once approved, for their certificate; oldest first.
    package var pairings: [QueuedPairing] { pairing.waiting }
    /// What was decided about a pairing: the newest 1,000 decisions of at least the last 600 seconds.
    package func decision(of reqid: Reqid) -> PairingDecision? { pairing.decisions[reqid]?.decision }
    /// Sorted by name and serial: a name may have several certificates.
    package var operators: [OperatorRecord] { operatorBook.records.values }
    /// The newest certificate under this name.
    package func operatorRecord(named name: OperatorName) -> OperatorRecord? { operatorBook.newest(named: name) }
    package func operatorRecord(named name: OperatorName, serial: SerialNumber) -> OperatorRecord? { operatorBook[name, serial] }
    /// Oldest first.
    package var identities: [Identity] { identityBook.all }
    /// What 7444 presents and what pairing hands out.
    package var currentIdentity: Identity? { identityBook.current }
    /// What a member presents to this agent: the newest identity that the agent has confirmed.
    package func identity(for agent: AgentRecord) -> Identity? { identityBook.newest(confirmedBy: agent) }
    /// When the pairing session ends (the greatest time: not before it is closed); nil if none is open.
    package var pairingOpenUntil: ClusterTime? { pairing.openUntil }
    /// The earliest cluster time at which `expire` would change what somebody waits for; nil if nothing expires. What is merely forgotten
    /// (outcomes, decisions) is forgotten with any later entry and wakes nobody.
    package var nextExpiry: ClusterTime? { pairing.nextExpiry }
    /// Every serial counter below this was handed out.
    package var nextSerialCounter: UInt64 { serials.next }

    /// A hash of everything, computed anew: takes time in proportion to the state. For checks at intervals.
    package func fullStateHash() -> UInt64 {
        var hasher = CanonicalHasher(.state)
        hasher.add(genesis)
        hasher.add(time)
        hasher.add(appliedIndex)
        hasher.add(stateHash)
        hasher.add(serials.next)
        hasher.add(requests)
        hasher.add(openObligations.open)
        for keys in openObligations.waiters.values { hasher.add(keys) }
        hasher.add(registry.agents.values)
        hasher.add(pairing)
        hasher.add(operatorBook.records.values)
        hasher.add(identityBook)
        hasher.add(rotationIndex)
        hasher.add(revocationBook)
        hasher.add(machineVersion)
        hasher.add(membership)
        return hasher.digest
    }
}
