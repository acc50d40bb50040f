// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Links between members over real mutual TLS on loopback.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import FoundationEssentials
import NIOCore
import NIOPosix
import PKI
import Synchronization
import Testing
import Transport
import Wire

@testable import Coordinator

@Suite("Links between members", .timeLimit(.minutes(2)))
struct PeerLinksTests {
    /// One end: its links, and streams of what it hears and logs.
    private struct End {
        let links: PeerLinks
        let heard: AsyncStream<(PeerMessage, MemberID)>
        let logged: AsyncStream<LogRecord>
    }

    private func genesis(_ bundle: Bundle) throws -> GenesisState {
        try GenesisState(decoding: Array(#require(Data(base64Encoded: bundle.genesis))))
    }

    private func mint() throws -> [Bundle] {
        let dispatcher = try #require(DispatcherID("d"))
        return try ClusterInit.mint(
            members: ClusterInit.members("a=127.0.0.1:1,b=127.0.0.1:2"), dispatcherID: dispatcher,
            now: WallClock(secondsSince1970: 1_000_000_000))
    }

    private func end(
        _ bundle: Bundle, others: [PeerLinks.Other], saying name: String? = nil, incarnation: Incarnation? = nil,
        revocations: RevocationList = RevocationList(), directory: PeerDirectory? = nil, on loop: any EventLoop
    ) throws -> End {
        let state = try genesis(bundle)
        let (heard, heardContinuation) = AsyncStream.makeStream(of: (PeerMessage, MemberID).self)
        let (logged, logContinuation) = AsyncStream.makeStream(of: LogRecord.self)
        let member = try #require(MemberID(name ?? bundle.member))
        let links = PeerLinks(
            credentials: PeerLinks.Credentials(
                hello: PeerHello(cluster: state.cluster, incarnation: incarnation ?? state.incarnation, member: member),
                identity: try TLSIdentity(
                    chain: [Certificate(pem: Array(bundle.certificate.utf8))], key: PrivateKey(pem: Array(bundle.key.utf8))),
                clusterCA: try Certificate(der: state.clusterCA.certificate)),
            others: others, dialFrom: "127.0.0.9", loop: loop, revocations: revocations, directory: directory,
            deliver: { heardContinuation.yield(($0, $1)) },
            log: { logContinuation.yield($0) })
        return End(links: links, heard: heard, logged: logged)
    }

    private func wait(for action: String, in records: AsyncStream<LogRecord>) async -> LogRecord? {
        for await record in records where record.action == action { return record }
        return nil
    }

    private func other(_ name: String, port: Int) throws -> PeerLinks.Other {
        PeerLinks.Other(id: try #require(MemberID(name)), address: HostPort(host: "127.0.0.1", port: port))
    }

    private func reason(_ record: LogRecord?) -> String { record?.fields.first { $0.key == "REASON" }?.value ?? "" }

    @Test("What one member says the other hears, under its name; expired certificates are no obstacle")
    func talk() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let b = try end(bundles[1], others: [other("a", port: 1)], on: group.next())
        let port = try await b.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let loop = group.next()
        let a = try end(bundles[0], others: [other("b", port: port)], on: loop)
        a.links.start()
        #expect(await wait(for: "peer-up", in: a.logged) != nil)
        let target = try #require(MemberID("b"))
        loop.execute { for number in UInt64(1)...3 { a.links.send(.reportRequest(number: number), to: target) } }
        var numbers: [UInt64] = []
        for await (message, sender) in b.heard {
            #expect(sender.name == "a")
            if case .reportRequest(let number) = message { numbers.append(number) }
            if numbers.count == 3 { break }
        }
        #expect(numbers == [1, 2, 3])
        await a.links.close()
        await b.links.close()
    }

    @Test("A link that is lost comes back by itself")
    func redial() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let first = try end(bundles[1], others: [other("a", port: 1)], on: group.next())
        let port = try await first.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let a = try end(bundles[0], others: [other("b", port: port)], on: group.next())
        a.links.start()
        #expect(await wait(for: "peer-up", in: a.logged) != nil)
        await first.links.close()
        let second = try end(bundles[1], others: [other("a", port: 1)], on: group.next())
        _ = try await second.links.listen(at: HostPort(host: "127.0.0.1", port: port))
        #expect(await wait(for: "peer-up", in: a.logged) != nil)
        await a.links.close()
        await second.links.close()
    }

    @Test("A member of another incarnation is turned away, with the reason in the log")
    func otherIncarnation() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let b = try end(bundles[1], others: [other("a", port: 1)], on: group.next())
        let port = try await b.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let a = try end(bundles[0], others: [other("b", port: port)], incarnation: Incarnation(counter: 2, random: 1), on: group.next())
        a.links.start()
        #expect(reason(await wait(for: "peer-unreachable", in: a.logged)).contains("another incarnation"))
        await a.links.close()
        await b.links.close()
    }

    @Test("Nobody is believed to be who the certificate does not say")
    func borrowedName() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let a = try end(bundles[0], others: [other("b", port: 1)], on: group.next())
        let port = try await a.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        // Member b's certificate, in the name of c.
        let liar = try end(bundles[1], others: [other("a", port: port)], saying: "c", on: group.next())
        liar.links.start()
        #expect(reason(await wait(for: "peer-reject", in: a.logged)).contains("its certificate says member b"))
        await liar.links.close()
        await a.links.close()
    }

    @Test("Whose certificate is revoked is heard no more at once, and not let in again", arguments: [true, false])
    func revoked(byTheAccepting: Bool) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let (ofA, ofB) = (RevocationList(), RevocationList())
        let b = try end(bundles[1], others: [other("a", port: 1)], revocations: ofB, on: group.next())
        let port = try await b.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let a = try end(bundles[0], others: [other("b", port: port)], revocations: ofA, on: group.next())
        a.links.start()
        #expect(await wait(for: "peer-up", in: a.logged) != nil)
        let certificate = try Certificate(pem: Array(bundles[byTheAccepting ? 0 : 1].certificate.utf8))
        (byTheAccepting ? ofB : ofA).replace(with: [certificate.serial])
        if byTheAccepting {
            // Once for the connection that was open, once for each attempt to come back.
            for _ in 1...2 { #expect(reason(await wait(for: "peer-reject", in: b.logged)).contains("is revoked")) }
        } else {
            #expect(reason(await wait(for: "peer-down", in: a.logged)).contains("is revoked"))
        }
        await a.links.close()
        await b.links.close()
    }

    /// A state that says of member b what `say` does to it.
    private func state(_ bundle: Bundle, _ say: (inout DispatcherState) -> Void) throws -> DispatcherState {
        var state = DispatcherState(genesis: try genesis(bundle))
        var index: UInt64 = 0
        func apply(_ command: Command, by principal: Principal) {
            index += 1
            _ = state.apply(
                Proposal(
                    command: command, principal: principal, request: principal == .leader ? nil : .client("r\(index)"), time: .zero,
                    calendar: WallClock(secondsSince1970: 1)), at: LogIndex(index), term: Term(1))
        }
        apply(.raiseVersion(.second), by: .leader)
        apply(.raiseVersion(.third), by: .leader)
        apply(.removeMember(try #require(MemberID("b"))), by: .localUser(uid: 0))
        let a = try #require(MemberID("a"))
        apply(.reconfigure(try #require(Configuration(voters: [a]))), by: .leader)
        say(&state)
        return state
    }

    @Test("One that was removed is told so in the hello, and is not listened to")
    func removed() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let (a, b) = (try #require(MemberID("a")), try #require(MemberID("b")))
        let directory = PeerDirectory(contacts: [b])
        directory.follow(try state(bundles[0]) { _ in }, contacts: [], own: a)
        let staying = try end(bundles[0], others: [], directory: directory, on: group.next())
        let port = try await staying.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let gone = try end(bundles[1], others: [other("a", port: port)], on: group.next())
        gone.links.start()
        var told: (PeerMessage, MemberID)?
        for await message in gone.heard {
            told = message
            break
        }
        #expect(told?.0 == .removed(at: LogIndex(4)) && told?.1 == a)
        await gone.links.close()
        await staying.links.close()
    }

    @Test("Links follow the members: a new one is dialled, one that moved is found, one that went is let go")
    func follows() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let bundles = try mint()
        let b = try end(bundles[1], others: [other("a", port: 1)], on: group.next())
        let port = try await b.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let loop = group.next()
        let id = try #require(MemberID("b"))
        let a = try end(bundles[0], others: [], directory: PeerDirectory(contacts: [id]), on: loop)
        a.links.start()
        let wrong = try other("b", port: 1)
        try await loop.submit { a.links.follow([wrong]) }.get()
        #expect(await wait(for: "peer-unreachable", in: a.logged) != nil)
        let right = try other("b", port: port)
        try await loop.submit { a.links.follow([right]) }.get()
        #expect(await wait(for: "peer-up", in: a.logged) != nil)
        #expect(try await loop.submit { a.links.linkedCount }.get() == 1)
        try await loop.submit { a.links.follow([]) }.get()
        while try await loop.submit({ a.links.linkedCount }).get() > 0 { await Task.yield() }
        await a.links.close()
        await b.links.close()
    }

    @Test(
        "Who is not on record is believed if its serial was reserved later than all that is known, and one that is on record only with its own"
    )
    func standings() throws {
        let bundles = try mint()
        let state = try state(bundles[0]) { _ in }
        let (a, b, z) = (try #require(MemberID("a")), try #require(MemberID("b")), try #require(MemberID("z")))
        let directory = PeerDirectory(contacts: [])
        func serial(_ counter: UInt64) -> SerialNumber { serialNumber(incarnation: state.genesis.incarnation, counter: counter) }
        guard case .stranger = directory.standing(of: z, serial: serial(99)) else { throw Surprise("nobody is known yet") }
        directory.follow(state, contacts: [], own: a)
        let own = try #require(state.member(a)).certificateSerial
        #expect(directory.standing(of: a, serial: own) == .member)
        guard case .stranger = directory.standing(of: a, serial: serial(98)) else { throw Surprise("another certificate is not a's") }
        #expect(directory.standing(of: b, serial: serial(2)) == .removed(at: LogIndex(4)))
        #expect(directory.standing(of: z, serial: serial(state.nextSerialCounter)) == .member)
        guard case .stranger = directory.standing(of: z, serial: serial(state.nextSerialCounter - 1)) else {
            throw Surprise("a serial that is known to be somebody else's")
        }
    }

    @Test("A member of another cluster does not get past the handshake")
    func otherCluster() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        defer { group.shutdownGracefully { _ in } }
        let a = try end(mint()[0], others: [other("b", port: 1)], on: group.next())
        let port = try await a.links.listen(at: HostPort(host: "127.0.0.1", port: 0))
        let stranger = try end(mint()[1], others: [other("a", port: port)], on: group.next())
        stranger.links.start()
        #expect(await wait(for: "peer-unreachable", in: stranger.logged) != nil)
        await stranger.links.close()
        await a.links.close()
    }
}
