// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The asking side of bulk connections: to each other member one, dialled when it is needed and closed when it was not for a while, beside
// the connection of the heartbeats and on a loop of its own. A transfer asks for one part after the other; if the connection is lost in
// between, it is taken up once more where it was, should the bytes still be the same.

import Consensus
import CtrlExec
import NIOCore
import Platform
import Synchronization
import Transport
import Wire

package enum BulkFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// Nothing was heard of the member.
    case unreachable(String)
    case timedOut
    /// The connection was lost.
    case lost(String)
    /// What the member says; it has the thing, or had it.
    case refused(String)
    case tooLarge(size: UInt64, limit: Int)
    case cancelled

    package var description: String {
        switch self {
        case .unreachable(let reason): "not reached: \(reason)"
        case .timedOut: "no answer in time"
        case .lost(let reason): "the connection was lost: \(reason)"
        case .refused(let reason): reason
        case .tooLarge(let size, let limit): "it has \(size) bytes; at most \(limit) are taken"
        case .cancelled: "given up"
        }
    }
}

package final class BulkLinks: Sendable {
    /// Transfers from one member at one time; more wait. Below what the other side serves.
    private static let transfersLimit = 8
    /// How long a connection that nobody uses is kept.
    private static let idleTime = TimeAmount.seconds(30)

    private static let limits: FramedPeerLimits = {
        var limits = FramedPeerLimits()
        limits.frameBytes = WireLimit.frame
        limits.connectTimeout = .seconds(2)
        limits.handshakeTimeout = .seconds(3)
        return limits
    }()

    private let greeting: PeerGreeting
    private let dialFrom: String?
    private let loop: any EventLoop
    private let links: NIOLoopBoundBox<[MemberID: Link]>
    private let slots: Mutex<[MemberID: Slots]>
    private let lastTransfer = Atomic<UInt64>(0)

    package init(greeting: PeerGreeting, others: [PeerLinks.Other], dialFrom: String?, loop: any EventLoop) {
        self.greeting = greeting
        self.dialFrom = dialFrom
        self.loop = loop
        links = NIOLoopBoundBox.makeBoxSendingValue(
            Dictionary(uniqueKeysWithValues: others.map { ($0.id, Link($0)) }), eventLoop: loop)
        slots = Mutex(Dictionary(uniqueKeysWithValues: others.map { ($0.id, Slots(limit: Self.transfersLimit)) }))
    }

    /// To these and to nobody else, from now on.
    package func follow(_ others: [PeerLinks.Other]) {
        slots.withLock { slots in
            for other in others where slots[other.id] == nil { slots[other.id] = Slots(limit: Self.transfersLimit) }
            for id in slots.keys where !others.contains(where: { $0.id == id }) { slots[id] = nil }
        }
        loop.execute {
            for other in others {
                guard let link = self.links.value[other.id] else {
                    self.links.value[other.id] = Link(other)
                    continue
                }
                if link.other.address != other.address {
                    link.other = other
                    link.connection?.close()
                }
            }
            for (id, link) in self.links.value where !others.contains(where: { $0.id == id }) {
                self.links.value[id] = nil
                link.isClosed = true
                link.connection?.close()
                self.fail(link, .unreachable("member \(id) was removed"))
            }
        }
    }

    /// The members that can be asked; sorted.
    package var others: [MemberID] { slots.withLock { $0.keys.sorted() } }

    /// Asks a member for all of it.
    ///
    /// - Parameters:
    ///   - limit: more bytes are refused before one of them is asked for.
    ///   - patience: for the whole of it.
    ///   - resumptions: how often it is taken up again where it was after a lost connection, at growing intervals.
    /// - Returns: nil if the member says that it has no such thing.
    package func fetch(
        _ resource: BulkResource, from member: MemberID, limit: Int, patience: Duration, resumptions: Int = 1
    ) async throws(BulkFailure) -> [UInt8]? {
        guard let slots = slots.withLock({ $0[member] }) else { throw .unreachable("there is no member \(member)") }
        let deadline = ContinuousClock.now.advanced(by: patience)
        guard await slots.take(patience: patience) else { throw Task.isCancelled ? .cancelled : .timedOut }
        defer { slots.give() }
        var fetched = Fetched()
        var resumed = 0
        while true {
            let before = fetched.bytes.count
            do throws(BulkFailure) {
                return try await fetch(resource, from: member, limit: limit, deadline: deadline, into: &fetched)
            } catch {
                switch error {
                case .lost: break
                // It was reached once, so it may be again.
                case .unreachable where resumed > 0: break
                default: throw error
                }
                if fetched.bytes.count > before { resumed = min(resumed, 1) }
                guard resumed < resumptions else { throw error }
                resumed += 1
                if resumed > 1 { await Self.rest(.milliseconds(100 << min(resumed, 5)), before: deadline) }
            }
        }
    }

    /// Ends early where the task is cancelled, of which the next question hears.
    private static func rest(_ span: Duration, before deadline: ContinuousClock.Instant) async {
        try? await Task.sleep(until: min(ContinuousClock.now.advanced(by: span), deadline), clock: .continuous)
    }

    /// Ends all connections and dials no more.
    package func close() async {
        // A loop that is gone has nothing to close.
        try? await loop.submit {
            for link in self.links.value.values {
                link.isClosed = true
                link.connection?.close()
            }
        }.get()
    }

    // MARK: One transfer

    /// What has come so far.
    private struct Fetched {
        var bytes: [UInt8] = []
        var tag: UInt64?
    }

    private func fetch(
        _ resource: BulkResource, from member: MemberID, limit: Int, deadline: ContinuousClock.Instant, into fetched: inout Fetched
    ) async throws(BulkFailure) -> [UInt8]? {
        let transfer = lastTransfer.add(1, ordering: .relaxed).newValue
        // Also for one that was given up before it was open: the other side counts what it holds.
        defer { tell(BulkMessage(transfer, .close), to: member) }
        let size: UInt64
        switch try await ask(BulkMessage(transfer, .open(resource)), of: member, deadline) {
        case .opened(let opened, let tag):
            size = opened
            if tag != fetched.tag { fetched = Fetched(tag: tag) }
        case .absent: return nil
        case .failed(let reason): throw .refused(reason)
        case .open, .read, .close, .bytes: throw .refused("it answered something else")
        }
        guard size <= UInt64(limit) else { throw .tooLarge(size: size, limit: limit) }
        while fetched.bytes.count < Int(size) {
            let offset = UInt64(fetched.bytes.count)
            let count = UInt32(min(UInt64(WireLimit.bulkBytes), size - offset))
            switch try await ask(BulkMessage(transfer, .read(offset: offset, count: count)), of: member, deadline) {
            case .bytes(offset, let part) where part.count == Int(count): fetched.bytes += part
            case .failed(let reason): throw .refused(reason)
            case .open, .read, .close, .opened, .absent, .bytes: throw .refused("it answered something else")
            }
        }
        return fetched.bytes
    }

    private typealias Answer = Result<BulkMessage.Kind, BulkFailure>

    private func ask(
        _ message: BulkMessage, of member: MemberID, _ deadline: ContinuousClock.Instant
    ) async throws(BulkFailure) -> BulkMessage.Kind {
        let left = ContinuousClock.now.duration(to: deadline).components
        let nanoseconds = left.seconds * 1_000_000_000 + left.attoseconds / 1_000_000_000
        guard nanoseconds > 0 else { throw .timedOut }
        let question = Question()
        let answer: Answer = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                loop.execute {
                    guard let link = self.links.value[member], !link.isClosed, !question.isCancelled else {
                        return continuation.resume(
                            returning: .failure(question.isCancelled ? .cancelled : .unreachable("this member ends")))
                    }
                    link.questions[message.transfer] = Waiting(
                        question: question, message: message, continuation: continuation,
                        timeout: self.loop.scheduleTask(in: .nanoseconds(nanoseconds)) {
                            guard let link = self.links.value[member] else { return }
                            self.settle(message.transfer, at: link, .failure(.timedOut))
                        })
                    self.send(message, over: link)
                }
            }
        } onCancel: {
            question.cancel()
            loop.execute {
                guard let link = self.links.value[member] else { return }
                if link.questions[message.transfer]?.question === question {
                    self.settle(message.transfer, at: link, .failure(.cancelled))
                }
            }
        }
        return try answer.get()
    }

    private func tell(_ message: BulkMessage, to member: MemberID) {
        loop.execute {
            guard let link = self.links.value[member], link.isUp else { return }
            link.connection?.send(ByteBuffer(bytes: message.encoded()))
        }
    }

    // MARK: Connections, on the loop

    private func send(_ message: BulkMessage, over link: Link) {
        guard link.isUp, let connection = link.connection else { return dial(link) }
        link.lastUse = .now()
        if !connection.send(ByteBuffer(bytes: message.encoded())) {
            settle(message.transfer, at: link, .failure(.lost("too much waits to be sent")))
        }
    }

    private func dial(_ link: Link) {
        guard !link.isDialling, link.connection == nil else { return }
        link.isDialling = true
        let id = link.other.id
        FramedPeerDialer.dial(
            host: link.other.address.host, port: link.other.address.port, from: dialFrom,
            tls: TLSClient(identity: greeting.credentials.identity, policy: greeting.policy(expecting: id)), limits: Self.limits, on: loop,
            events: FramedPeerEvents(
                onConnect: { connection in
                    guard let link = self.links.value[id], !link.isClosed else { return connection.close() }
                    link.isDialling = false
                    link.connection = connection
                    connection.send(self.greeting.hello(for: .bulk))
                }, onFrame: { self.received($1, on: $0, id) },
                onClose: { connection, reason in
                    guard let link = self.links.value[id], link.connection === connection else { return }
                    self.lost(link, link.problem ?? reason)
                },
                onFailure: { _, reason in
                    guard let link = self.links.value[id] else { return }
                    link.isDialling = false
                    self.fail(link, .unreachable(reason))
                }))
    }

    private func received(_ frame: ByteBuffer, on connection: FramedConnection, _ id: MemberID) {
        guard let link = links.value[id], link.connection === connection else { return }
        guard link.isUp else { return greeted(frame, on: connection, link) }
        do throws(WireFailure) {
            let message = try BulkMessage(decoding: Array(frame.readableBytesView))
            // Of one that was given up nothing is awaited any more.
            settle(message.transfer, at: link, .success(message.kind))
        } catch {
            link.problem = error.description
            connection.close()
        }
    }

    private func greeted(_ frame: ByteBuffer, on connection: FramedConnection, _ link: Link) {
        do throws(PeerGreeting.Refusal) {
            _ = try greeting.check(frame, of: connection, expecting: link.other.id)
        } catch {
            link.problem = error.description
            return connection.close()
        }
        link.isUp = true
        closeWhenIdle(link.other.id, connection)
        for waiting in link.questions.values { send(waiting.message, over: link) }
    }

    private func closeWhenIdle(_ id: MemberID, _ connection: FramedConnection) {
        loop.scheduleTask(in: Self.idleTime) {
            guard let link = self.links.value[id], link.connection === connection else { return }
            if link.questions.isEmpty, NIODeadline.now() - link.lastUse >= Self.idleTime { return connection.close() }
            self.closeWhenIdle(id, connection)
        }
    }

    private func lost(_ link: Link, _ reason: String) {
        let wasUp = link.isUp
        link.connection = nil
        link.isUp = false
        link.problem = nil
        fail(link, wasUp ? .lost(reason) : .unreachable(reason))
    }

    private func fail(_ link: Link, _ failure: BulkFailure) {
        for transfer in Array(link.questions.keys) { settle(transfer, at: link, .failure(failure)) }
    }

    private func settle(_ transfer: UInt64, at link: Link, _ answer: Answer) {
        guard let waiting = link.questions.removeValue(forKey: transfer) else { return }
        waiting.timeout.cancel()
        link.lastUse = .now()
        waiting.continuation.resume(returning: answer)
    }

    /// Names one question, so that who gives it up does not end the next.
    private final class Question: Sendable {
        private let cancelled = Atomic<Bool>(false)
        var isCancelled: Bool { cancelled.load(ordering: .acquiring) }
        func cancel() { cancelled.store(true, ordering: .releasing) }
    }

    private struct Waiting {
        let question: Question
        let message: BulkMessage
        let continuation: CheckedContinuation<Answer, Never>
        let timeout: Scheduled<Void>
    }

    private final class Link {
        var other: PeerLinks.Other
        var connection: FramedConnection?
        var isDialling = false
        /// The other side's hello was heard.
        var isUp = false
        var isClosed = false
        var problem: String?
        var lastUse = NIODeadline.now()
        /// By transfer, each of which asks one thing at a time.
        var questions: [UInt64: Waiting] = [:]
        init(_ other: PeerLinks.Other) { self.other = other }
    }
}
