// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What has been seen on the way to a state, as far as something later may contradict it; and the things that must hold. They are those of the
// simulator that concern the core, for a world in which all clocks agree.

import Consensus

/// What does not hold, by the name of the simulator's invariant.
package struct Broken: Error, Sendable, CustomStringConvertible {
    package let invariant: String
    package let what: String
    package init(_ invariant: String, _ what: String) {
        self.invariant = invariant
        self.what = what
    }
    package var description: String { "\(invariant) does not hold: \(what)" }
}

struct History: Sendable {
    private struct Vote: Equatable, Sendable {
        let voter: Int
        let term: Term
        let candidate: Int
    }
    private struct Promise: Sendable {
        var leader: Int
        var end: Instant
    }
    /// Votes that left their voter, restart or not.
    private var votes: [Vote] = []
    /// By term, from 1.
    private var leaders: [Int?] = []
    /// Everything that was ever committed.
    private(set) var committed: [Entry] = []
    /// Of each member, the newest promise whose answer left; and the newest that it made in this life.
    private var said: [Promise?]
    private var made: [Promise?]

    init(members: Int) {
        said = [Promise?](repeating: nil, count: members)
        made = said
    }

    func add(at now: Instant, to fingerprint: inout CoreFingerprint) {
        // In no order: which vote left first is nobody's concern.
        var sum: UInt64 = 0
        for vote in votes {
            var one = CoreFingerprint()
            one.add(UInt64(vote.voter * 8 + vote.candidate))
            one.add(vote.term.number)
            sum &+= one.value
        }
        fingerprint.add(sum)
        for leader in leaders { fingerprint.add(UInt64(leader.map { $0 + 1 } ?? 0)) }
        fingerprint.add(committed)
        for promise in said + made {
            let isOver = promise.map { $0.end <= now } ?? true
            fingerprint.add(isOver ? 0 : UInt64((promise?.leader ?? 0) + 1))
            fingerprint.add(deadline: isOver ? now : promise?.end ?? now, at: now)
        }
    }

    // MARK: What is told

    /// A message leaves, its writes being durable.
    mutating func sends(_ packet: Packet) throws(Broken) {
        let term = packet.message.term
        switch packet.message.body {
        case .voteRequest(let request) where !request.isPreVote:
            try votes(packet.from, term: term, for: packet.from)
        case .voteAnswer(let answer) where answer.granted && !answer.isPreVote:
            try votes(packet.from, term: term, for: packet.to)
        case .heartbeatAnswer(let answer) where answer.number > .zero: answers(packet.from)
        case .appendAnswer: answers(packet.from)
        default: break
        }
    }

    private mutating func votes(_ voter: Int, term: Term, for candidate: Int) throws(Broken) {
        for vote in votes where vote.voter == voter && vote.term == term {
            guard vote.candidate != candidate else { return }
            throw Broken("OneVotePerTerm", "member \(voter) votes in term \(term) for member \(candidate), and voted for \(vote.candidate)")
        }
        votes.append(Vote(voter: voter, term: term, candidate: candidate))
    }

    /// It handled a heartbeat of `leader`, or made one.
    mutating func promises(_ member: Int, to leader: Int, until end: Instant) {
        if let known = made[member], known.end > end { return }
        made[member] = Promise(leader: leader, end: end)
    }

    private mutating func answers(_ member: Int) {
        if let known = said[member], let new = made[member], known.end > new.end { return }
        said[member] = made[member]
    }

    mutating func restarts(_ member: Int) { made[member] = nil }

    /// It grants a vote or pre-vote, or asks for votes itself.
    func helps(_ member: Int, _ candidate: Int, at now: Instant) throws(Broken) {
        for promise in [made[member], said[member]] {
            guard let promise, promise.end > now, promise.leader != candidate else { continue }
            throw Broken("PromiseKept", "member \(member) helps to elect member \(candidate) under its promise to member \(promise.leader)")
        }
    }

    mutating func leads(_ member: Int, in term: Term, log: [Entry]) throws(Broken) {
        while leaders.count < Int(term.number) { leaders.append(nil) }
        let place = Int(term.number) - 1
        if let other = leaders[place], other != member {
            throw Broken("ElectionSafety", "members \(other) and \(member) both lead term \(term)")
        }
        leaders[place] = member
        guard log.starts(with: committed) else {
            throw Broken("LeaderCompleteness", "member \(member) leads term \(term) without what was committed")
        }
    }

    /// It takes these entries, all that it has not forgotten, for committed; `logs` are those on the members' disks.
    mutating func commits(_ member: Int, _ entries: ArraySlice<Entry>, disks: [[Entry]], quorum: Int) throws(Broken) {
        for entry in entries {
            let place = Int(entry.index.position) - 1
            if place < committed.count {
                guard committed[place] == entry else {
                    throw Broken("CommittedStays", "member \(member) commits another entry at \(entry.index) than was committed there")
                }
                continue
            }
            guard place == committed.count else { throw Broken("CommittedStays", "member \(member) commits \(entry.index) out of order") }
            committed.append(entry)
        }
        try stays(disks: disks, quorum: quorum)
    }

    /// A snapshot stands on a member's disk, or is offered: behind what was committed, and nothing else.
    func stands(_ snapshot: SnapshotPlace, at member: Int) throws(Broken) {
        guard committed.holds(snapshot) else {
            throw Broken("SnapshotSafety", "member \(member) has to do with a snapshot behind \(snapshot), and no such entry is committed")
        }
    }

    // MARK: What must hold of every state

    func stays(disks: [[Entry]], quorum: Int) throws(Broken) {
        guard !committed.isEmpty else { return }
        let holders = disks.reduce(0) { $0 + ($1.starts(with: committed) ? 1 : 0) }
        guard holders >= quorum else {
            throw Broken("CommittedStays", "what is committed up to \(committed.count) is on the disks of \(holders) members")
        }
    }
}

enum Pairwise {
    /// Two logs that hold an entry of the same index and term are equal up to it (paper, section 5.3).
    static func logsMatch(_ left: [Entry], _ right: [Entry]) throws(Broken) {
        var agree = false
        for place in (0..<min(left.count, right.count)).reversed() {
            if left[place].term == right[place].term { agree = true }
            if agree, left[place] != right[place] { throw Broken("LogMatching", "two logs differ at \(place + 1) and agree behind it") }
        }
    }
}
