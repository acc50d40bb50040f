// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When new rules of the state machine come into force: by an entry, once every configured member has said that it knows them. What the others
// said lives in memory only; a leader learns it anew within a heartbeat.

import Consensus
import DispatcherState

struct KnownVersion: Hashable, Sendable {
    let member: MemberID
    var version: MachineVersion
}

extension Member {
    /// A member may come back with another release, also with an older one: what it said last counts.
    mutating func note(_ version: MachineVersion, knownBy member: MemberID) {
        if let position = knownVersions.firstIndex(where: { $0.member == member }) {
            guard knownVersions[position].version != version else { return }
            knownVersions[position].version = version
        } else {
            let place = knownVersions.firstIndex { member < $0.member } ?? knownVersions.count
            knownVersions.insert(KnownVersion(member: member, version: version), at: place)
        }
        leadership?.nextDeadline = .zero
    }

    /// The newest that every configured member knows; nil while one of them has not been heard.
    var versionKnownByAll: MachineVersion? {
        var newest = settings.knows
        for member in raft.configuration.members where member != settings.id {
            guard let known = knownVersions.first(where: { $0.member == member }) else { return nil }
            newest = min(newest, known.version)
        }
        return newest
    }

    mutating func tendVersion(_ duties: inout Leadership, at now: Moment, consensus: inout [ConsensusEffect]) {
        if let index = duties.proposedVersion, index <= state.appliedIndex { duties.proposedVersion = nil }
        guard duties.proposedVersion == nil, let known = versionKnownByAll, known > state.machineVersion else { return }
        duties.proposedVersion = propose(.raiseVersion(state.machineVersion.next), at: now, consensus: &consensus)
        if duties.proposedVersion == nil { duties.nextDeadline = min(duties.nextDeadline, now.instant + Member.retryInterval) }
    }

    /// Whether the rules in force are known here.
    var knowsTheRules: Bool { state.machineVersion <= settings.knows }
}
