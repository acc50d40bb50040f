// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A snapshot stands behind a committed entry, names the members in force there, and holds the state that everybody has there. Nobody forgets
// a part of the log, or begins anew behind a snapshot, before that snapshot is on the own disk.

import Consensus

package struct SnapshotSafety: Sendable {
    private var hashes: [SnapshotPlace: UInt64] = [:]
    package init() {}

    /// `committed` is what the cluster agreed on at that place, `inForce` who the members are there.
    package func saved(
        _ member: MemberID, _ place: SnapshotPlace, _ configuration: Configuration, committed: LogMark?, inForce: Configuration
    ) throws(Broken) {
        guard let committed, committed.term == place.term else {
            throw Broken("SnapshotSafety", [member], "it saves a snapshot behind \(place), which is not committed")
        }
        guard configuration == inForce else {
            throw Broken("SnapshotSafety", [member], "its snapshot behind \(place) names \(configuration.members) as members")
        }
    }

    /// Of all that is in a state, computed anew.
    package mutating func holds(_ member: MemberID, _ place: SnapshotPlace, hash: UInt64) throws(Broken) {
        guard let known = hashes[place] else {
            hashes[place] = hash
            return
        }
        guard known == hash else {
            throw Broken("SnapshotSafety", [member], "the state in its snapshot behind \(place) is not the one that was put into one there")
        }
    }

    /// The log of `member` begins behind this entry now.
    package func stands(
        _ member: MemberID, behind place: SnapshotPlace, _ configuration: Configuration, committed: LogMark?, inForce: Configuration
    ) throws(Broken) {
        guard let committed, committed.term == place.term, configuration == inForce else {
            throw Broken("SnapshotSafety", [member], "its log begins behind \(place), which is not what was committed there")
        }
    }

    /// `durable` is the newest snapshot on its disk.
    package func forgets(_ member: MemberID, through index: LogIndex, durable: SnapshotPlace?) throws(Broken) {
        guard index > durable?.index ?? .zero else { return }
        throw Broken(
            "SnapshotSafety", [member],
            "it forgets its log up to \(index), and " + (durable.map { "its newest snapshot is behind \($0)" } ?? "has no snapshot"))
    }

    /// `member` gives up its log for the state behind `place`.
    package func beginsAnew(_ member: MemberID, behind place: SnapshotPlace, durable: SnapshotPlace?) throws(Broken) {
        guard place != durable else { return }
        throw Broken("SnapshotSafety", [member], "it begins anew behind \(place), and has no such snapshot on its disk")
    }
}
