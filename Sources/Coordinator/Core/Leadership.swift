// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a leader keeps for as long as it leads: the clock that it counts cluster time by, and what its duties have under way.

import Consensus
import CtrlExec
import DispatcherState

/// Cluster time goes on from the last committed value by the leader's own monotonic clock, so that it cannot jump.
struct LeaderClock: Hashable, Sendable {
    private let base: ClusterTime
    private let start: Instant
    init(from base: ClusterTime, at start: Instant) {
        self.base = base
        self.start = start
    }
    func time(at now: Instant) -> ClusterTime { base + now.since(start).milliseconds }
    /// The instant at which cluster time reaches `time`.
    func instant(of time: ClusterTime) -> Instant {
        start + .milliseconds(time > base ? min(time.milliseconds - base.milliseconds, 1 << 40) : 0)
    }
}

struct Leadership: Hashable, Sendable {
    /// A certificate that is being signed. One that is not heard of for long is signed again: harmless, for only a record counts.
    struct Signing: Hashable, Sendable {
        static let patience = TimeSpan.seconds(5)
        let obligation: ObligationID
        let serial: SerialNumber
        let giveUpAt: Instant
    }
    /// At most so many signatures at a time, so that the queue of the workers stays short.
    static let signingLimit = 32

    let term: Term
    let clock: LeaderClock
    var signing: [Signing] = []
    /// Steps that were proposed and not applied yet, by obligation.
    var proposedSteps: [ProposedStep] = []
    /// The entry that makes expiries take effect, until it is applied.
    var proposedExpiry: LogIndex?
    /// The entry that brings new rules into force, until it is applied.
    var proposedVersion: LogIndex?
    /// The entry that changes the configuration, until it is applied.
    var proposedChange: LogIndex?
    /// What its duty towards the agents has under way.
    var rotation: RotationDuty
    /// This member's calendar is off the middle of all: it signs nothing.
    var isCalendarOff = false
    /// How far the log was applied, and whether the lease stood, when duties were last looked at.
    var lookedAt: LogIndex?
    var hadLease = false
    /// When the next expiry or a lost signature is due; far away if nothing is.
    var nextDeadline = Instant.zero

    struct ProposedStep: Hashable, Sendable {
        let obligation: ObligationID
        let index: LogIndex
    }

    init(term: Term, clock: LeaderClock, at now: Instant) {
        rotation = RotationDuty(begunAt: now)
        self.term = term
        self.clock = clock
    }
}
