// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The links to the other members on 7446. Each ordered pair has a connection of its own: a member sends on what it dialled and reads on
// what it accepted, so that a connection that only one side believes in costs one direction and heals by itself. Who may be there is
// PeerGreeting's business, and members come and go; a connection that was opened for bulk is handed to the BulkServer.
// Promises: everything happens on the peer loop; what cannot be sent now is dropped, for whoever said it says it again. What messages mean
// is the member's business.

import Consensus
import CoordinatorCore
import DispatcherState
import NIOCore
import PKI
import Transport
import Wire

package final class PeerLinks: PeerSending {
    package struct Other: Hashable, Sendable {
        package let id: MemberID
        package let address: HostPort
        package init(id: MemberID, address: HostPort) {
            self.id = id
            self.address = address
        }
    }

    /// What a member says of itself, and by what it knows the others.
    package struct Credentials: Sendable {
        package let hello: PeerHello
        package let identity: TLSIdentity
        package let clusterCA: Certificate
        package init(hello: PeerHello, identity: TLSIdentity, clusterCA: Certificate) {
            self.hello = hello
            self.identity = identity
            self.clusterCA = clusterCA
        }
    }

    private static let shortestPause = TimeAmount.milliseconds(20)
    private static let longestPause = TimeAmount.milliseconds(500)
    /// How long one that was removed is still spoken to: it is told.
    private static let farewell = TimeAmount.seconds(2)
    /// A link that lived shorter than this does not count as a success of dialling.
    private static let settled = TimeAmount.seconds(1)

    private static let limits: FramedPeerLimits = {
        var limits = FramedPeerLimits()
        limits.frameBytes = WireLimit.frame
        limits.connectTimeout = .seconds(1)
        limits.handshakeTimeout = .seconds(3)
        return limits
    }()

    private let greeting: PeerGreeting
    private let bulk: BulkServer?
    private let dialFrom: String?
    let loop: any EventLoop
    private let deliver: @Sendable (PeerMessage, MemberID) -> Void
    private let log: @Sendable (LogRecord) -> Void
    private let state: NIOLoopBoundBox<State>

    /// - Parameters:
    ///   - deliver: a message and who sent it; called on the loop.
    ///   - log: called on the loop.
    ///   - bulk: serves the others' bulk connections; nil: they are turned away.
    ///   - revocations: whoever is on it is neither let in nor dialled, and is not heard any more.
    ///   - directory: who may be at the other end; nil: `others`.
    package init(
        credentials: Credentials, others: [Other], dialFrom: String?, loop: any EventLoop, bulk: BulkServer? = nil,
        revocations: RevocationList = RevocationList(), directory: PeerDirectory? = nil,
        deliver: @escaping @Sendable (PeerMessage, MemberID) -> Void, log: @escaping @Sendable (LogRecord) -> Void
    ) {
        greeting = PeerGreeting(
            credentials, directory: directory ?? PeerDirectory(contacts: others.map(\.id)), revocations: revocations)
        self.bulk = bulk
        self.dialFrom = dialFrom
        self.loop = loop
        self.deliver = deliver
        self.log = log
        state = NIOLoopBoundBox.makeBoxSendingValue(State(others), eventLoop: loop)
        revocations.onChange { [weak self] in
            guard let self else { return }
            loop.execute { self.recheckPeers() }
        }
    }

    /// Accepts other members' connections. Throws `ListenFailure`.
    package func listen(at address: HostPort) async throws -> Int {
        try await listen(on: .tcp(host: address.host, port: address.port)) ?? address.port
    }

    /// The port that is bound.
    package func listen(on address: ListenAddress) async throws -> Int? {
        let identity = greeting.credentials.identity
        let policy = greeting.policy(expecting: nil)
        let listener = try await FramedPeerListener.start(
            at: address, tls: { TLSServer(identity: identity, clients: .required(policy)) },
            limits: Self.limits, on: loop,
            events: FramedPeerEvents(
                onConnect: { self.accepted($0) }, onFrame: { self.received($1, on: $0) }, onClose: { self.lost($0, reason: $1) },
                onFailure: { address, reason in self.reject(address, reason) }))
        try await loop.submit { self.state.value.listener = listener }.get()
        return listener.port
    }

    /// The way to what is large at the others.
    package func bulkLinks(to others: [Other], on loop: any EventLoop) -> BulkLinks {
        BulkLinks(greeting: greeting, others: others, dialFrom: dialFrom, loop: loop)
    }

    /// Links to these and to nobody else, from now on. On the loop.
    package func follow(_ others: [Other]) {
        let state = state.value
        guard !state.isClosed else { return }
        for other in others {
            if let link = state.outgoing[other.id] {
                link.endsAt = nil
                move(link, to: other.address)
            } else {
                let link = Outgoing(other)
                state.outgoing[other.id] = link
                if state.isStarted { dial(link) }
            }
        }
        for link in state.outgoing.values where link.endsAt == nil && !others.contains(where: { $0.id == link.other.id }) {
            let end = NIODeadline.now() + Self.farewell
            link.endsAt = end
            let id = link.other.id
            loop.scheduleTask(deadline: end) {
                guard let link = self.state.value.outgoing[id], link.endsAt == end else { return }
                self.end(link)
            }
        }
    }

    private func move(_ link: Outgoing, to address: HostPort) {
        guard link.other.address != address else { return }
        link.other = Other(id: link.other.id, address: address)
        link.problem = "its address is \(address) now"
        link.connection?.close()
    }

    private func end(_ link: Outgoing) {
        let state = state.value
        let id = link.other.id
        state.outgoing[id] = nil
        link.connection?.close()
        for (key, incoming) in state.incoming where incoming.member == id {
            state.incoming[key] = nil
            bulk?.lost(incoming.connection)
            incoming.connection.close()
        }
    }

    /// One that this member could not dial says where it is dialled: it moved, or is new.
    private func note(_ hello: PeerHello) {
        guard let address = HostPort(hello.address), address.port > 0 else { return }
        guard let link = state.value.outgoing[hello.member] else {
            let link = Outgoing(Other(id: hello.member, address: address))
            state.value.outgoing[hello.member] = link
            return dial(link)
        }
        if !link.isUp { move(link, to: address) }
    }

    /// Dials all others, and each again whenever its link is lost.
    package func start() {
        loop.execute {
            self.state.value.isStarted = true
            for link in self.state.value.outgoing.values { self.dial(link) }
        }
    }

    /// Ends all links and accepts no more.
    package func close() async {
        let listener = try? await loop.submit {  // a loop that is gone has nothing to close
            let state = self.state.value
            state.isClosed = true
            for link in state.outgoing.values { link.connection?.close() }
            for incoming in state.incoming.values { incoming.connection.close() }
            return state.listener
        }.get()
        await listener?.stop()
    }

    // MARK: Sending

    package func send(_ message: PeerMessage, to member: MemberID) {
        guard let link = state.value.outgoing[member], link.isUp, let connection = link.connection else { return }
        connection.send(ByteBuffer(bytes: message.encoded()))
    }

    package var linkedCount: Int { state.value.outgoing.values.count { $0.isUp } }

    // MARK: What was dialled

    private func dial(_ link: Outgoing) {
        guard !state.value.isClosed, !link.isDialling, link.connection == nil else { return }
        link.isDialling = true
        let id = link.other.id
        FramedPeerDialer.dial(
            host: link.other.address.host, port: link.other.address.port, from: dialFrom,
            tls: TLSClient(identity: greeting.credentials.identity, policy: greeting.policy(expecting: id)), limits: Self.limits, on: loop,
            events: FramedPeerEvents(
                onConnect: { self.dialled($0, id) }, onFrame: { self.answered($1, on: $0, id) },
                onClose: { self.down($0, id, reason: $1) },
                onFailure: { _, reason in
                    guard let link = self.state.value.outgoing[id] else { return }
                    link.isDialling = false
                    self.unreachable(link, reason)
                }))
    }

    private func dialled(_ connection: FramedConnection, _ id: MemberID) {
        guard let link = state.value.outgoing[id], !state.value.isClosed else { return connection.close() }
        link.isDialling = false
        link.connection = connection
        connection.send(greeting.hello(for: .control))
    }

    /// The other side's hello; it says nothing more on this connection.
    private func answered(_ frame: ByteBuffer, on connection: FramedConnection, _ id: MemberID) {
        guard let link = state.value.outgoing[id], link.connection === connection else { return }
        if link.isUp {
            link.problem = "it sent a frame on a connection on which it has nothing to say"
            return connection.close()
        }
        do throws(PeerGreeting.Refusal) {
            if let index = try greeting.check(frame, of: connection, expecting: id).removedAt {
                link.problem = "it says that this member was removed"
                connection.close()
                return deliver(.removed(at: index), id)
            }
        } catch {
            link.problem = error.description
            return connection.close()
        }
        link.isUp = true
        link.upSince = .now()
        link.lastProblem = nil
        log(LogRecord(.info, "peer-up", [("MEMBER", id.name), ("ADDRESS", "\(link.other.address)")]))
    }

    private func down(_ connection: FramedConnection, _ id: MemberID, reason: String) {
        guard let link = state.value.outgoing[id], link.connection === connection else { return }
        let wasUp = link.isUp
        let lived = link.upSince.map { .now() - $0 } ?? .zero
        let problem = link.problem ?? reason
        link.connection = nil
        link.isUp = false
        link.upSince = nil
        link.problem = nil
        if lived >= Self.settled { link.pause = Self.shortestPause }
        if wasUp, !state.value.isClosed {
            link.lastProblem = problem
            log(LogRecord(.warning, "peer-down", [("MEMBER", id.name), ("REASON", problem)]))
            dialLater(link)
        } else {
            unreachable(link, problem)
        }
    }

    /// Said once for each new reason, not at each attempt.
    private func unreachable(_ link: Outgoing, _ reason: String) {
        guard !state.value.isClosed else { return }
        if link.lastProblem == nil || link.lastProblem != reason {
            link.lastProblem = reason
            log(
                LogRecord(
                    .warning, "peer-unreachable",
                    [("MEMBER", link.other.id.name), ("ADDRESS", "\(link.other.address)"), ("REASON", reason)]))
        }
        dialLater(link)
    }

    private func dialLater(_ link: Outgoing) {
        // Between half and all of the pause, so that members that lost each other at the same time do not return in step.
        let nanoseconds = Int64.random(in: link.pause.nanoseconds / 2...link.pause.nanoseconds)
        link.pause = min(.nanoseconds(link.pause.nanoseconds * 2), Self.longestPause)
        let id = link.other.id
        loop.scheduleTask(in: .nanoseconds(nanoseconds)) {
            if let link = self.state.value.outgoing[id] { self.dial(link) }
        }
    }

    // MARK: What was accepted

    private func accepted(_ connection: FramedConnection) {
        guard !state.value.isClosed else { return connection.close() }
        if let index = greeting.removal(of: connection) {
            connection.send(greeting.hello(for: .control, removedAt: index))
            return connection.close()
        }
        state.value.incoming[ObjectIdentifier(connection)] = Incoming(connection: connection, member: nil)
        connection.send(greeting.hello(for: .control))
    }

    private func received(_ frame: ByteBuffer, on connection: FramedConnection) {
        let key = ObjectIdentifier(connection)
        guard let incoming = state.value.incoming[key] else { return }
        guard let member = incoming.member else { return greeted(frame, on: connection, key) }
        if incoming.link == .bulk {
            if let problem = bulk?.received(frame, on: connection) { refuse(connection, problem) }
            return
        }
        do throws(WireFailure) {
            deliver(try PeerMessage(decoding: Array(frame.readableBytesView)), member)
        } catch {
            refuse(connection, error.description)
        }
    }

    private func greeted(_ frame: ByteBuffer, on connection: FramedConnection, _ key: ObjectIdentifier) {
        let hello: PeerHello
        do throws(PeerGreeting.Refusal) {
            hello = try greeting.check(frame, of: connection, expecting: nil)
        } catch {
            return refuse(connection, error.description)
        }
        if hello.link == .bulk, bulk == nil { return refuse(connection, "this member serves no bulk connections") }
        // It would not have dialled again if the earlier connection were of use to it.
        for (earlier, incoming) in state.value.incoming where incoming.member == hello.member && incoming.link == hello.link {
            state.value.incoming[earlier] = nil
            bulk?.lost(incoming.connection)
            incoming.connection.close()
        }
        state.value.incoming[key] = Incoming(connection: connection, member: hello.member, link: hello.link)
        note(hello)
    }

    private func refuse(_ connection: FramedConnection, _ reason: String) {
        reject(connection.peer.remoteAddress, reason)
        state.value.incoming[ObjectIdentifier(connection)] = nil
        bulk?.lost(connection)
        connection.close()
    }

    /// Whoever can reach the port can be turned away as often as he likes, and must not fill the log with it.
    private func reject(_ address: RemoteAddress, _ reason: String) {
        guard let unsaid = state.value.rejections.mention(now: .now()) else { return }
        var fields = [("PEER", "\(address)"), ("REASON", reason)]
        if unsaid > 0 { fields.append(("NOT_LOGGED", "\(unsaid)")) }
        log(LogRecord(.warning, "peer-reject", fields))
    }

    private func lost(_ connection: FramedConnection, reason: String) {
        state.value.incoming[ObjectIdentifier(connection)] = nil
        bulk?.lost(connection)
    }

    /// Who was let in before its certificate was revoked.
    private func recheckPeers() {
        for incoming in state.value.incoming.values {
            do throws(PeerRefusal) { try incoming.connection.peer.recheck() } catch { refuse(incoming.connection, error.description) }
        }
        for link in state.value.outgoing.values {
            do throws(PeerRefusal) { try link.connection?.peer.recheck() } catch {
                link.problem = error.description
                link.connection?.close()
            }
        }
    }

    // MARK: State of the loop

    private final class Outgoing {
        var other: Other
        /// It was removed, and is spoken to until then.
        var endsAt: NIODeadline?
        var connection: FramedConnection?
        var isDialling = false
        /// The other side's hello was heard: it may be sent to.
        var isUp = false
        var upSince: NIODeadline?
        var pause = PeerLinks.shortestPause
        /// Why this side closes the connection.
        var problem: String?
        /// What the log has last said about it.
        var lastProblem: String?
        init(_ other: Other) { self.other = other }
    }

    private struct Incoming {
        let connection: FramedConnection
        /// Nil until its hello was heard.
        var member: MemberID?
        var link = PeerHello.Link.control
    }

    private final class State {
        var outgoing: [MemberID: Outgoing]
        var isStarted = false
        var incoming: [ObjectIdentifier: Incoming] = [:]
        var rejections = SparingMention()
        var listener: FramedPeerListener?
        var isClosed = false
        init(_ others: [Other]) {
            outgoing = Dictionary(uniqueKeysWithValues: others.map { ($0.id, Outgoing($0)) })
        }
    }
}

/// Says a few things at once, then one in a while, with the number of those that were left out.
struct SparingMention {
    private static let burst = 8
    private static let interval = TimeAmount.seconds(10)
    private var left = burst
    private var since: NIODeadline?
    private var unsaid = 0

    /// How many were left out before this one; nil: leave this one out too.
    mutating func mention(now: NIODeadline) -> Int? {
        if let since, left < Self.burst {
            let regained = (now - since).nanoseconds / Self.interval.nanoseconds
            if regained > 0 {
                left = min(Self.burst, left + Int(min(regained, Int64(Self.burst))))
                self.since = now
            }
        } else {
            since = now
        }
        guard left > 0 else {
            unsaid += 1
            return nil
        }
        left -= 1
        defer { unsaid = 0 }
        return unsaid
    }
}
