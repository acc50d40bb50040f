// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// No two members hold a lease at the same instant of true time, nor may what left under one lease leave while another is held: an effect
// may be `effectAge` older than its lease. And nobody is elected under the lease of another.

import Consensus

package struct LeaseExclusivity: Sendable {
    package struct Lease: Hashable, Sendable {
        package let holder: Life
        package let term: Term
        /// In true time: until then the holder takes itself for the lease's holder, whatever else happens.
        package var end: TrueTime
        /// Its holder has made a step without it, or died: nothing of it leaves any more.
        var isOver = false
        package init(holder: Life, term: Term, end: TrueTime) {
            self.holder = holder
            self.term = term
            self.end = end
        }
    }
    private let effectAge: TimeSpan
    /// The newest of each member.
    private var leases: [Lease] = []
    package init(effectAge: TimeSpan) { self.effectAge = effectAge }

    /// At `now`, after a step of `life`: its lease reaches to `end`, or it has none.
    package mutating func observe(_ life: Life, term: Term, end: TrueTime?, at now: TrueTime) throws(Broken) {
        guard let end, end > now else { return ends(life.member, at: now) }
        for other in leases where other.holder.member != life.member && other.end + (other.isOver ? .zero : effectAge) > now {
            throw Broken(
                "LeaseExclusivity", [other.holder.member, life.member],
                "\(life) holds a lease in term \(term) from \(now) on; that of \(other.holder) in term \(other.term) reaches to \(other.end), and its effects for \(effectAge.milliseconds) ms more"
            )
        }
        let lease = Lease(holder: life, term: term, end: end)
        if let place = leases.firstIndex(where: { $0.holder.member == life.member }) { leases[place] = lease } else { leases.append(lease) }
    }

    /// It has no lease, or is no more; and whatever it did under the lease was done before this.
    package mutating func ends(_ member: MemberID, at now: TrueTime) {
        for place in leases.indices where leases[place].holder.member == member {
            leases[place].end = min(leases[place].end, now)
            leases[place].isOver = true
        }
    }

    /// It begins something that only the holder of the lease may begin.
    package func acts(_ life: Life, _ what: String, at now: TrueTime) throws(Broken) {
        // The clock that the member goes by is read in whole nanoseconds.
        guard let lease = leases.first(where: { $0.holder == life }), !lease.isOver, lease.end + TimeSpan(nanoseconds: 1_000) >= now
        else {
            throw Broken("LeaseExclusivity", [life.member], "\(life) begins \(what) without the lease")
        }
    }

    /// Who is elected by votes of a term that is past already cannot get a lease, and is let be.
    package func elected(_ member: MemberID, term: Term, at now: TrueTime) throws(Broken) {
        for other in leases where other.holder.member != member && other.term < term && other.end > now {
            throw Broken(
                "LeaseExclusivity", [other.holder.member, member],
                "it is elected for term \(term) while the lease of \(other.holder) in term \(other.term) reaches to \(other.end)")
        }
    }
}
