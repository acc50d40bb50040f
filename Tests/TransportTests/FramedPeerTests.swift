// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Frames between members: who may connect, what arrives, what is dropped.

import NIOCore
import NIOPosix
import PKI
import Testing

@testable import Transport

/// What happened, in order, as text; and the connections.
private final class Witness: Sendable {
    enum Happening: Sendable {
        case connected(FramedConnection), frame(FramedConnection, String), closed(String), failed(String)
    }
    let happenings: AsyncStream<Happening>
    let events: FramedPeerEvents

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Happening.self)
        happenings = stream
        events = FramedPeerEvents(
            onConnect: { continuation.yield(.connected($0)) },
            onFrame: { continuation.yield(.frame($0, String(buffer: $1))) },
            onClose: { continuation.yield(.closed($1)) },
            onFailure: { continuation.yield(.failed($1)) })
    }

    func connection() async throws -> FramedConnection {
        for await happening in happenings {
            guard case .connected(let connection) = happening else { throw Unexpected(what: "\(happening)") }
            return connection
        }
        throw Unexpected(what: "nothing")
    }
    func frame() async throws -> String {
        for await happening in happenings {
            guard case .frame(_, let text) = happening else { throw Unexpected(what: "\(happening)") }
            return text
        }
        throw Unexpected(what: "nothing")
    }
    func closed() async throws -> String {
        for await happening in happenings {
            guard case .closed(let reason) = happening else { throw Unexpected(what: "\(happening)") }
            return reason
        }
        throw Unexpected(what: "nothing")
    }
    func failed() async throws -> String {
        for await happening in happenings {
            guard case .failed(let reason) = happening else { throw Unexpected(what: "\(happening)") }
            return reason
        }
        throw Unexpected(what: "nothing")
    }
}

private struct Unexpected: Error { let what: String }

extension FramedConnection {
    /// Sends from outside of the loop.
    fileprivate func sendFrame(_ text: String) async throws -> Bool {
        try await eventLoop.submit { self.send(ByteBuffer(string: text)) }.get()
    }
}

@Suite("Framed peers", .timeLimit(.minutes(1))) struct FramedPeerTests {
    let fleet: Fleet
    let loop = group.next()
    init() throws { fleet = try Fleet() }

    private func listen(_ witness: Witness, policy: TrustPolicy? = nil, limits: FramedPeerLimits = FramedPeerLimits()) async throws
        -> FramedPeerListener
    {
        let server = TLSServer(identity: try fleet.member("a"), clients: .required(policy ?? fleet.members()))
        return try await .start(
            at: .tcp(host: "127.0.0.1", port: 0), tls: { server }, limits: limits, on: loop, events: witness.events)
    }

    private func dial(
        _ listener: FramedPeerListener, as identity: TLSIdentity?, trusting policy: TrustPolicy? = nil, _ witness: Witness,
        limits: FramedPeerLimits = FramedPeerLimits()
    ) {
        FramedPeerDialer.dial(
            host: "127.0.0.1", port: listener.port ?? -1, from: "127.0.0.3",
            tls: TLSClient(identity: identity, policy: policy ?? fleet.members(id: "a")),
            limits: limits, on: loop, events: witness.events)
    }

    @Test("frames go both ways, in order, from the address that was asked for, and the end is told")
    func exchanges() async throws {
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(there)
        dial(listener, as: try fleet.member("b"), here)
        let dialled = try await here.connection()
        let accepted = try await there.connection()
        #expect(dialled.peer.role == .member(cluster: "c1", id: "a"))
        #expect(accepted.peer.role == .member(cluster: "c1", id: "b"))
        #expect(accepted.peer.remoteAddress.ip == "127.0.0.3")
        let large = String(repeating: "x", count: 1 << 20)
        for text in ["one", "", large, "two"] { #expect(try await dialled.sendFrame(text)) }
        for text in ["one", "", large, "two"] { #expect(try await there.frame() == text) }
        #expect(try await accepted.sendFrame("back"))
        #expect(try await here.frame() == "back")
        dialled.close()
        #expect(try await there.closed() == "the peer closed the connection")
        _ = try await here.closed()
        await listener.stop()
    }

    @Test("an operator, an agent, a foreign member and nobody do not get in")
    func refuses() async throws {
        for identity in [try fleet.operatorIdentity(), try fleet.agent(), try Fleet().member("b"), nil] {
            let (there, here) = (Witness(), Witness())
            let listener = try await listen(there)
            dial(listener, as: identity, here)
            _ = try await there.failed()
            await listener.stop()
        }
    }

    @Test("a dialler refuses a member that is not the one it meant, and hears when nobody is there")
    func refusesServer() async throws {
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(there)
        dial(listener, as: try fleet.member("b"), trusting: fleet.members(id: "c"), here)
        #expect(try await here.failed().contains("is not member c of this cluster"))
        _ = try await there.failed()
        await listener.stop()
        dial(listener, as: try fleet.member("b"), here)
        _ = try await here.failed()
    }

    @Test("a session ticket brings nobody back")
    func doesNotResume() async throws {
        let scratch = try Scratch()
        let there = Witness()
        let listener = try await listen(there)
        try scratch.write(try fleet.member("b"))
        let port = try #require(listener.port)
        // A frame of no bytes; the command ends when the connection does.
        let command = ["s_client", "-connect", "127.0.0.1:\(port)", "-tls1_3", "-cert", "c.crt", "-key", "c.key", "-ign_eof"]
        async let first = scratch.openssl(command + ["-sess_out", "session"], input: "\0\0\0\u{3}abc")
        let connection = try await there.connection()
        #expect(try await there.frame() == "abc")
        connection.close()
        _ = try await first
        _ = try await there.closed()
        let second = try await scratch.openssl(
            ["s_client", "-connect", "127.0.0.1:\(port)", "-tls1_3", "-sess_in", "session", "-ign_eof"], input: "\0\0\0\u{3}abc")
        #expect(!second.contains("\nReused"), "\(second)")
        #expect(try await there.failed().contains("peer did not return a certificate"))
        await listener.stop()
    }

    /// Connections that say nothing, held until the test is over.
    private func silent(_ count: Int, _ listener: FramedPeerListener) async throws -> [any Channel] {
        var channels: [any Channel] = []
        for _ in 0..<count {
            channels.append(try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: listener.port ?? -1).get())
        }
        return channels
    }

    @Test("one address may have a few unfinished handshakes, and keeps no member out with them")
    func boundsHandshakes() async throws {
        var limits = FramedPeerLimits()
        limits.handshakesPerAddress = 2
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(there, limits: limits)
        let held = try await silent(3, listener)
        #expect(try await there.failed().contains("too many unfinished handshakes"))
        dial(listener, as: try fleet.member("b"), here)
        let connection = try await here.connection()
        _ = try await there.connection()
        for channel in held { channel.close(promise: nil) }
        connection.close()
        await listener.stop()
    }

    @Test("when too many handshakes are unfinished, the oldest makes place for a member")
    func oldestMakesPlace() async throws {
        var limits = FramedPeerLimits()
        limits.handshakes = 2
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(there, limits: limits)
        let held = try await silent(2, listener)
        dial(listener, as: try fleet.member("b"), here)
        let connection = try await here.connection()
        _ = try await there.connection()
        try await held[0].closeFuture.get()
        held[1].close(promise: nil)
        connection.close()
        await listener.stop()
    }

    @Test("checked peers have a bound of their own")
    func boundsPeers() async throws {
        var limits = FramedPeerLimits()
        limits.connections = 1
        let (there, first, second) = (Witness(), Witness(), Witness())
        let listener = try await listen(there, limits: limits)
        dial(listener, as: try fleet.member("b"), first)
        let connection = try await first.connection()
        _ = try await there.connection()
        dial(listener, as: try fleet.member("c"), second)
        #expect(try await there.failed() == "too many connections")
        connection.close()
        await listener.stop()
    }

    @Test("a member that is removed while connected is not heard any more")
    func removed() async throws {
        let removed = Box(false)
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(
            there, policy: .members(of: "c1", roots: [fleet.clusterCA.certificate], now: testTime, alsoRequiring: { _ in !removed.value }))
        dial(listener, as: try fleet.member("b"), here)
        let dialled = try await here.connection()
        _ = try await there.connection()
        #expect(try await dialled.sendFrame("one"))
        #expect(try await there.frame() == "one")
        removed.value = true
        #expect(try await dialled.sendFrame("two"))
        #expect(try await there.closed().contains("is not a member of this cluster"))
        _ = try await here.closed()
        await listener.stop()
    }

    @Test("a frame over the limit is not sent, and one that comes ends the connection")
    func limitsFrames() async throws {
        var small = FramedPeerLimits()
        small.frameBytes = 10
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(there, limits: small)
        dial(listener, as: try fleet.member("b"), here)
        let dialled = try await here.connection()
        let accepted = try await there.connection()
        #expect(try await !accepted.sendFrame("01234567890"))
        #expect(try await dialled.sendFrame("01234567890"))
        #expect(try await there.closed().contains("a frame of 11 bytes is over the limit of 10"))
        await listener.stop()
    }

    @Test("what does not leave is bounded: a frame over the bound is dropped and said to be")
    func boundsPending() async throws {
        var limits = FramedPeerLimits()
        limits.pendingBytes = 100
        let (there, here) = (Witness(), Witness())
        let listener = try await listen(there)
        dial(listener, as: try fleet.member("b"), here, limits: limits)
        let dialled = try await here.connection()
        _ = try await there.connection()
        let frame = ByteBuffer(string: String(repeating: "x", count: 46))
        let sent = try await loop.submit {
            // Nothing is flushed, so nothing leaves.
            let sent = (0..<3).map { _ in dialled.send(frame, flush: false) }
            #expect(dialled.pendingBytes == 100)
            dialled.flush()
            return sent
        }.get()
        #expect(sent == [true, true, false])
        #expect(try await there.frame().utf8.count == 46)
        #expect(try await there.frame().utf8.count == 46)
        #expect(try await loop.submit { dialled.pendingBytes }.get() == 0)
        #expect(try await dialled.sendFrame("and on"))
        #expect(try await there.frame() == "and on")
        dialled.close()
        await listener.stop()
    }
}
