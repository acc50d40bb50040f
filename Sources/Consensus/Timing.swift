// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The times of the protocol, and the one inequality that makes the lease safe.

/// Every knob with the failure that it prevents.
package struct Timing: Hashable, Sendable {
    /// `P`: how long a follower undertakes not to help elect another. Too short: elections on a busy machine. Too long: slow failover.
    package var promise: TimeSpan
    /// `E`: the age that an instant may reach before its effect leaves. The shell drops an older one.
    package var effectAge: TimeSpan
    /// `r` in thousandths: how much faster or slower than true time a member's clock may run.
    package var clockRateBoundPerMille: UInt64
    /// Spacing of heartbeats when there is nothing to append.
    package var heartbeat: TimeSpan
    /// The most that chance adds to the end of the promise before a member campaigns. Too short: split votes.
    package var electionJitter: TimeSpan
    /// A leader whose journal makes no progress for this long gives up leadership.
    package var journalStall: TimeSpan
    /// An append that was not answered for this long is sent again.
    package var retransmit: TimeSpan
    /// How long a campaign waits for its answers before the next; doubled at each failure, at most eightfold. Too short: no election on
    /// slow disks.
    package var electionRetry: TimeSpan

    /// No member promises more, whoever asks.
    package static let longestPromise = TimeSpan.seconds(60)

    package init(
        promise: TimeSpan = .milliseconds(300), effectAge: TimeSpan = .milliseconds(10), clockRateBoundPerMille: UInt64 = 100,
        heartbeat: TimeSpan = .milliseconds(50), electionJitter: TimeSpan = .milliseconds(150), journalStall: TimeSpan = .seconds(1),
        retransmit: TimeSpan = .milliseconds(100), electionRetry: TimeSpan = .milliseconds(100)
    ) {
        self.promise = promise
        self.effectAge = effectAge
        self.clockRateBoundPerMille = clockRateBoundPerMille
        self.heartbeat = heartbeat
        self.electionJitter = electionJitter
        self.journalStall = journalStall
        self.retransmit = retransmit
        self.electionRetry = electionRetry
    }

    /// `L = (1 - r) * (P / (1 + r) - E)`, derived, never configured; rounded down. 236 ms with the defaults.
    ///
    /// A follower whose clock is fast by `r` breaks its promise after `P / (1 + r)` of true time; a leader whose clock is slow by `r`
    /// counts `L` for `L / (1 - r)` of true time, and its effect may leave `E` later.
    package var lease: TimeSpan {
        let shortest = promise.nanoseconds * 1000 / (1000 + clockRateBoundPerMille)
        guard shortest > effectAge.nanoseconds, clockRateBoundPerMille < 1000 else { return .zero }
        return TimeSpan(nanoseconds: (shortest - effectAge.nanoseconds) * (1000 - clockRateBoundPerMille) / 1000)
    }

    /// Why these times cannot be used, in words for the person who set them; nil if they can.
    package func problem() -> String? {
        for (name, span) in [
            ("heartbeat", heartbeat), ("election jitter", electionJitter), ("election retry", electionRetry),
            ("retransmission", retransmit),
            ("journal stall", journalStall),
        ] where span < .milliseconds(1) {
            return "the \(name) time is under a millisecond: lengthen it"
        }
        if lease < TimeSpan(nanoseconds: 3 * heartbeat.nanoseconds) {
            return "the lease derived from promise, clock bound and effect age is \(lease.milliseconds) ms, less than three heartbeats of "
                + "\(heartbeat.milliseconds) ms: lengthen the promise or shorten the heartbeat"
        }
        if promise > Timing.longestPromise { return "the promise is \(promise.milliseconds) ms; at most 60000 ms" }
        return nil
    }
}
