// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Terms, commits, applied indices, cluster time and the counter of serials never fall: within a life of a member, along the log, and where
// they are durable, over restarts.

import Consensus
import DispatcherState

package struct MonotoneCounters: Sendable {
    package struct Reading: Hashable, Sendable {
        package var term: Term
        package var commit: LogIndex
        package var applied: LogIndex
        package var time: ClusterTime
        package var serialCounter: UInt64
        package init(term: Term, commit: LogIndex, applied: LogIndex, time: ClusterTime, serialCounter: UInt64) {
            self.term = term
            self.commit = commit
            self.applied = applied
            self.time = time
            self.serialCounter = serialCounter
        }
    }
    /// The newest of each life, by member; the life of which there is news is nearly always the last.
    private var readings = PerMember<[(life: Life, reading: Reading)]>()
    private var termsSaid = PerMember<Term>()
    private var along: (index: LogIndex, time: ClusterTime, serialCounter: UInt64) = (.zero, .zero, 0)
    package init() {}

    package mutating func observe(_ life: Life, _ reading: Reading) throws(Broken) {
        try MonotoneCounters.note(&readings[life.member], life, reading)
    }

    /// In place: asked after every step.
    private static func note(_ readings: inout [(life: Life, reading: Reading)]?, _ life: Life, _ reading: Reading) throws(Broken) {
        guard let place = readings?.lastIndex(where: { $0.life == life }), let before = readings?[place].reading else {
            readings = (readings ?? []) + [(life, reading)]
            return
        }
        try check(life, "term", before.term, reading.term)
        try check(life, "commit index", before.commit, reading.commit)
        try check(life, "applied index", before.applied, reading.applied)
        try check(life, "cluster time", before.time.milliseconds, reading.time.milliseconds)
        try check(life, "serial counter", before.serialCounter, reading.serialCounter)
        readings?[place].reading = reading
    }

    /// The member told others that its term is `term`.
    package mutating func said(_ member: MemberID, _ term: Term) {
        let before = termsSaid[member] ?? .zero
        if term > before { termsSaid[member] = term }
    }

    /// A member begins a life with this term from its disk.
    package func begins(_ life: Life, term: Term) throws(Broken) {
        try MonotoneCounters.check(life, "term over a restart", termsSaid[life.member] ?? .zero, term)
    }

    /// The state after the committed entry at `index`.
    package mutating func committed(_ index: LogIndex, time: ClusterTime, serialCounter: UInt64) throws(Broken) {
        guard index == along.index.next, time >= along.time, serialCounter >= along.serialCounter else {
            throw Broken("MonotoneCounters", [], "cluster time or serial counter falls at index \(index)")
        }
        along = (index, time, serialCounter)
    }

    private static func check<Value: Comparable>(_ life: Life, _ name: String, _ before: Value, _ after: Value) throws(Broken) {
        guard after < before else { return }
        throw Broken("MonotoneCounters", [life.member], "the \(name) of \(life) fell from \(before) to \(after)")
    }
}
