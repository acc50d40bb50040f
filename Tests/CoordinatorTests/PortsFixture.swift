// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A cluster of one that lives in memory: the real state machine, real authorities and certificates, no log and no peers. What the ports
// are tested against where the rest of a member is not the subject.

import AgentLink
import Consensus
import Coordinator
import CoordinatorCore
import CtrlExec
import DispatcherState
import Foundation
import Hooks
import Logging
import NIOCore
import NIOPosix
import PKI
import Synchronization
import Testing
import Transport
import Wire

let longAgo: Int64 = 1_600_000_000
let farAhead: Int64 = 4_000_000_000

/// The authorities of a cluster, and certificates of every kind.
struct SmallPKI: Sendable {
    let cluster: ClusterID
    let clusterCA: Authority
    let fleetCA: Authority

    init(cluster bytes: [UInt8] = Array(0..<16)) throws {
        cluster = try #require(ClusterID(bytes: bytes))
        clusterCA = try Self.authority("cluster CA", 1)
        fleetCA = try Self.authority("ctrl-exec CA", 2)
    }

    private static func authority(_ name: String, _ number: UInt8) throws -> Authority {
        let serial = try #require(SerialNumber(bytes: [0x5c, 0xca, number]))
        return try Authority.selfSigned(
            commonName: name, key: .generateP256(), notBefore: longAgo, notAfter: farAhead, serial: serial)
    }

    enum Kind: String, CaseIterable, Sendable {
        case `operator`, member, dispatcher, agent
    }

    func identity(_ kind: Kind, _ name: String = "alice", serial: UInt8 = 9) throws -> TLSIdentity {
        let role: CertificateRole? =
            switch kind {
            case .operator: .operator(cluster: cluster.description, name: name)
            case .member: .member(cluster: cluster.description, id: name)
            case .dispatcher: .dispatcher(cluster: cluster.description)
            case .agent: nil
            }
        let authority = kind == .operator || kind == .member ? clusterCA : fleetCA
        let key = try PrivateKey.generateP256()
        let certificate = try authority.issue(
            CertificateRequest.make(key: key, commonName: name), subject: name, serial: try #require(SerialNumber(bytes: [0x5c, serial])),
            role: role, usage: .both, notBefore: longAgo, notAfter: farAhead)
        return try TLSIdentity(chain: [certificate], key: key)
    }
}

/// Carries operations out at once, one after the other.
actor SmallFront: MemberFront {
    let pki: SmallPKI
    let dispatcher: TLSIdentity
    nonisolated let revocations = RevocationList()
    private var state: DispatcherState
    private var index: UInt64 = 0
    private var milliseconds: UInt64 = 1_000
    private var waiting: [Reqid: CheckedContinuation<PairingDecision?, Never>] = [:]
    private var hasLeader = true
    private var isReady = true
    private var contactMilliseconds: UInt64 = 3
    private(set) var performed: [ExclusiveOperation] = []

    init(_ pki: SmallPKI) throws {
        self.pki = pki
        dispatcher = try pki.identity(.dispatcher, "ctrl-exec-dispatcher", serial: 4)
        let key = SealedKey(name: "key", keyVersion: 1, bytes: [1])
        let members = try ["a", "b", "c"].enumerated().map { number, name in
            MemberRecord(
                id: try #require(MemberID(name)), address: "127.0.0.1:\(7446 + number)",
                certificateSerial: try #require(SerialNumber(bytes: [0x5c, UInt8(number + 1)])))
        }
        state = DispatcherState(
            genesis: GenesisState(
                cluster: pki.cluster, incarnation: Incarnation(counter: 1, random: 0x0011_2233_4455_6677),
                dispatcherID: try #require(DispatcherID("disp-one")), members: members,
                fleetCA: StateAuthority(certificate: pki.fleetCA.certificate.der, key: key),
                clusterCA: StateAuthority(certificate: pki.clusterCA.certificate.der, key: key),
                identity: Identity(
                    serial: dispatcher.certificate.serial, certificate: dispatcher.certificate.der, key: key,
                    notAfter: WallClock(secondsSince1970: farAhead), phase: .current),
                nextSerialCounter: 5))
    }

    // MARK: What tests do to it

    func loseLeader() { hasLeader = false }
    func regainLeader() { hasLeader = true }
    func becomeUnready() { isReady = false }
    /// Without a leader for so long.
    func isolate(milliseconds: UInt64) { (hasLeader, isReady, contactMilliseconds) = (false, false, milliseconds) }
    func rejoin() { (hasLeader, isReady, contactMilliseconds) = (true, true, 3) }
    func pass(milliseconds more: UInt64) {
        milliseconds += more
        apply(.expire, by: .leader, nil)
    }
    /// As through another member.
    @discardableResult func apply(_ command: Command, by principal: Principal = .localUser(uid: 0), _ request: RequestID? = nil) -> Outcome
    {
        index += 1
        let proposal = Proposal(
            command: command, principal: principal, request: request, time: ClusterTime(milliseconds: milliseconds),
            calendar: WallClock(secondsSince1970: 1_800_000_000))
        let applied = state.apply(proposal, at: LogIndex(index), term: Term(3))
        revocations.replace(with: state.revocations.map(\.serial))
        for decision in applied.decided { waiting.removeValue(forKey: decision.reqid)?.resume(returning: decision) }
        guard case .underway(let obligation) = applied.outcome else { return applied.outcome }
        return sign(obligation)
    }

    private func sign(_ id: ObligationID) -> Outcome {
        guard let obligation = state.obligation(id) else { return .refused(.reservationGone) }
        do {
            if case .dispatcherIdentity = obligation.purpose { return makeIdentity(obligation) }
            let request = try CertificateRequest(der: obligation.signingRequest.der)
            let certificate =
                switch obligation.purpose {
                case .operatorCertificate(let name):
                    try pki.clusterCA.issue(
                        request, subject: name.text, serial: obligation.serial,
                        role: .operator(cluster: pki.cluster.description, name: name.text), usage: .client, notBefore: longAgo,
                        notAfter: farAhead)
                case .agentCertificate(_, let name):
                    try pki.fleetCA.issue(
                        request, subject: name.text, serial: obligation.serial, role: nil, usage: .server, notBefore: longAgo,
                        notAfter: farAhead)
                case .memberCertificate(let member):
                    try pki.clusterCA.issue(
                        request, subject: member.name, serial: obligation.serial,
                        role: .member(cluster: pki.cluster.description, id: member.name), usage: .both, notBefore: longAgo,
                        notAfter: farAhead)
                case .dispatcherIdentity: throw PKIFailure("an identity has no request")
                }
            index += 1
            let proposal = Proposal(
                command: .recordCertificate(
                    id, obligation.serial, certificate: certificate.der, notAfter: WallClock(secondsSince1970: certificate.notAfter)),
                principal: .leader, request: nil, time: ClusterTime(milliseconds: milliseconds),
                calendar: WallClock(secondsSince1970: 1_800_000_000))
            let applied = state.apply(proposal, at: LogIndex(index), term: Term(3))
            for decision in applied.decided { waiting.removeValue(forKey: decision.reqid)?.resume(returning: decision) }
            return applied.settled.first?.outcome ?? applied.outcome
        } catch {
            return .refused(.signingFailed("\(error)"))
        }
    }

    /// Of no use to anybody but those who ask about it.
    private func makeIdentity(_ obligation: Obligation) -> Outcome {
        let command = Command.recordIdentity(
            obligation.id, obligation.serial, certificate: [0x30], key: SealedKey(name: "dispatcher", keyVersion: 1, bytes: [1]),
            notAfter: WallClock(secondsSince1970: farAhead))
        index += 1
        let proposal = Proposal(
            command: command, principal: .leader, request: nil, time: ClusterTime(milliseconds: milliseconds),
            calendar: WallClock(secondsSince1970: 1_800_000_000))
        let applied = state.apply(proposal, at: LogIndex(index), term: Term(3))
        return applied.settled.first?.outcome ?? applied.outcome
    }

    // MARK: MemberFront

    func perform(_ operation: ExclusiveOperation, request: RequestID?, principal: Principal, timeout: TimeSpan) -> Performed {
        performed.append(operation)
        guard hasLeader else {
            return Performed(reply: .noLeader(request ?? .minted(session: 1, sequence: 1, answeredThrough: 0)), state: state)
        }
        switch operation {
        case .command(let command):
            let minted = RequestID.minted(session: 1, sequence: UInt64(performed.count), answeredThrough: 0)
            let outcome = apply(command, by: principal, request ?? minted)
            return Performed(reply: .settled(outcome), state: state)
        case .transfer(let target):
            return Performed(reply: target.map { .transferred(to: $0) } ?? .transferFailed, state: state)
        }
    }

    /// How often somebody has read.
    private(set) var reads = 0
    func read(_ consistency: ReadConsistency, timeout: TimeSpan) -> DispatcherState? {
        reads += 1
        return hasLeader || consistency == .stale ? state : nil
    }
    func appliedState() -> DispatcherState { state }

    func reports(timeout: TimeSpan) -> [MemberReport] {
        state.genesis.members.prefix(2).enumerated().map { number, member in
            MemberReport(
                member: member.id, version: "0.1.0", role: number == 0 && hasLeader ? .leader : .follower, term: Term(3),
                leader: hasLeader ? state.genesis.members[0].id : nil, lastLogIndex: LogIndex(index), commitIndex: LogIndex(index),
                appliedIndex: LogIndex(index), stateHash: state.stateHash, isReady: true, leaderContactMilliseconds: 12, peers: [])
        }
    }

    func glance() -> MemberGlance {
        MemberGlance(
            member: state.genesis.members[0].id, leader: hasLeader ? state.genesis.members[0].id : nil, term: Term(3),
            holdsLease: hasLeader,
            isReady: isReady, leaderContactMilliseconds: contactMilliseconds)
    }

    func decision(of reqid: Reqid) async -> PairingDecision? {
        if let known = state.decision(of: reqid) { return known }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                if Task.isCancelled { return continuation.resume(returning: nil) }
                waiting[reqid] = continuation
            }
        } onCancel: {
            Task { await giveUp(reqid) }
        }
    }
    private func giveUp(_ reqid: Reqid) { waiting.removeValue(forKey: reqid)?.resume(returning: nil) }
    var waitingForDecisions: Int { waiting.count }

    nonisolated func dispatcherIdentity(_ serial: SerialNumber) throws -> TLSIdentity { dispatcher }

    static let clusterKey = [UInt8](repeating: 9, count: ClusterKey.length)
    nonisolated func sealedClusterKey(to publicKey: [UInt8]) throws -> SealedClusterKey {
        SealedClusterKey(
            version: 1,
            envelope: try KeyEnvelope.seal(Self.clusterKey, to: publicKey, name: SealedClusterKey.name, cluster: pki.cluster.description))
    }
}

let quiet: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
}()

/// All four ports over a `SmallFront`, on free loopback ports and a socket in a directory of its own.
struct OpenPorts {
    let pki: SmallPKI
    let front: SmallFront
    let ports: Ports
    let socketPath: String
    let records: RunRecords
    private let directory: URL

    /// What a test wants otherwise than usual.
    struct Wishes: Sendable {
        /// The auth hook's script, with the test's directory as working directory; nil: none.
        var hook: String?
        var hookSeconds = 30
        var policy = HookPolicy()
        var apiIdentity: TLSIdentity?
        var apiRequests = 64
        /// What the other members say when they are asked for a record.
        var elsewhere = RunFinding.absent
    }

    static func with<Value>(_ wishes: Wishes = Wishes(), _ body: (OpenPorts) async throws -> Value) async throws -> Value {
        let open = try await OpenPorts(wishes)
        do {
            let value = try await body(open)
            await open.close()
            return value
        } catch {
            await open.close()
            throw error
        }
    }

    private init(_ wishes: Wishes) async throws {
        pki = try SmallPKI()
        front = try SmallFront(pki)
        directory = FileManager.default.temporaryDirectory.appending(path: "ced-ports-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        socketPath = directory.appending(path: "ced.sock").path
        records = RunRecords(directory: directory.appending(path: "runs").path, log: { _ in }, now: wallClockSeconds)
        var policy = wishes.policy
        if let script = wishes.hook {
            let hook = directory.appending(path: "hook").path
            let text = "#!/bin/sh\ncd \(directory.path) || exit 99\n\(script)\n"
            guard FileManager.default.createFile(atPath: hook, contents: Data(text.utf8), attributes: [.posixPermissions: 0o755]) else {
                throw Surprise("the hook could not be written")
            }
            policy.hook = AuthHook(path: hook, timeoutSeconds: wishes.hookSeconds)
        }
        ports = try await Ports.start(
            front: front, identity: try pki.identity(.member, "a", serial: 1), clusterRoots: [pki.clusterCA.certificate],
            configuration: PortsConfiguration(
                operations: .tcp(host: "127.0.0.1", port: 0), pairing: .tcp(host: "127.0.0.1", port: 0),
                api: .tcp(host: "127.0.0.1", port: 0), controlSocket: .unix(path: socketPath, mode: 0o660, group: nil),
                agentLink: AgentLinkConfiguration(readTimeoutSeconds: 5), version: "0.1.0",
                hooks: policy, apiIdentity: wishes.apiIdentity, apiRequests: wishes.apiRequests),
            runs: RunBook(records: records, others: OtherMembers(finding: wishes.elsewhere)),
            group: MultiThreadedEventLoopGroup.singleton, logger: quiet, revocations: front.revocations,
            observeTags: { [front] agent, tags in
                Task {
                    await front.apply(.raiseVersion(.second), by: .leader)
                    await front.apply(.tagsLearned(agent, tags), by: .leader)
                }
            })
    }

    private func close() async {
        await ports.stop(drain: .seconds(1))
        await records.close()
        // A directory of the test's own below the temporary one; what is left of it does no harm.
        try? FileManager.default.removeItem(at: directory)
    }

    /// An operator whom the state knows, made through the front as any other.
    func makeOperator(_ name: String = "alice") async throws -> TLSIdentity {
        let key = try PrivateKey.generateP256()
        let request = try CertificateRequest.make(key: key, commonName: name)
        let outcome = await front.apply(
            .issueOperator(try #require(OperatorName(name)), signingRequest: SigningRequest(der: request.der)), by: .localUser(uid: 0),
            .client("make-\(name)"))
        guard case .operatorIssued(let issued, let serial) = outcome,
            let record = await front.appliedState().operatorRecord(named: issued, serial: serial)
        else { throw Surprise("no operator was issued: \(outcome)") }
        return try TLSIdentity(chain: [Certificate(der: record.certificate)], key: key)
    }

    /// An agent in the registry, to be dialled on loopback. Nothing need listen there.
    func pair(_ name: String, port: UInt16 = 9) async throws {
        let reqid = Reqid(UInt64(port))
        await front.apply(.openPairing(milliseconds: 600_000), .client("open-\(name)"))
        let submission = PairingSubmission(
            reqid: reqid, hostname: try #require(AgentName(name)),
            signingRequest: SigningRequest(der: try CertificateRequest.make(key: .generateP256(), commonName: name).der), nonce: "",
            code: "000000", sourceAddress: "127.0.0.1", suggested: Reachability(lookup: .ip, address: "127.0.0.1", port: port))
        await front.apply(.submitPairing(submission), by: .pairingHost(address: "127.0.0.1"), .client("submit-\(name)"))
        await front.apply(.approvePairing(reqid, Reachability()), .client("approve-\(name)"))
    }

    func ask(
        _ method: String, _ path: String, _ body: JSONValue? = nil, as identity: TLSIdentity?, headers: [HTTPHeader] = []
    ) async throws -> HTTPReply {
        let tls = TLSClient(identity: identity, policy: .members(of: pki.cluster.description, roots: [pki.clusterCA.certificate]))
        return try await OneRequestClient(group: MultiThreadedEventLoopGroup.singleton, tls: tls).exchange(
            OutgoingRequest(method: method, path: path, headers: headers, body: body?.bytes),
            with: .tcp(host: "127.0.0.1", port: try #require(ports.operations.port)))
    }

    func askPlainly(
        _ method: String, _ path: String, on endpoint: Transport.Endpoint, _ body: JSONValue? = nil, headers: [HTTPHeader] = []
    ) async throws -> HTTPReply {
        try await OneRequestClient(group: MultiThreadedEventLoopGroup.singleton, tls: nil).exchange(
            OutgoingRequest(method: method, path: path, headers: headers, body: body?.bytes), with: endpoint)
    }
    func write(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: URL(filePath: path(name))) }
    /// What a script of this test has written; nil: nothing.
    func text(_ name: String) -> String? {
        // Nil is what a test asks for.
        try? String(contentsOfFile: path(name), encoding: .utf8)
    }
    /// Below the directory of this test, which goes with it.
    func path(_ name: String) -> String { directory.appending(path: name).path }
    var socket: Transport.Endpoint { .unix(path: socketPath) }
    var api: Transport.Endpoint { .tcp(host: "127.0.0.1", port: ports.api.port ?? 0) }
}

/// In a cluster that is one member only, the others are said.
private struct OtherMembers: RunSeeking {
    let finding: RunFinding
    func seek(_ reqid: Reqid, patience: Duration) async -> RunFinding { finding }
}

extension HTTPReply {
    var json: JSONValue { JSONValue(bytes: body) ?? .null }
}

struct Surprise: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

/// Waits until it holds, at most ten seconds. It looks every few milliseconds: who asks without a pause keeps the pool's threads, of which there
/// are as many as cores, from doing what he waits for.
func eventually(_ what: String, _ condition: () async -> Bool) async throws {
    let deadline = ContinuousClock.now.advanced(by: .seconds(10))
    while !(await condition()) {
        guard ContinuousClock.now < deadline else { throw Surprise("it never came about that \(what)") }
        try await MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
    }
}

enum OneRequestClientForTests {
    /// Bytes that need not be JSON.
    static func send(_ method: String, _ path: String, _ body: [UInt8], to endpoint: Transport.Endpoint) async throws -> HTTPReply {
        try await OneRequestClient(group: MultiThreadedEventLoopGroup.singleton, tls: nil).exchange(
            OutgoingRequest(method: method, path: path, body: body), with: endpoint)
    }
}
