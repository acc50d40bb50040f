// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the leader knows of one other member: how far its log matches, what is on its way to it, which heartbeat it answered last.
//
// A member is probed with one append at a time until an answer shows where the two logs meet, and replicated to in a window of appends
// from then on. An append without an answer for `Timing.retransmit` leads back to probing from what is known to match. Where that is
// forgotten, a snapshot is offered, and offered again, until an answer shows that the log is enough.

struct Progress: Sendable {
    /// At most this many unanswered appends …
    static let windowAppends = 16
    /// … and no further one once this many bytes are on their way.
    static let windowBytes = 512 * 1024

    enum Mode: Hashable, Sendable {
        /// `sent`: when the outstanding probe left; nil if one is due. A repeated probe carries no entries.
        case probe(sent: Instant?, isRepeated: Bool)
        case replicate
        /// What it lacks is forgotten here, so that it was offered a snapshot, and again at intervals: `sent`, when last; nil if one is due.
        /// `first`: the oldest of those offered, from which it may come to need entries.
        case offer(first: SnapshotPlace, sent: Instant?)
    }

    struct InFlight: Hashable, Sendable {
        let last: LogIndex
        let bytes: Int
        let sent: Instant
    }

    struct TimedHeartbeat: Hashable, Sendable {
        let number: HeartbeatNumber
        let made: Instant
    }

    let member: MemberID
    var isVoter: Bool
    /// Durable there and equal to this leader's log. Never falls.
    private(set) var match = LogIndex.zero
    /// Where the next append begins; always above `match`.
    private(set) var next: LogIndex
    private(set) var mode = Mode.probe(sent: nil, isRepeated: false)
    /// Oldest first; empty while probing.
    private(set) var inFlight: [InFlight] = []
    private(set) var bytesInFlight = 0
    /// The newest heartbeat that it answered.
    private(set) var answered = HeartbeatNumber.zero
    private(set) var lastAnswer: Instant?
    /// The first heartbeat that was sent after its last answer, and when it was made: an answer was under way for no longer.
    private(set) var timed: TimedHeartbeat?
    /// The highest commit index that it was told in this term.
    private(set) var commitSent = LogIndex.zero

    init(member: MemberID, isVoter: Bool, next: LogIndex) {
        self.member = member
        self.isVoter = isVoter
        self.next = next
    }

    func maySend(lastIndex: LogIndex) -> Bool {
        switch mode {
        case .probe(let sent, _): sent == nil
        case .replicate: next <= lastIndex && inFlight.count < Progress.windowAppends && bytesInFlight < Progress.windowBytes
        case .offer(_, let sent): sent == nil
        }
    }

    var carriesEntries: Bool {
        if case .probe(_, isRepeated: true) = mode { return false }
        return true
    }

    mutating func sentAppend(count: Int, bytes: Int, at now: Instant) {
        switch mode {
        case .probe(_, let isRepeated):
            mode = .probe(sent: now, isRepeated: isRepeated)
        case .replicate:
            next = LogIndex(next.position + UInt64(count))
            inFlight.append(InFlight(last: next.previous, bytes: bytes, sent: now))
            bytesInFlight += bytes
        case .offer: preconditionFailure("who was offered a snapshot is sent no append")
        }
    }

    mutating func sentOffer(_ place: SnapshotPlace, at now: Instant) {
        guard case .offer(let first, _) = mode else {
            probe(from: next, isRepeated: false)
            mode = .offer(first: place, sent: now)
            return
        }
        mode = .offer(first: first, sent: now)
    }

    /// From where on it may ask for entries soon.
    var needsBehind: LogIndex {
        if case .offer(let first, _) = mode { return max(match, first.index) }
        return match
    }

    mutating func told(commit: LogIndex) { commitSent = max(commitSent, commit) }

    mutating func sent(_ number: HeartbeatNumber, at now: Instant) {
        if timed == nil { timed = TimedHeartbeat(number: number, made: now) }
    }

    mutating func heard(_ number: HeartbeatNumber, at now: Instant) {
        if let timed, number >= timed.number { self.timed = nil }
        answered = max(answered, number)
        lastAnswer = now
    }

    /// An append was answered: everything up to `index` is durable there and matches. The leader's log stands behind `base`.
    mutating func matched(_ index: LogIndex, base: LogIndex) {
        match = max(match, index)
        switch mode {
        case .probe:
            guard index >= next.previous else { return }
            mode = .replicate
            next = match.next
        case .replicate:
            next = max(next, match.next)
            var answeredAppends = 0
            while answeredAppends < inFlight.count, inFlight[answeredAppends].last <= match {
                bytesInFlight -= inFlight[answeredAppends].bytes
                answeredAppends += 1
            }
            inFlight.removeFirst(answeredAppends)
        case .offer:
            next = max(next, match.next)
            guard match >= base else { return }
            next = match.next
            mode = .replicate
        }
    }

    /// An append was refused; the logs may meet at `index`. Old refusals change nothing, or cost one probe.
    mutating func mismatched(meeting index: LogIndex) {
        // Whoever waits for a snapshot was asked often enough.
        if case .offer = mode { return }
        let earlier = max(match.next, min(next, index.next))
        if case .probe = mode, earlier == next { return }
        probe(from: earlier, isRepeated: false)
    }

    /// When the oldest unanswered append is due again.
    func retransmission(after span: TimeSpan) -> Instant? {
        switch mode {
        case .probe(let sent, _): sent.map { $0 + span }
        case .replicate: inFlight.first.map { $0.sent + span }
        case .offer(_, let sent): sent.map { $0 + span }
        }
    }

    mutating func goBack() {
        switch mode {
        case .probe: probe(from: next, isRepeated: true)
        case .replicate: probe(from: match.next, isRepeated: true)
        case .offer(let first, _): mode = .offer(first: first, sent: nil)
        }
    }

    private mutating func probe(from index: LogIndex, isRepeated: Bool) {
        next = index
        mode = .probe(sent: nil, isRepeated: isRepeated)
        inFlight.removeAll(keepingCapacity: true)
        bytesInFlight = 0
    }
}
