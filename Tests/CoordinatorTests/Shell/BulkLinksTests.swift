// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is large, between members over real mutual TLS on loopback: part by part, bounded, taken up where it was cut off.

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

@Suite("Bulk links", .timeLimit(.minutes(2)))
struct BulkLinksTests {
    /// Bytes that a test watches being read.
    private struct Blob: BulkSource {
        let bytes: [UInt8]
        var tag: UInt64 = 1
        /// Called before each part, with its offset.
        var reading: @Sendable (UInt64) async throws -> Void = { _ in }
        /// Whether the connection breaks at this part: it is one that the other side does not take.
        var breaks: @Sendable (UInt64) -> Bool = { _ in false }
        var size: UInt64 { UInt64(bytes.count) }
        func read(offset: UInt64, count: Int) async throws -> [UInt8] {
            try await reading(offset)
            if breaks(offset) { return [UInt8](repeating: 0, count: WireLimit.bulkBytes + 1) }
            return Array(bytes.dropFirst(Int(offset)).prefix(count))
        }
    }

    private struct NoSuchLuck: Error, CustomStringConvertible { let description = "the disk is gone" }

    /// Member a asks, member b serves.
    fileprivate final class Pair: Sendable {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 3)
        let asking: BulkLinks
        let serving: PeerLinks
        let controls: PeerLinks
        let b: MemberID
        let a: MemberID
        /// What the control connection of a brought to b.
        let heard: AsyncStream<PeerMessage>

        init(
            port: Int? = nil, incarnation: Incarnation? = nil, revocations: RevocationList = RevocationList(),
            open: @escaping @Sendable (BulkResource) async throws -> (any BulkSource)?
        ) async throws {
            let bundles = try ClusterInit.mint(
                members: ClusterInit.members("a=127.0.0.1:1,b=127.0.0.1:2"), dispatcherID: #require(DispatcherID("d")),
                now: WallClock(secondsSince1970: 1_000_000_000))
            (a, b) = (try #require(MemberID("a")), try #require(MemberID("b")))
            serial = try Certificate(pem: Array(bundles[0].certificate.utf8)).serial
            let serverLoop = group.next()
            let (heard, continuation) = AsyncStream.makeStream(of: PeerMessage.self)
            self.heard = heard
            serving = PeerLinks(
                credentials: try Self.credentials(bundles[1]), others: [.init(id: a, address: HostPort(host: "127.0.0.1", port: 1))],
                dialFrom: nil, loop: serverLoop, bulk: BulkServer(loop: serverLoop, open: open), revocations: revocations,
                deliver: { message, _ in continuation.yield(message) }, log: { _ in })
            let listening = try await serving.listen(at: HostPort(host: "127.0.0.1", port: 0))
            controls = PeerLinks(
                credentials: try Self.credentials(bundles[0], incarnation),
                others: [.init(id: b, address: HostPort(host: "127.0.0.1", port: port ?? listening))], dialFrom: nil, loop: group.next(),
                deliver: { _, _ in }, log: { _ in })
            asking = controls.bulkLinks(to: [.init(id: b, address: HostPort(host: "127.0.0.1", port: port ?? listening))], on: group.next())
        }

        private static func credentials(_ bundle: Bundle, _ incarnation: Incarnation? = nil) throws -> PeerLinks.Credentials {
            let state = try GenesisState(decoding: Array(#require(Data(base64Encoded: bundle.genesis))))
            return PeerLinks.Credentials(
                hello: PeerHello(
                    cluster: state.cluster, incarnation: incarnation ?? state.incarnation, member: try #require(MemberID(bundle.member))),
                identity: try TLSIdentity(
                    chain: [Certificate(pem: Array(bundle.certificate.utf8))], key: PrivateKey(pem: Array(bundle.key.utf8))),
                clusterCA: try Certificate(der: state.clusterCA.certificate))
        }

        func fetch(_ number: UInt64 = 1, limit: Int = 64 << 20, patience: Duration = .seconds(60)) async throws -> [UInt8]? {
            try await asking.fetch(.runRecord(Reqid(number)), from: b, limit: limit, patience: patience)
        }

        /// Of the certificate with which a asks.
        let serial: SerialNumber

        func close() async {
            await asking.close()
            await controls.close()
            await serving.close()
            group.shutdownGracefully { _ in }
        }
    }

    private static let megabytes = (0..<3_000_001).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ ($0 >> 9)) }

    @Test("megabytes arrive as they are; nothing and what is not there are told apart")
    func fetches() async throws {
        let pair = try await Pair { resource in
            switch resource {
            case .runRecord(Reqid(1)): Blob(bytes: Self.megabytes)
            case .runRecord(Reqid(2)): Blob(bytes: [])
            case .runRecord, .snapshot: nil
            }
        }
        #expect(try await pair.fetch(1) == Self.megabytes)
        #expect(try await pair.fetch(2) == [])
        #expect(try await pair.fetch(3) == nil)
        // Many at once, more than one connection serves at a time.
        let all = try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
            for _ in 0..<20 { group.addTask { try await pair.fetch(1) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(all.count == 20 && all.allSatisfy { $0 == Self.megabytes })
        await pair.close()
    }

    @Test("who is revoked in the middle of a transfer gets no more of it, and cannot begin another")
    func revoked() async throws {
        let revocations = RevocationList()
        let (begun, begins) = AsyncStream.makeStream(of: Void.self)
        let (goesOn, goOn) = AsyncStream.makeStream(of: Void.self)
        let pair = try await Pair(revocations: revocations) { _ in
            Blob(
                bytes: Self.megabytes,
                reading: { offset in
                    guard offset > 0 else { return }
                    begins.yield()
                    for await _ in goesOn { break }
                })
        }
        let fetched = Task { try await pair.fetch(1) }
        for await _ in begun { break }
        revocations.replace(with: [pair.serial])
        goOn.finish()
        await #expect(throws: BulkFailure.self) { _ = try await fetched.value }
        await #expect(throws: BulkFailure.self) { _ = try await pair.fetch(1) }
        await pair.close()
    }

    @Test("what is too large is refused before a byte of it is asked for")
    func tooLarge() async throws {
        let reads = Mutex(0)
        let pair = try await Pair { _ in Blob(bytes: Self.megabytes, reading: { _ in reads.withLock { $0 += 1 } }) }
        await #expect(throws: BulkFailure.tooLarge(size: UInt64(Self.megabytes.count), limit: 1_000)) { try await pair.fetch(limit: 1_000) }
        #expect(reads.withLock { $0 } == 0)
        await pair.close()
    }

    @Test("a transfer whose connection is lost goes on where it was, if the bytes are the same")
    func resumes() async throws {
        let offsets = Mutex<[UInt64]>([])
        let cutAt = UInt64(10 * WireLimit.bulkBytes)
        let pair = try await Pair { _ in
            Blob(
                bytes: Self.megabytes,
                breaks: { offset in
                    offsets.withLock { offsets in
                        defer { offsets.append(offset) }
                        return offset == cutAt && !offsets.contains(offset)
                    }
                })
        }
        #expect(try await pair.fetch() == Self.megabytes)
        let read = offsets.withLock { $0 }
        #expect(read.count { $0 == 0 } == 1 && read.count { $0 == cutAt } == 2)
        await pair.close()
    }

    @Test("if they are not, it begins anew")
    func changed() async throws {
        let opened = Mutex<UInt64>(0)
        let pair = try await Pair { _ in
            let tag = opened.withLock { opened in
                opened += 1
                return opened
            }
            return Blob(
                bytes: [UInt8](repeating: UInt8(tag), count: 400_000), tag: tag, breaks: { offset in tag == 1 && offset > 200_000 })
        }
        #expect(try await pair.fetch() == [UInt8](repeating: 2, count: 400_000))
        await pair.close()
    }

    @Test("one that breaks again is given up, and says what was wrong")
    func broken() async throws {
        let pair = try await Pair { _ in Blob(bytes: Self.megabytes, breaks: { $0 > 0 }) }
        let failure = await #expect(throws: BulkFailure.self) { try await pair.fetch() }
        guard case .lost(let reason) = failure else { throw Surprise("\(String(describing: failure))") }
        #expect(reason.contains("a part of"), "\(reason)")
        await pair.close()
    }

    @Test("one that breaks again and again is taken up as often as was asked for")
    func brittle() async throws {
        let offsets = Mutex<[UInt64]>([])
        // At every tenth part, each time.
        let pair = try await Pair { _ in
            Blob(
                bytes: Self.megabytes,
                breaks: { offset in
                    offsets.withLock { offsets in
                        defer { offsets.append(offset) }
                        return offset / UInt64(WireLimit.bulkBytes) % 10 == 9 && !offsets.contains(offset)
                    }
                })
        }
        let bytes = try await pair.asking.fetch(
            .runRecord(Reqid(1)), from: pair.b, limit: 64 << 20, patience: .seconds(60), resumptions: 2)
        #expect(bytes == Self.megabytes)
        #expect(offsets.withLock { $0.count { $0 == 0 } } == 1, "it never began anew")
        await pair.close()
    }

    @Test("what the other side cannot read it says; what it never answers is given up")
    func failures() async throws {
        let pair = try await Pair { resource in
            switch resource {
            case .runRecord(Reqid(1)): throw NoSuchLuck()
            case .runRecord(Reqid(2)): Blob(bytes: [1], reading: { _ in throw NoSuchLuck() })
            case .runRecord, .snapshot:
                Blob(
                    bytes: [1],
                    reading: { _ in
                        // For ever, as far as anybody here is concerned.
                        await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
                    })
            }
        }
        for number in UInt64(1)...2 {
            await #expect(throws: BulkFailure.refused("the disk is gone")) { try await pair.fetch(number) }
        }
        await #expect(throws: BulkFailure.timedOut) { try await pair.fetch(3, patience: .milliseconds(300)) }
        // More than one connection may hold: what was given up is not held.
        for _ in 0..<(2 * BulkServer.transfersLimit) {
            await #expect(throws: BulkFailure.timedOut) { try await pair.fetch(3, patience: .milliseconds(20)) }
        }
        let waiting = Task { try await pair.fetch(3) }
        waiting.cancel()
        await #expect(throws: BulkFailure.cancelled) { try await waiting.value }
        await pair.close()
    }

    @Test("a member that is not there, or of another incarnation, is unreachable and not without the thing")
    func unreachable() async throws {
        let nowhere = try await Pair(port: 1) { _ in nil }
        await #expect(throws: BulkFailure.unreachable("connection refused")) { try await nowhere.fetch() }
        await nowhere.close()
        let stranger = try await Pair(incarnation: Incarnation(counter: 9, random: 9)) { _ in Blob(bytes: [1]) }
        let failure = await #expect(throws: BulkFailure.self) { try await stranger.fetch() }
        #expect(failure?.description.contains("another incarnation") == true, "\(failure?.description ?? "")")
        await #expect(throws: BulkFailure.unreachable("there is no member a")) {
            try await stranger.asking.fetch(.runRecord(Reqid(1)), from: stranger.a, limit: 1, patience: .seconds(5))
        }
        await stranger.close()
    }

    @Test("the control connection says what it has to say while megabytes are under way")
    func beside() async throws {
        let pair = try await Pair { _ in Blob(bytes: Self.megabytes) }
        pair.controls.start()
        let transfers = Task {
            var count = 0
            while try await pair.fetch() == Self.megabytes {
                count += 1
                if Task.isCancelled { break }
            }
            return count
        }
        var number: UInt64 = 0
        for await message in pair.repeating({ pair.controls.send(.reportRequest(number: 7), to: pair.b) }) {
            guard case .reportRequest(7) = message else { continue }
            number += 1
            if number == 200 { break }
        }
        #expect(number == 200)
        transfers.cancel()
        // The last one may have been cut off by this.
        if case .success(let count) = await transfers.result { #expect(count > 0) }
        await pair.close()
    }
}

extension BulkLinksTests.Pair {
    /// What b hears while something is said on a's loop again and again.
    fileprivate func repeating(_ say: @escaping @Sendable () -> Void) -> AsyncStream<PeerMessage> {
        let loop = controls.loop
        let repeated = loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(1)) { _ in say() }
        let (stream, continuation) = AsyncStream.makeStream(of: PeerMessage.self)
        continuation.onTermination = { _ in repeated.cancel() }
        let heard = heard
        Task {
            for await message in heard { continuation.yield(message) }
        }
        return stream
    }
}
