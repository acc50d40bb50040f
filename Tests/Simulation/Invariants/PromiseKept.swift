// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who answered a heartbeat does not help to elect another leader for a promise's length by any clock within the bound, restart or not.
// A transfer may set the promise aside.

import Consensus

package struct PromiseKept: Sendable {
    private struct Promise {
        var end: TrueTime
        var leader: MemberID
    }
    private let rateBoundPerMille: UInt64
    /// Made in this life, answered or not.
    private var made = PerMember<Promise>()
    /// The answer left: it binds over restarts.
    private var said = PerMember<Promise>()
    package init(rateBoundPerMille: UInt64) { self.rateBoundPerMille = rateBoundPerMille }

    private func end(from handled: TrueTime, _ span: TimeSpan) -> TrueTime {
        handled + TimeSpan(nanoseconds: span.nanoseconds * 1000 / (1000 + rateBoundPerMille))
    }

    /// `member` handled a heartbeat of `leader`, or made one as the leader; its clock was read at `handled`.
    package mutating func promises(_ member: MemberID, to leader: MemberID, _ span: TimeSpan, at handled: TrueTime) {
        let end = end(from: handled, span)
        if let known = made[member], known.end >= end { return }
        made[member] = Promise(end: end, leader: leader)
    }

    /// The answer to that heartbeat left.
    package mutating func answers(_ member: MemberID) {
        guard let made = made[member], made.end > (said[member]?.end ?? .zero) else { return }
        said[member] = made
    }

    package mutating func restarts(_ member: MemberID) { made[member] = nil }

    /// True if a promise of an earlier life binds this one at `now`.
    package func binds(_ member: MemberID, at now: TrueTime) -> Bool { said[member].map { $0.end > now } ?? false }

    /// `member` grants `candidate` a vote or pre-vote, or asks for votes itself, in a step whose clock was read at `decided`.
    package func helps(_ member: MemberID, _ candidate: MemberID, isTransfer: Bool, at decided: TrueTime) throws(Broken) {
        guard !isTransfer, let promise = binding(member, against: candidate, at: decided) else { return }
        throw Broken(
            "PromiseKept", [member, candidate],
            "at \(decided) it helps to elect \(candidate), and its promise to \(promise.leader) lasts to \(promise.end) at least")
    }

    /// A request for its vote took `member` to a higher term, and so away from its leader, whether it gave the vote or not.
    package func follows(
        _ member: MemberID, _ candidate: MemberID, to term: Term, isTransfer: Bool, at decided: TrueTime
    ) throws(Broken) {
        guard !isTransfer, let promise = binding(member, against: candidate, at: decided) else { return }
        throw Broken(
            "PromiseKept", [member, candidate],
            "at \(decided) it follows \(candidate) to term \(term), and its promise to \(promise.leader) lasts to \(promise.end) at least")
    }

    private func binding(_ member: MemberID, against candidate: MemberID, at decided: TrueTime) -> Promise? {
        for promise in [made[member], said[member]] {
            if let promise, promise.end > decided, promise.leader != candidate { return promise }
        }
        return nil
    }
}
