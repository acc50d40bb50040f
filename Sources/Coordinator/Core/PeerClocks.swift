// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the members' calendars say, as far as a leader knows (architecture, rule 3). The calendar stamps certificates and decides nothing in
// the state machine; but a leader whose own is wrong would sign certificates that nobody accepts yet, or that are over. So a leader that is
// off the middle of all calendars signs nothing, and hands over to a member whose calendar stands in the middle.
//
// Every message carries its sender's calendar. An answer to a heartbeat that was made a moment ago was under way for no longer than that,
// so its stamp is about as old. Samples are kept against the own monotonic clock: should the own calendar jump, that shows at once.

import Consensus

struct PeerClocks: Hashable, Sendable {
    /// How far a leader may be off the middle, in seconds.
    static let tolerance: Int64 = 10
    /// An answer that took longer says nothing about the calendar.
    static let longestTransit = TimeSpan.seconds(2)
    /// A sample counts for so long.
    private static let freshness = TimeSpan.seconds(5)

    private struct Sample: Hashable, Sendable {
        let member: MemberID
        /// Seconds of the calendar at this member's monotonic zero.
        var origin: Int64
        var taken: Instant
    }

    private var samples: [Sample] = []

    /// The other's calendar showed this when it sent what arrived just now.
    mutating func note(_ member: MemberID, _ calendar: WallClock, at now: Instant) {
        let sample = Sample(member: member, origin: PeerClocks.origin(calendar, at: now), taken: now)
        if let position = samples.firstIndex(where: { $0.member == member }) {
            samples[position] = sample
        } else {
            samples.append(sample)
        }
    }

    /// How many seconds the other's calendar is ahead of the one in `now`; nil: nothing fresh is known.
    func lead(of member: MemberID, at now: Moment) -> Int64? {
        guard let sample = samples.first(where: { $0.member == member }), now.instant.since(sample.taken) <= PeerClocks.freshness else {
            return nil
        }
        return PeerClocks.difference(sample.origin, PeerClocks.origin(now.wallClock, at: now.instant))
    }

    /// How many seconds the middle of all calendars, the own among them, is ahead of the own. Of an even number the middle is the one that
    /// agrees better with the own: half of the cluster does not outvote the other half.
    func middle(of others: [MemberID], at now: Moment) -> Int64 {
        let leads = (others.compactMap { lead(of: $0, at: now) } + [0]).sorted()
        let upper = leads[leads.count / 2]
        guard leads.count % 2 == 0 else { return upper }
        let lower = leads[leads.count / 2 - 1]
        return lower.magnitude <= upper.magnitude ? lower : upper
    }

    /// How many of these calendars are known.
    func known(of others: [MemberID], at now: Moment) -> Int { others.count { lead(of: $0, at: now) != nil } }

    static func origin(_ calendar: WallClock, at now: Instant) -> Int64 {
        difference(calendar.secondsSince1970, Int64(now.nanosecondsSinceBoot / 1_000_000_000))
    }

    /// Sticks at the ends: a calendar comes from another machine and may say anything.
    private static func difference(_ left: Int64, _ right: Int64) -> Int64 {
        let (difference, overflow) = left.subtractingReportingOverflow(right)
        return overflow ? (left < right ? .min : .max) : difference
    }
}

extension Member {
    private var otherVoters: [MemberID] { raft.configuration.voters.filter { $0 != settings.id } }

    /// Whether this member's calendar is off the middle of all that it knows.
    func isCalendarOff(at now: Moment) -> Bool {
        clocks.middle(of: otherVoters, at: now).magnitude > UInt64(PeerClocks.tolerance)
    }

    /// Whether anything may be dated by this member's calendar: it knows those of a quorum, and its own is in the middle.
    func mayDate(at now: Moment) -> Bool {
        clocks.known(of: otherVoters, at: now) + 1 >= raft.configuration.quorum && !isCalendarOff(at: now)
    }

    /// Whether the other's calendar stands in the middle.
    func isCalendarSound(of member: MemberID, at now: Moment) -> Bool {
        guard let lead = clocks.lead(of: member, at: now) else { return false }
        let (distance, overflow) = lead.subtractingReportingOverflow(clocks.middle(of: otherVoters, at: now))
        return !overflow && distance.magnitude <= UInt64(PeerClocks.tolerance)
    }

    /// Said when it begins and when it ends, by the leader.
    mutating func noteCalendar(at now: Moment, into effects: inout [Effect]) {
        guard isEstablished else { return }
        let origin = PeerClocks.origin(now.wallClock, at: now.instant)
        // A second of difference is the grain of the calendar; more is a jump, and cannot wait.
        guard now.instant >= calendarDue || !(calendarOrigin - 2...calendarOrigin + 2).contains(origin) else { return }
        calendarDue = now.instant + .milliseconds(20)
        calendarOrigin = min(max(origin, .min / 2), .max / 2)
        let isOff = isCalendarOff(at: now)
        guard isOff != leadership?.isCalendarOff else { return }
        leadership?.isCalendarOff = isOff
        if isOff {
            let lead = clocks.middle(of: otherVoters, at: now)
            let advice = "this member signs nothing and hands over; set its clock (the others are \(lead) s ahead of it)"
            effects.append(Effect(.log(LogRecord(.error, "clock-off", [("SECONDS", "\(lead)"), ("REASON", advice)]))))
        } else {
            effects.append(Effect(.log(LogRecord(.info, "clock-agrees", []))))
        }
    }
}
