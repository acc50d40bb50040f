// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Hosts that ask to be paired, the session in which they may, and what was decided about them. A decision is kept for a while, so that the
// member that holds the agent's connection can answer it even if it looks late.

import Consensus
import CtrlExec

/// A pairing request that waits for an operator.
package struct QueuedPairing: Hashable, Sendable {
    package var submission: PairingSubmission
    package var received: WallClock
    package var receivedAt: ClusterTime
    /// Set once approved, until its certificate is recorded.
    package var obligation: ObligationID?
    /// What the operator who approved it said about reaching the agent.
    package var granted: Reachability?
    package init(
        submission: PairingSubmission, received: WallClock, receivedAt: ClusterTime, obligation: ObligationID?, granted: Reachability? = nil
    ) {
        self.submission = submission
        self.received = received
        self.receivedAt = receivedAt
        self.obligation = obligation
        self.granted = granted
    }
}

struct PairingQueue: Hashable, Sendable {
    /// `pairing_max_queue` of the protocol page, 7.9.
    static let limit = 10
    /// How long a request waits for a decision, and for how long a decision is kept.
    static let waitMilliseconds: UInt64 = 600_000
    static let decisionLimit = 1_000
    static let sessionMilliseconds: ClosedRange<UInt64> = 1_000...600_000

    struct Decided: Hashable, Sendable {
        let decision: PairingDecision
        let name: AgentName
        /// Of the certificate, if it was approved.
        let serial: SerialNumber?
        let at: ClusterTime
    }

    /// Oldest first.
    private(set) var waiting: [QueuedPairing] = []
    /// The greatest time stands for "until it is closed".
    private(set) var openUntil: ClusterTime?
    private(set) var decisions = SortedArrayMap<Reqid, Decided>()
    private(set) var decisionOrder = Queue<Reqid>()

    static let untilClosed = ClusterTime(milliseconds: .max)

    init() {}
    init(waiting: [QueuedPairing], openUntil: ClusterTime?, decisions: SortedArrayMap<Reqid, Decided>, order: [Reqid]) {
        self.waiting = waiting
        self.openUntil = openUntil
        self.decisions = decisions
        for reqid in order { decisionOrder.append(reqid) }
    }

    func isOpen(at now: ClusterTime) -> Bool { openUntil.map { $0 == PairingQueue.untilClosed || now < $0 } ?? false }

    func find(_ reqid: Reqid) -> QueuedPairing? { waiting.first { $0.submission.reqid == reqid } }

    func isTaken(_ reqid: Reqid) -> Bool { find(reqid) != nil || decisions[reqid] != nil }

    mutating func open(until: ClusterTime) { openUntil = until }
    /// Requests that already wait go on waiting (protocol page, 7.8).
    mutating func close() { openUntil = nil }

    mutating func add(_ pairing: QueuedPairing) { waiting.append(pairing) }

    mutating func approve(_ reqid: Reqid, _ granted: Reachability, under obligation: ObligationID) {
        for position in waiting.indices where waiting[position].submission.reqid == reqid {
            waiting[position].obligation = obligation
            waiting[position].granted = granted
        }
    }

    /// Signing failed: it waits for a decision again.
    mutating func reopen(_ reqid: Reqid) {
        for position in waiting.indices where waiting[position].submission.reqid == reqid {
            waiting[position].obligation = nil
            waiting[position].granted = nil
        }
    }

    /// Takes the request off the queue and keeps the decision.
    mutating func decide(_ reqid: Reqid, _ verdict: PairingDecision.Verdict, serial: SerialNumber?, at now: ClusterTime) -> PairingDecision?
    {
        guard let position = waiting.firstIndex(where: { $0.submission.reqid == reqid }) else { return nil }
        let submission = waiting.remove(at: position).submission
        let decision = PairingDecision(reqid: reqid, nonce: submission.nonce, verdict: verdict)
        decisions[reqid] = Decided(decision: decision, name: submission.hostname, serial: serial, at: now)
        decisionOrder.append(reqid)
        if decisionOrder.count > PairingQueue.decisionLimit { forgetOldestDecision() }
        return decision
    }

    /// Ends the session and lets requests expire that waited too long. An approved one waits for its certificate, however long that takes.
    mutating func expire(at now: ClusterTime) -> [PairingDecision] {
        if openUntil != nil, !isOpen(at: now) { openUntil = nil }
        while let oldest = decisionOrder.first, (decisions[oldest]?.at ?? .zero) + PairingQueue.waitMilliseconds <= now {
            forgetOldestDecision()
        }
        let expired = waiting.filter { $0.obligation == nil && $0.receivedAt + PairingQueue.waitMilliseconds <= now }
        return expired.compactMap { decide($0.submission.reqid, .expired, serial: nil, at: now) }
    }

    private mutating func forgetOldestDecision() {
        guard let oldest = decisionOrder.first else { return }
        decisions[oldest] = nil
        decisionOrder.removeFirst()
    }

    /// When the session ends or a request expires. That a decision is forgotten is nothing to wake up for: it happens with the next entry.
    var nextExpiry: ClusterTime? {
        var next = openUntil == PairingQueue.untilClosed ? nil : openUntil
        for pairing in waiting where pairing.obligation == nil {
            let expiry = pairing.receivedAt + PairingQueue.waitMilliseconds
            next = next.map { min($0, expiry) } ?? expiry
        }
        return next
    }
}
