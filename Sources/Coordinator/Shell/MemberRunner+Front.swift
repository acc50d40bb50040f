// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the ports see of the member: tickets become continuations, a cancelled task gives its ticket back.
// Promises: every caller is answered once; no more than `callersLimit` wait; reply and state are of one step.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import NIOCore
import PKI
import Synchronization
import Transport
import Wire

extension MemberRunner: MemberFront {
    package func perform(
        _ operation: ExclusiveOperation, request: RequestID?, principal: Principal, timeout: TimeSpan
    ) async -> Performed {
        await call { ticket, now in
            .request(operation, request, from: principal, deadline: now + min(timeout, .seconds(60)), ticket)
        }
    }

    package func read(_ consistency: ReadConsistency, timeout: TimeSpan) async -> DispatcherState? {
        let performed = await call { ticket, now in .read(consistency, deadline: now + min(timeout, .seconds(60)), ticket) }
        if case .readable = performed.reply { return performed.state }
        return nil
    }

    package func appliedState() async -> DispatcherState { await look { seat, _ in seat.member.state } }

    package func reports(timeout: TimeSpan) async -> [MemberReport] {
        let performed = await call { ticket, now in .reports(deadline: now + min(timeout, .seconds(60)), ticket) }
        if case .reports(let reports) = performed.reply { return reports }
        return [await look { [self] seat, _ in seat.member.report(at: moment()) }]
    }

    package func glance() async -> MemberGlance {
        let id = id
        return await look { seat, now in
            MemberGlance(
                member: id, leader: seat.member.raft.leader, term: seat.member.raft.term, holdsLease: seat.member.holdsLease(at: now),
                isReady: seat.member.isReady(at: now),
                leaderContactMilliseconds: seat.member.raft.lastLeaderContact.map { now.since($0).milliseconds })
        }
    }

    package func decision(of reqid: Reqid) async -> PairingDecision? {
        let ticket = ticket()
        let wait = DecisionWait()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                onLoop { seat in
                    if wait.isCancelled { return continuation.resume(returning: nil) }
                    seat.decisions.wait(for: reqid, ticket, continuation)
                }
            }
        } onCancel: {
            wait.cancel()
            onLoop { $0.decisions.giveUp(ticket) }
        }
    }

    package func sealedClusterKey(to publicKey: [UInt8]) throws -> SealedClusterKey { try vault.sealedClusterKey(to: publicKey) }

    package func dispatcherIdentity(_ serial: SerialNumber) throws -> TLSIdentity { try vault.identity(serial) }

    /// Returns once this member leads nothing any more, at the latest after `limit`.
    package func handOver(atMost limit: TimeSpan) async {
        await withCheckedContinuation { continuation in
            onLoop { seat in
                // Also to a member that does not lead: it must not be handed, or win, what it would take with it.
                self.deliver(.drain)
                guard !seat.member.hasDrained, !seat.isStopped else { return continuation.resume() }
                seat.awaitingHandover.append(continuation)
                self.loop.scheduleTask(in: .nanoseconds(Int64(limit.nanoseconds))) {
                    self.onLoop { seat in
                        let waiting = seat.awaitingHandover
                        seat.awaitingHandover = []
                        for continuation in waiting { continuation.resume() }
                    }
                }
            }
        }
    }

    /// `leader, term 7, 3/3 members`: for the service manager. On the peer loop only.
    package func statusLine() -> String {
        let seat = seatOnLoop
        let raft = seat.member.raft
        let role =
            switch raft.role {
            case .leader: "leader"
            case .follower: raft.leader.map { "follower of \($0)" } ?? "follower, no leader known"
            case .candidate, .preCandidate: "candidate"
            }
        let linked = 1 + (seat.hands?.peers.linkedCount ?? 0)
        return "\(role), term \(raft.term), \(linked)/\(raft.configuration.members.count) members"
    }

    /// One look at the member, with the clock read on the loop.
    private func look<Value: Sendable>(_ body: @escaping @Sendable (Seat, Instant) -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            onLoop { seat in continuation.resume(returning: body(seat, self.moment().instant)) }
        }
    }

    private func call(_ event: @escaping @Sendable (Ticket, Instant) -> Event) async -> Performed {
        let ticket = ticket()
        let caller = Caller()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                onLoop { seat in
                    guard !caller.isCancelled else {
                        return continuation.resume(returning: Performed(reply: .notReadable, state: seat.member.state))
                    }
                    guard seat.callers.count < Self.callersLimit, !seat.isStopped else {
                        return continuation.resume(returning: Performed(reply: .overloaded, state: seat.member.state))
                    }
                    caller.waits(with: continuation)
                    seat.callers[ticket] = caller
                    self.deliver(event(ticket, self.moment().instant))
                }
            }
        } onCancel: {
            caller.cancel()
            onLoop { seat in
                guard let caller = seat.callers.removeValue(forKey: ticket) else { return }
                // Nobody looks at it: the task is cancelled.
                caller.answer(Performed(reply: .notReadable, state: seat.member.state))
                self.deliver(.callerGone(ticket))
            }
        }
    }
}

/// A caller who waits. The flag is set by whichever thread cancels; the continuation belongs to the peer loop.
final class Caller: Sendable {
    private let cancelled = Atomic<Bool>(false)
    private let continuation = Mutex<CheckedContinuation<Performed, Never>?>(nil)

    var isCancelled: Bool { cancelled.load(ordering: .acquiring) }
    func cancel() { cancelled.store(true, ordering: .releasing) }
    func waits(with waiting: CheckedContinuation<Performed, Never>) { continuation.withLock { $0 = waiting } }
    func answer(_ performed: Performed) {
        let waiting = continuation.withLock { continuation in
            defer { continuation = nil }
            return continuation
        }
        waiting?.resume(returning: performed)
    }
}

private final class DecisionWait: Sendable {
    private let cancelled = Atomic<Bool>(false)
    var isCancelled: Bool { cancelled.load(ordering: .acquiring) }
    func cancel() { cancelled.store(true, ordering: .releasing) }
}

/// Decisions of pairings, and those who wait for one. A decision that comes before anybody asks is kept for a while.
struct DecisionBoard {
    static let keptLimit = 1024

    private var waiting: [Ticket: (reqid: Reqid, continuation: CheckedContinuation<PairingDecision?, Never>)] = [:]
    private var kept: [Reqid: PairingDecision] = [:]
    private var order = CircularBuffer<Reqid>()

    mutating func announce(_ decision: PairingDecision) {
        if kept.updateValue(decision, forKey: decision.reqid) == nil { order.append(decision.reqid) }
        if order.count > Self.keptLimit, let oldest = order.popFirst() { kept[oldest] = nil }
        for (ticket, wait) in waiting where wait.reqid == decision.reqid {
            waiting[ticket] = nil
            wait.continuation.resume(returning: decision)
        }
    }

    mutating func wait(for reqid: Reqid, _ ticket: Ticket, _ continuation: CheckedContinuation<PairingDecision?, Never>) {
        if let decision = kept[reqid] { return continuation.resume(returning: decision) }
        waiting[ticket] = (reqid, continuation)
    }

    mutating func giveUp(_ ticket: Ticket) { waiting.removeValue(forKey: ticket)?.continuation.resume(returning: nil) }
}
