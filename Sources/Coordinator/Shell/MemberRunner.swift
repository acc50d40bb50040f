// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The member made real: one value on one event loop. For each event the runner takes the event, then reads the clock, then steps the
// member, then runs what came out, each effect through its gate. Nothing here waits, blocks or decides anything.
// What effects mean is elsewhere: JournalThread, PeerLinks, Signer. What callers see of the member is in MemberRunner+Front.swift.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import NIOCore
import PKI
import Synchronization
import Transport
import Wire

/// Where the runner hands messages to other members. Called on the peer loop.
package protocol PeerSending: Sendable {
    func send(_ message: PeerMessage, to member: MemberID)
    /// How many other members this one can send to now.
    var linkedCount: Int { get }
}

/// Where the runner hands calls to agents.
package protocol AgentCalling: Sendable {
    /// `done` is called once, on any thread.
    func call(_ call: AgentCall, done: @escaping @Sendable (AgentTaskAnswer) -> Void)
}

package final class MemberRunner: Sendable {
    /// What is made real by others.
    package struct Hands: Sendable {
        package var journal: any JournalWriting
        package var peers: any PeerSending
        package var signer: any Signing
        package var agents: any AgentCalling
        /// What follows of files; called on the peer loop.
        package var project: @Sendable (ProjectionChange) -> Void
        /// Who the members are, and whether that is all that is committed; called on the peer loop when it changes.
        package var members: @Sendable (DispatcherState, _ isCurrent: Bool) -> Void
        /// This member was removed, since that entry; called on the peer loop, at most once.
        package var leave: @Sendable (LogIndex) -> Void
        package var log: @Sendable (LogRecord) -> Void
        package var snapshots: any SnapshotKeeping
        /// The process is to end; called on the peer loop, at most once.
        package var stop: @Sendable (StopReason) -> Void
        package init(
            journal: any JournalWriting, peers: any PeerSending, signer: any Signing, agents: any AgentCalling,
            project: @escaping @Sendable (ProjectionChange) -> Void = { _ in },
            members: @escaping @Sendable (DispatcherState, Bool) -> Void = { _, _ in },
            leave: @escaping @Sendable (LogIndex) -> Void = { _ in }, log: @escaping @Sendable (LogRecord) -> Void,
            snapshots: any SnapshotKeeping,
            stop: @escaping @Sendable (StopReason) -> Void
        ) {
            self.journal = journal
            self.peers = peers
            self.signer = signer
            self.agents = agents
            self.project = project
            self.members = members
            self.leave = leave
            self.log = log
            self.snapshots = snapshots
            self.stop = stop
        }
    }

    /// Callers that wait at one time; more are answered `overloaded` at once.
    package static let callersLimit = 4096
    /// A timer that fires so late explains a lost lease.
    private static let latenessWorthSaying = TimeSpan.milliseconds(100)
    private static let shortestTimer = TimeSpan.milliseconds(1)

    package let loop: any EventLoop
    package let id: MemberID
    package let vault: KeyVault
    /// Brought up to date after every step.
    package let revocations = RevocationList()
    private let now: @Sendable () -> Moment
    private let seat: NIOLoopBoundBox<Seat>
    private let lastTicket = Atomic<UInt64>(0)

    /// - Parameter now: reads the boot clock and the wall clock.
    package init(
        _ member: Member, id: MemberID, loop: any EventLoop, vault: KeyVault, now: @escaping @Sendable () -> Moment
    ) {
        self.id = id
        self.loop = loop
        self.vault = vault
        self.now = now
        seat = NIOLoopBoundBox.makeBoxSendingValue(Seat(member), eventLoop: loop)
    }

    /// Nothing happens before: no event is taken, no timer runs. Events that came earlier are taken now.
    package func start(with hands: Hands) {
        onLoop { seat in
            seat.hands = hands
            self.take(.tick, seat)
        }
    }

    /// Whatever happens to the member enters here.
    package func deliver(_ event: Event) { onLoop { self.take(event, $0) } }

    package func ticket() -> Ticket { Ticket(lastTicket.add(1, ordering: .relaxed).newValue) }

    /// Between two attempts to write on a disk that had no space.
    private static let spaceInterval = TimeAmount.milliseconds(500)

    /// Runs with the member's seat; at once if this is the peer loop.
    func onLoop(_ body: @escaping @Sendable (Seat) -> Void) {
        if loop.inEventLoop { return body(seat.value) }
        loop.execute { body(self.seat.value) }
    }

    /// On the peer loop only.
    var seatOnLoop: Seat { seat.value }

    /// The clock, read now.
    func moment() -> Moment { now() }

    // MARK: One event after the other

    private func take(_ event: Event, _ seat: Seat) {
        seat.inbox.append(event)
        // An effect that ran may have brought an event of its own: it waits its turn behind this step.
        guard !seat.isStepping, let hands = seat.hands, !seat.isStopped else { return }
        seat.isStepping = true
        while !seat.isStopped, let event = seat.inbox.popFirst() { step(event, seat, hands) }
        seat.isStepping = false
        schedule(seat)
        settle(seat)
    }

    private func step(_ event: Event, _ seat: Seat, _ hands: Hands) {
        // What waited for this write was decided earlier and goes out first.
        if case .wrote(let write) = event {
            for effect in seat.gate.wrote(write) { run(effect, seat, hands) }
        }
        if case .diskFull = event { loop.scheduleTask(in: Self.spaceInterval) { hands.journal.retry() } }
        var effects = seat.spareEffects
        seat.spareEffects = []
        // Read after the event's bytes are here: an instant never is older than what it is handed in with.
        seat.member.handle(event, at: now(), into: &effects)
        for effect in effects {
            if let open = seat.gate.admit(effect) { run(open, seat, hands) }
        }
        effects.removeAll(keepingCapacity: true)
        seat.spareEffects = effects
    }

    /// The effect's gate is open.
    private func run(_ effect: Effect, _ seat: Seat, _ hands: Hands) {
        guard !seat.isStopped else { return }
        if let notAfter = effect.notAfter, now().instant > notAfter {
            // The lease that allowed it is over. Whoever waits for it hears of that.
            switch effect.action {
            case .sign(let job): seat.inbox.append(.signed(job.obligation.id, job.obligation.serial, .failure(.dropped)))
            case .call(let call): seat.inbox.append(.agentAnswered(call: call.number, AgentTaskAnswer(.dropped)))
            case .reply(_, let ticket):
                seat.callers.removeValue(forKey: ticket)?.answer(Performed(reply: .notReadable, state: seat.member.state))
            case .write, .send, .hold, .announce, .project, .log, .leave, .takeSnapshot, .fetchSnapshot, .stop: break
            }
            return
        }
        switch effect.action {
        case .write(let write, let id): hands.journal.append(write, id)
        case .send(let message, let member): hands.peers.send(message, to: member)
        case .reply(let reply, let ticket):
            seat.callers.removeValue(forKey: ticket)?.answer(Performed(reply: reply, state: seat.member.state))
        case .sign(let job):
            hands.signer.sign(job) { result in
                self.deliver(.signed(job.obligation.id, job.obligation.serial, result))
            }
        case .hold(let identity):
            hands.signer.hold(identity) { problem in
                guard let problem else { return self.deliver(.holding(identity.serial)) }
                hands.log(LogRecord(.error, "identity-unusable", [("SERIAL", identity.serial.hexadecimal), ("ERROR", problem)]))
            }
        case .call(let call):
            hands.agents.call(call) { self.deliver(.agentAnswered(call: call.number, $0)) }
        case .announce(let decision): seat.decisions.announce(decision)
        case .project(let change): hands.project(change)
        case .log(let record): hands.log(record)
        case .takeSnapshot(let base, let state): hands.snapshots.take(base, state) { self.deliver($0) }
        case .fetchSnapshot(let place, let member): hands.snapshots.fetch(place, from: member) { self.deliver($0) }
        case .leave(let index): hands.leave(index)
        case .stop(let reason):
            seat.isStopped = true
            hands.stop(reason)
        }
    }

    /// A tick that comes early is harmless, so a timer that is early enough stays as it is.
    private func schedule(_ seat: Seat) {
        let due = seat.member.nextDeadline
        if let timer = seat.timer, timer.due <= due { return }
        seat.timer?.scheduled.cancel()
        // Never at once: a loop that only runs timers reads no sockets, and nothing would ever change what is due.
        let span = max(due.since(now().instant), Self.shortestTimer)
        let planned = now().instant + span
        let scheduled = loop.scheduleTask(in: .nanoseconds(Int64(min(span.nanoseconds, 3_600_000_000_000)))) {
            let seat = self.seat.value
            seat.timer = nil
            let late = self.now().instant.since(planned)
            if late >= Self.latenessWorthSaying {
                // Promises and leases are shorter than what this machine, or its disk, let the loop wait.
                seat.hands?.log(LogRecord(.warning, "loop-late", [("MILLISECONDS", "\(late.milliseconds)")]))
            }
            self.take(.tick, seat)
        }
        seat.timer = (due, scheduled)
    }

    /// After a step: what others see of the member is brought up to date.
    private func settle(_ seat: Seat) {
        let applied = seat.member.state.appliedIndex
        if applied != seat.publishedIndex {
            seat.publishedIndex = applied
            vault.publish(seat.member.state.identities)
            let revoked = seat.member.state.revocationIndex
            if revoked > seat.revokedIndex {
                seat.revokedIndex = revoked
                revocations.replace(with: seat.member.state.revocations.map(\.serial))
            }
        }
        let state = seat.member.state
        let isCurrent = seat.member.hasCaughtUp
        if state.membershipIndex != seat.membershipIndex || isCurrent != seat.membersAreCurrent {
            seat.membershipIndex = state.membershipIndex
            seat.membersAreCurrent = isCurrent
            seat.hands?.members(state, isCurrent)
        }
        if !seat.awaitingHandover.isEmpty, seat.member.hasDrained {
            let waiting = seat.awaitingHandover
            seat.awaitingHandover = []
            for continuation in waiting { continuation.resume() }
        }
    }
}

/// What only the peer loop touches.
final class Seat {
    var member: Member
    var hands: MemberRunner.Hands?
    var gate = EffectGate()
    var inbox = CircularBuffer<Event>()
    var isStepping = false
    var isStopped = false
    var timer: (due: Instant, scheduled: Scheduled<Void>)?
    var callers: [Ticket: Caller] = [:]
    var decisions = DecisionBoard()
    var awaitingHandover: [CheckedContinuation<Void, Never>] = []
    /// The index at which what is published outside of the loop was taken.
    var publishedIndex: LogIndex?
    var revokedIndex = LogIndex.zero
    /// Who the members are, as the shell was last told.
    var membershipIndex = LogIndex.zero
    var membersAreCurrent = false
    /// Kept for its capacity.
    var spareEffects: [Effect] = []

    init(_ member: Member) { self.member = member }
}
