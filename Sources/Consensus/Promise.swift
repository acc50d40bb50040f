// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member's undertaking not to help elect another. It is what makes the leader's lease true: every voter that answered a heartbeat has
// promised from the instant at which it handled it, and the leader counts from the earlier instant at which it made it.
//
// Two things bind: the promise itself, which a transfer may set aside because the leader has given up the lease that rests on it, and
// the hold after a restart, which stands in for promises forgotten with the memory and which nothing sets aside.

/// Which heartbeat: numbers count within a term.
struct HeartbeatStamp: Comparable, Hashable, Sendable {
    let term: Term
    let number: HeartbeatNumber
    static func < (left: HeartbeatStamp, right: HeartbeatStamp) -> Bool { (left.term, left.number) < (right.term, right.number) }
    static let none = HeartbeatStamp(term: .zero, number: .zero)
}

struct Promise: Sendable {
    /// Never moves back, whatever shorter promise a later leader asks for.
    private(set) var end: Instant
    /// No vote of any kind before this instant, however it is asked for.
    let restartHoldEnd: Instant
    /// The newest heartbeat that was handled here (or made here, as leader).
    private(set) var newestHeartbeat = HeartbeatStamp.none
    /// The longest promise ever made; in the journal, at the latest, when `longestWrite` is durable.
    private(set) var longest: TimeSpan
    private(set) var longestWrite = WriteID.zero

    /// `longest` is what the journal holds. Whoever may have promised before this start must wait it out once.
    init(longest: TimeSpan, mustWait: Bool, now: Instant) {
        self.longest = longest
        end = now
        restartHoldEnd = mustWait ? now + longest : now
    }

    mutating func extend(by span: TimeSpan, for heartbeat: HeartbeatStamp, at now: Instant) {
        precondition(span <= longest, "a promise must be recorded before it is made")
        end = max(end, now + span)
        newestHeartbeat = max(newestHeartbeat, heartbeat)
    }

    mutating func recorded(longest span: TimeSpan, in write: WriteID) {
        longest = span
        longestWrite = write
    }

    func isHeldByRestart(at now: Instant) -> Bool { now < restartHoldEnd }
    func binds(at now: Instant) -> Bool { now < end || now < restartHoldEnd }
    /// Neither promise nor hold binds from here on.
    var free: Instant { max(end, restartHoldEnd) }

    /// Whether the leader that hands over has given up every lease that this member's promise could carry: it has if this member took
    /// no heartbeat after the last one that the transfer names.
    func mayBeSetAside(for transfer: VoteRequest.Transfer) -> Bool {
        newestHeartbeat <= HeartbeatStamp(term: transfer.term, number: transfer.lastHeartbeat)
    }
}
