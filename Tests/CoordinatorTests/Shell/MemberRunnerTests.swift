// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The member on its loop, with hands that this test holds: nothing leaves before the journal says so.

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
import Wire

@testable import Coordinator

@Suite("The member's runner", .timeLimit(.minutes(2)))
struct MemberRunnerTests {
    private static let alice = OperatorName("alice")

    private func request() throws -> ExclusiveOperation {
        let csr = try CertificateRequest.make(key: .generateP256(), commonName: "alice")
        return .command(.issueOperator(try #require(Self.alice), signingRequest: SigningRequest(der: csr.der)))
    }

    @Test("An operation is answered only after the writes that it depends on are durable")
    func answerWaitsForTheDisk() async throws {
        let journal = HeldJournal()
        let (runner, group) = try await makeRunner(journal: journal)
        defer { group.shutdownGracefully { _ in } }
        let operation = try request()

        let answered = Atomic<Bool>(false)
        async let performed = {
            let performed = await runner.perform(operation, request: nil, principal: .localUser(uid: 0), timeout: .seconds(60))
            answered.store(true, ordering: .releasing)
            journal.finish()
            return performed
        }()
        // One write after the other: the ballot of the election, the term's first entry, the operation, the signed certificate.
        var released = 0
        for await write in journal.writes {
            // A look at the member: whatever it had to say at this point, it has said.
            _ = await runner.glance()
            let isAnswered = answered.load(ordering: .acquiring)
            #expect(!isAnswered, "answered while write \(write.number) was not on disk")
            released += 1
            runner.deliver(.wrote(write))
        }
        guard case .settled(.operatorIssued(let name, let serial)) = await performed.reply else {
            Issue.record("not issued: \(await performed.reply)")
            return
        }
        #expect(name.text == "alice")
        let record = try #require(await performed.state.operatorRecord(named: name))
        #expect(record.serial == serial)
        let certificate = try Certificate(der: record.certificate)
        #expect(certificate.serial == serial)
        #expect(certificate.role == .operator(cluster: "\(await performed.state.genesis.cluster)", name: "alice"))
        #expect(released >= 3)
    }

    @Test("A journal that fails stops the process, and says why")
    func journalFails() async throws {
        let journal = HeldJournal()
        let stopped = Mutex<StopReason?>(nil)
        let (runner, group) = try await makeRunner(journal: journal) { reason in stopped.withLock { $0 = reason } }
        defer { group.shutdownGracefully { _ in } }
        let failure = DiskFailure.failed(operation: "synchronize", nil, reason: "input/output error")
        runner.deliver(.writeFailed(failure))
        _ = await runner.glance()
        #expect(stopped.withLock { $0 } == .journalFailed(failure))
    }

    @Test("A caller whose task is cancelled is let go at once")
    func cancelled() async throws {
        let (runner, group) = try await makeRunner(journal: HeldJournal())
        defer { group.shutdownGracefully { _ in } }
        let operation = try request()
        let task = Task {
            await runner.perform(operation, request: nil, principal: .localUser(uid: 0), timeout: .seconds(60))
        }
        task.cancel()
        // Nothing is ever durable here: without the cancellation this would take a minute.
        _ = await task.value
    }

    @Test("A decision that came before anybody asked is still heard")
    func earlyDecision() async throws {
        var board = DecisionBoard()
        let decision = PairingDecision(reqid: Reqid(7), nonce: "n", verdict: .denied)
        board.announce(decision)
        let heard = await withCheckedContinuation { board.wait(for: Reqid(7), Ticket(1), $0) }
        #expect(heard == decision)
    }

    @Test("A sole member leads, and its glance says so")
    func glance() async throws {
        let journal = HeldJournal()
        let (runner, group) = try await makeRunner(journal: journal)
        defer { group.shutdownGracefully { _ in } }
        for await write in journal.writes {
            let before = await runner.glance()
            #expect(!before.holdsLease)
            runner.deliver(.wrote(write))
            if await runner.glance().holdsLease { break }
        }
        let glance = await runner.glance()
        #expect(glance.leader?.name == "a")
        #expect(glance.term > .zero)
    }

    /// A cluster of one, on a loop of its own, with a real signer and a real clock.
    private func makeRunner(
        journal: HeldJournal, stop: @escaping @Sendable (StopReason) -> Void = { _ in }
    ) async throws -> (MemberRunner, MultiThreadedEventLoopGroup) {
        let dispatcher = try #require(DispatcherID("d"))
        let bundles = try ClusterInit.mint(
            members: ClusterInit.members("a=127.0.0.1:7446"), dispatcherID: dispatcher, now: WallClock(secondsSince1970: 1_800_000_000))
        let bundle = try #require(bundles.first)
        let genesis = try GenesisState(decoding: Array(#require(Data(base64Encoded: bundle.genesis))))
        let key = try ClusterKey(bytes: Array(#require(Data(base64Encoded: bundle.clusterKey.key))), version: 1)
        let vault = KeyVault(genesis: genesis, key: key)
        let id = try #require(MemberID("a"))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let start = ContinuousClock.now
        let clock: @Sendable () -> Moment = {
            let elapsed = (ContinuousClock.now - start).components
            return Moment(
                instant: Instant(
                    nanosecondsSinceBoot: UInt64(elapsed.seconds) * 1_000_000_000 + UInt64(elapsed.attoseconds / 1_000_000_000)),
                wallClock: WallClock(secondsSince1970: 1_800_000_000))
        }
        let member = Member(
            genesis: genesis, configuration: try #require(Configuration(voters: [id])), recovered: .nothing,
            settings: MemberSettings(id: id, version: "test", session: 1), seed: 1, now: clock())
        let runner = MemberRunner(member, id: id, loop: group.next(), vault: vault, now: clock)
        runner.start(
            with: MemberRunner.Hands(
                journal: journal, peers: NoPeers(), signer: Signer(vault: vault), agents: NoAgents(), log: { _ in },
                snapshots: NoSnapshots(),
                stop: stop))
        return (runner, group)
    }
}

/// Nobody is ever called: no test here begins a rotation.
private struct NoAgents: AgentCalling {
    func call(_ call: AgentCall, done: @escaping @Sendable (AgentTaskAnswer) -> Void) {
        done(AgentTaskAnswer(.unreachable("there are no agents here")))
    }
}

/// No member here applies enough for a snapshot, or is offered one.
private struct NoSnapshots: SnapshotKeeping {
    func take(_ base: LogBase, _ state: DispatcherState, done: @escaping @Sendable (Event) -> Void) {
        Issue.record("a snapshot is to be taken behind \(base.place)")
    }
    func fetch(_ place: SnapshotPlace, from member: MemberID, done: @escaping @Sendable (Event) -> Void) {
        Issue.record("the snapshot behind \(place) is to be fetched")
    }
}

/// Keeps writes until the test lets them go.
private final class HeldJournal: JournalWriting {
    let writes: AsyncStream<WriteID>
    private let continuation: AsyncStream<WriteID>.Continuation
    init() { (writes, continuation) = AsyncStream.makeStream(of: WriteID.self) }
    func append(_ write: JournalWrite, _ id: WriteID) { continuation.yield(id) }
    func retry() {}
    func finish() { continuation.finish() }
}

private struct NoPeers: PeerSending {
    func send(_ message: PeerMessage, to member: MemberID) {}
    var linkedCount: Int { 0 }
}
