// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced serve` from its configuration to its end: the state directory is locked and read, the journal recovered, the member put on its
// loop, links and ports opened, the service manager told. Asked to end, a leader hands leadership on, ports finish what they have begun.
// What can stop a start is said in one line; what no restart can mend is said to be so.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Glibc
import Hooks
import Logging
import NIOCore
import NIOPosix
import PKI
import Platform
import Synchronization
import Transport
import Wire

/// Why a member does not start.
package struct StartRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    /// A restart does not mend it.
    package let isPermanent: Bool
    package init(_ description: String, isPermanent: Bool) {
        self.description = description
        self.isPermanent = isPermanent
    }
}

package enum MemberProcess {
    /// How long a leader that is asked to end waits for another to take over.
    static let handoverLimit = TimeSpan.seconds(2)
    /// How long callers that are being answered may take.
    static let drainLimit = TimeAmount.seconds(5)

    /// Returns once the process was asked to end and has ended in good order.
    ///
    /// - Parameters:
    ///   - version: what this member says of itself.
    ///   - reread: reads the configuration again, for SIGHUP.
    package static func run(
        _ configuration: ServeConfiguration, version: String, reread: @escaping @Sendable () throws -> ServeConfiguration
    ) async throws {
        let member: RunningMember
        let (occasions, occasion) = AsyncStream.makeStream(of: Occasion.self)
        let signals: AsyncStream<TerminationSignal>
        do {
            let inherited = try InheritedSockets.take(known: ListenPlan.known)
            signals = try TerminationSignals.stream()
            // ctrl-exec's own tag (protocol page, 19), so that filters which people have go on working.
            LogOutput.bootstrap(identifier: "ctrl-exec-dispatcher", level: configuration.logLevel)
            member = try await start(
                configuration, ListenPlan(configuration, inherited: inherited), version: version, logger: Logger(label: "ced"),
                removed: { occasion.yield(.removed(since: $0)) })
        } catch {
            throw StartRefusal(because: error) ?? error
        }
        let forwarding = Task { for await signal in signals { occasion.yield(.signal(signal)) } }
        defer { forwarding.cancel() }
        for await event in occasions {
            switch event {
            case .signal(.hangUp): await member.reload(reread)
            case .signal: return await member.stop(because: "asked to")
            case .removed(let index):
                await member.leave()
                throw removedRefusal(member.runner.id, since: index, StateDirectory(configuration.directory))
            }
        }
    }

    private enum Occasion: Sendable {
        case signal(TerminationSignal)
        case removed(since: LogIndex)
    }

    private static func removedRefusal(_ member: MemberID, since index: LogIndex?, _ directory: StateDirectory) -> StartRefusal {
        StartRefusal(
            "member \(member) was removed from the cluster\(index.map { " (entry \($0))" } ?? ""): it serves no more and its id is never used "
                + "again; remove \(directory.path), and if this machine is to be a member anew, let it join under another id (ced cluster invite)",
            isPermanent: true)
    }

    private static func start(
        _ configuration: ServeConfiguration, _ plan: ListenPlan, version: String, logger: Logger,
        removed: @escaping @Sendable (LogIndex) -> Void
    ) async throws -> RunningMember {
        for (isWarning, line) in plan.lines { logger.log(isWarning ? .warning : .info, line) }
        let directory = StateDirectory(configuration.directory)
        guard DurableFile.exists(directory.journal) else { throw neverInitialised(directory) }
        let lock = try DirectoryLock(directory: directory.path)
        let secrets = try directory.secrets(credentials: getenv("CREDENTIALS_DIRECTORY").map { String(cString: $0) })
        if secrets.hasSpareClusterKey {
            let message = "the credential is used; remove the file, or whoever steals the disk has the key with what it seals"
            logger.log(.warning, LogLine("config-warn", ("KEY", directory.clusterKey), ("MSG", message)))
        }
        try directory.checkAccess()
        let (snapshots, newest) = try openSnapshots(directory)
        let (journal, genesis, recovered) = try openJournal(directory, behind: newest?.base)
        let state = try genesisState(genesis, directory)
        let restored = try newest.map { try restore($0, state, directory) }
        if DurableFile.exists(directory.removed) { throw removedRefusal(genesis.member, since: nil, directory) }
        let contacts = try contacts(of: genesis.member, state, directory)
        let vault = KeyVault(genesis: state, key: secrets.clusterKey)
        do {
            try vault.check()
        } catch {
            throw StartRefusal("\(secrets.clusterKeyPath) is not this cluster's key: \(error)", isPermanent: true)
        }
        guard secrets.certificate.role == .member(cluster: "\(state.cluster)", id: genesis.member.name) else {
            throw StartRefusal(
                "\(directory.memberCertificate) is not the certificate of member \(genesis.member) of cluster \(state.cluster): "
                    + "install the member's bundle anew", isPermanent: true)
        }
        if let id = configuration.dispatcherID, id != state.dispatcherID.text {
            let message = "the cluster's own is \(state.dispatcherID); '\(id)' is not used"
            logger.log(.warning, LogLine("config-warn", ("KEY", "dispatcher_id"), ("MSG", message)))
        }

        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        loop.execute {
            raiseThreadPriority()
            nameThread("ced-loop")
        }
        let clock: @Sendable () -> Moment = { BootClock.moment() }
        var settings = MemberSettings(id: genesis.member, version: version, session: try SystemRandom.number())
        settings.agentDays = Int64(configuration.agentCertificateDays)
        settings.snapshots = configuration.snapshotEntries.map { SnapshotPolicy(entries: $0) }
        settings.contacts = contacts.others.map(\.id)
        if let held = configuration.heldVersion { settings.knows = min(settings.knows, held) }
        if let problem = settings.timing.problem() { throw StartRefusal(problem, isPermanent: true) }
        let runner = MemberRunner(
            Member(
                genesis: state, configuration: genesis.configuration, recovered: recovered, snapshot: restored,
                settings: settings, seed: try SystemRandom.number(), now: clock()),
            id: genesis.member, loop: loop, vault: vault, now: clock)
        let runs = RunRecords(directory: configuration.runsDirectory, log: { logger.log($0) }, now: wallClockSeconds)
        let snapshotThread = SnapshotThread(snapshots, genesis: state)
        let running = try RunningMember(
            configuration: configuration, runner: runner, journal: journal, snapshots: snapshotThread, group: group, lock: lock,
            logger: logger, runs: runs,
            links: links(configuration, genesis, state, secrets, contacts, runner, runs, snapshotThread, logger), contacts: contacts,
            removed: removed,
            surroundings: Surroundings(
                directory: directory, certificate: secrets.certificate, projection: configuration.projectionSettings, vault: vault,
                state: { await runner.appliedState() }, logger: logger, deliver: { runner.deliver(.facts($0)) }),
            now: { clock().instant })
        do {
            try await running.open(plan, identity: TLSIdentity(chain: [secrets.certificate], key: secrets.key), state, version: version)
        } catch {
            await running.stop(because: nil)
            throw error
        }
        logger.log(
            .info,
            LogLine(
                "start", ("MEMBER", genesis.member), ("CLUSTER", state.cluster), ("VERSION", version),
                ("ENTRIES", recovered.entries.count), ("SNAPSHOT", recovered.snapshot?.index ?? .zero), ("TERM", recovered.ballot.term)))
        return running
    }

    private static func neverInitialised(_ directory: StateDirectory) -> StartRefusal {
        StartRefusal(
            "\(directory.path): this member was never initialised or has lost its disk; it must not come back under its old id "
                + "(installing its old bundle again would bring it back without what it promised, and could cost the others their data: "
                + "the others go on without it: remove it there, ced cluster remove, and let this machine join under another id, "
                + "ced cluster invite; a machine of a cluster not yet begun gets its bundle from: ced cluster init)",
            isPermanent: true)
    }

    private static func openSnapshots(_ directory: StateDirectory) throws -> (store: SnapshotStore<FileDisk>, newest: Snapshot?) {
        let disk: FileDisk
        do throws(DiskFailure) {
            disk = try FileDisk(directory: directory.journal)
        } catch {
            throw StartRefusal("cannot read \(directory.journal): \(error)", isPermanent: false)
        }
        do throws(SnapshotRefusal) {
            return try SnapshotStore.open(on: disk)
        } catch {
            switch error {
            case .unusable: throw StartRefusal("\(directory.journal)/\(error)", isPermanent: true)
            case .disk: throw StartRefusal("\(directory.journal): \(error)", isPermanent: false)
            }
        }
    }

    private static func restore(_ snapshot: Snapshot, _ genesis: GenesisState, _ directory: StateDirectory) throws -> DispatcherState {
        do {
            return try SnapshotThread<FileDisk>.state(in: snapshot, genesis: genesis)
        } catch {
            throw StartRefusal(
                "\(directory.journal)/\(SnapshotStore<FileDisk>.fileName(snapshot.place)) holds no state of this cluster: \(error)",
                isPermanent: true)
        }
    }

    private static func openJournal(
        _ directory: StateDirectory, behind snapshot: LogBase?
    ) throws -> (journal: Journal<FileDisk>, genesis: Genesis, recovered: Recovered) {
        let disk: FileDisk
        do throws(DiskFailure) {
            disk = try FileDisk(directory: directory.journal)
        } catch {
            throw StartRefusal("cannot read \(directory.journal): \(error)", isPermanent: false)
        }
        do throws(JournalRefusal) {
            return try Journal.open(on: disk, behind: snapshot)
        } catch {
            switch error {
            case .missing: throw neverInitialised(directory)
            case .damaged(let file, let offset, let reason):
                throw StartRefusal(
                    "\(directory.journal)/\(file) is damaged at byte \(offset): \(reason); this member must not come back under its old id "
                        + "(keep the directory for whoever examines it, and add a new member in its place)", isPermanent: true)
            case .unknownFormat(let format):
                throw StartRefusal(
                    "\(directory.journal) has format \(format), which this version does not read: use the ced that wrote it, or a later one",
                    isPermanent: true)
            case .snapshotLost: throw StartRefusal("\(directory.journal): \(error)", isPermanent: true)
            case .disk(let failure):
                throw StartRefusal("cannot read \(directory.journal): \(failure)", isPermanent: false)
            }
        }
    }

    private static func genesisState(_ genesis: Genesis, _ directory: StateDirectory) throws -> GenesisState {
        do throws(WireFailure) {
            return try GenesisState(decoding: genesis.payload)
        } catch {
            throw StartRefusal("\(directory.journal) does not begin with a cluster's state: \(error)", isPermanent: true)
        }
    }

    private static func links(
        _ configuration: ServeConfiguration, _ genesis: Genesis, _ state: GenesisState, _ secrets: StateDirectory.Secrets,
        _ contacts: Contacts, _ runner: MemberRunner, _ runs: RunRecords, _ snapshots: SnapshotThread<FileDisk>, _ logger: Logger
    ) throws -> PeerLinks {
        PeerLinks(
            credentials: PeerLinks.Credentials(
                hello: PeerHello(cluster: state.cluster, incarnation: state.incarnation, member: genesis.member),
                identity: try TLSIdentity(chain: [secrets.certificate], key: secrets.key),
                clusterCA: try Certificate(der: state.clusterCA.certificate)),
            others: contacts.others, dialFrom: configuration.dialFrom, loop: runner.loop,
            bulk: BulkServer(loop: runner.loop) { resource in
                switch resource {
                case .runRecord(let reqid): await runs.source(of: reqid)
                case .snapshot(let place): try await snapshots.source(of: place)
                }
            },
            revocations: runner.revocations, directory: contacts.directory, deliver: { runner.deliver(.peer($0, from: $1)) },
            log: { logger.log($0) })
    }

    /// Whom this member knows before it has applied anything: those with which the cluster began, and those whom it knew when it last ran, or
    /// was told of when it joined. What it knew last goes before what stood at the beginning.
    struct Contacts: Sendable {
        let others: [PeerLinks.Other]
        let directory: PeerDirectory
    }

    private static func contacts(of member: MemberID, _ state: GenesisState, _ directory: StateDirectory) throws -> Contacts {
        let kept = try directory.readContacts()
        let founders = state.members.map { MemberContact(id: $0.id.name, address: $0.address) }
        // Where something was kept, founders that are not in it were removed.
        let known = kept.isEmpty ? founders : kept
        let others = try known.filter { $0.id != member.name }.map { contact in
            guard let id = MemberID(contact.id), let address = HostPort(contact.address) else {
                throw StartRefusal("member \(contact.id) has no address that can be dialled: '\(contact.address)'", isPermanent: true)
            }
            return PeerLinks.Other(id: id, address: address)
        }
        return Contacts(
            others: others,
            directory: PeerDirectory(
                contacts: others.map(\.id), nextSerial: serialNumber(incarnation: state.incarnation, counter: state.nextSerialCounter),
                ownAddress: known.first { $0.id == member.name }?.address ?? ""))
    }
}

/// A member whose parts run.
final class RunningMember: Sendable {
    let runner: MemberRunner
    private let journal: JournalThread<FileDisk>
    private let snapshots: SnapshotThread<FileDisk>
    private let signer: Signer
    private let links: PeerLinks
    private let bulkLinks: BulkLinks
    private let runs: RunRecords
    private let surroundings: Surroundings
    private let contacts: MemberProcess.Contacts
    private let removed: @Sendable (LogIndex) -> Void
    private let peerGroup: MultiThreadedEventLoopGroup
    /// The public ports have loops of their own: a flood there must not cost an election.
    private let portGroup = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    private let ports = Mutex<Ports?>(nil)
    /// What is in force.
    let configuration: Mutex<ServeConfiguration>
    let pairingUpkeep: PairingUpkeep
    let watch: ServiceWatch
    /// Held for as long as the member runs.
    private let lock: DirectoryLock
    let logger: Logger
    let service = ServiceNotifier()
    var agents: AgentCaller? { ports.withLock { $0?.agents } }
    var hooksInForce: HooksInForce? { ports.withLock { $0?.hooks } }
    var isolationLimit: IsolationLimit? { ports.withLock { $0?.isolationLimit } }

    init(
        configuration: ServeConfiguration, runner: MemberRunner, journal: Journal<FileDisk>,
        snapshots: SnapshotThread<FileDisk>, group: MultiThreadedEventLoopGroup,
        lock: DirectoryLock, logger: Logger, runs: RunRecords, links: PeerLinks, contacts: MemberProcess.Contacts,
        removed: @escaping @Sendable (LogIndex) -> Void, surroundings: Surroundings,
        now: @escaping @Sendable () -> Instant
    ) {
        self.configuration = Mutex(configuration)
        self.runner = runner
        self.surroundings = surroundings
        self.contacts = contacts
        self.removed = removed
        pairingUpkeep = PairingUpkeep(runner)
        peerGroup = group
        self.lock = lock
        self.logger = logger
        self.links = links
        self.runs = runs
        bulkLinks = links.bulkLinks(to: contacts.others, on: portGroup.next())
        self.snapshots = snapshots
        signer = Signer(vault: runner.vault)
        self.journal = JournalThread(journal) { report in
            switch report {
            case .durable(let write): runner.deliver(.wrote(write))
            case .failed(let failure): runner.deliver(.writeFailed(failure))
            case .full: runner.deliver(.diskFull)
            }
        }
        watch = ServiceWatch(
            loop: runner.loop, service: service, disk: self.journal, logger: logger, now: now, statusLine: { runner.statusLine() })
    }

    /// Listens everywhere, starts the member, tells the service manager.
    func open(_ plan: ListenPlan, identity: TLSIdentity, _ state: GenesisState, version: String) async throws {
        let opened: Ports
        do {
            _ = try await links.listen(on: plan[.peer].address)
            opened = try await openPorts(plan, identity, state, version)
            ports.withLock { $0 = opened }
        } catch let failure as ListenFailure {
            throw StartRefusal(failure.description + plan.holder(of: failure) + plan.setting(of: failure), isPermanent: failure.isPermanent)
        }
        let logger = logger
        runner.start(
            with: MemberRunner.Hands(
                journal: journal, peers: links, signer: signer,
                agents: AgentCalls(caller: opened.agents, dispatcher: state.dispatcherID),
                project: { [surroundings] in surroundings.project($0) }, members: { [weak self] in self?.follow($0, isCurrent: $1) },
                leave: removed, log: { logger.log($0) },
                snapshots: SnapshotHands(snapshots, fetcher: bulkLinks),
                stop: { reason in
                    // Nothing may leave any more: not even in good order.
                    logger.log(.critical, LogLine("stop", ("REASON", reason.text)))
                    LogOutput.flush()
                    _exit(reason.exitCode)
                }))
        links.start()
        surroundings.serves(operationsAt: opened.operations.port)
        surroundings.start()
        service.ready(status: "waiting for a leader")
        watch.begin(each: { [runner] in runner.deliver(.tick) })
        if configuration.withLock({ $0.pairingAlways }) { pairingUpkeep.begin() }
    }

    private func openPorts(
        _ plan: ListenPlan, _ identity: TLSIdentity, _ state: GenesisState, _ version: String
    ) async throws -> Ports {
        let configuration = configuration.withLock { $0 }
        if case .unix(let socket, _, _) = plan[.control].address, let slash = socket.lastIndex(of: "/"), slash != socket.startIndex {
            try DurableFile.makeDirectory(String(socket[..<slash]), mode: 0o755)
        }
        return try await Ports.start(
            front: runner, identity: identity, clusterRoots: [Certificate(der: state.clusterCA.certificate)],
            configuration: PortsConfiguration(
                operations: plan[.operations].address, pairing: plan[.pairing].address, api: plan[.api].address,
                controlSocket: plan[.control].address,
                agentLink: AgentLinkConfiguration(
                    maxParallel: configuration.maxParallel, readTimeoutSeconds: Int64(configuration.readTimeoutSeconds),
                    dialFrom: configuration.dialFrom), version: version, hooks: hooks(configuration),
                apiIdentity: Self.apiIdentity(configuration), apiRequests: configuration.apiRequests,
                isolationLimitSeconds: configuration.isolationLimitSeconds),
            runs: RunBook(
                records: runs, others: RunLookup(links: bulkLinks, recordBytes: runs.bounds.recordBytes)),
            group: portGroup, logger: logger, revocations: runner.revocations, observe: { [runner] in runner.deliver(.observed($0)) },
            observeTags: { [runner] in runner.deliver(.tagsObserved($0, $1)) })
    }

    func hooks(_ configuration: ServeConfiguration) -> HookPolicy {
        let hook = configuration.authHook.map { AuthHook(path: $0, timeoutSeconds: configuration.authHookTimeoutSeconds) }
        if let hook, !isExecutableFile(hook.path) {
            // It may come later; until then everything that asks it is denied.
            logger.log(.warning, LogLine("config-warn", ("KEY", "auth_hook"), ("MSG", AgentErrors.hookMissing(hook.path))))
        }
        return HookPolicy(
            hook: hook, allowsApiWithoutHook: configuration.allowsApiWithoutHook, deniesGenerically: configuration.deniesGenerically)
    }

    /// What 7445 presents; nil: it speaks no TLS.
    static func apiIdentity(_ configuration: ServeConfiguration) throws -> TLSIdentity? {
        guard let certificatePath = configuration.apiCertificate, let keyPath = configuration.apiKey else { return nil }
        do {
            return try TLSIdentity(
                chain: Certificate.all(inPEM: DurableFile.read(certificatePath)), key: PrivateKey(pem: DurableFile.read(keyPath)))
        } catch {
            throw StartRefusal("api_cert and api_key cannot be used: \(error)", isPermanent: true)
        }
    }

    /// Who the members are has changed. On the peer loop.
    private func follow(_ state: DispatcherState, isCurrent: Bool) {
        // Until all is applied, those of whom it was told may be news to the state.
        let told = isCurrent ? [] : contacts.others.filter { state.formerMember($0.id) == nil }
        contacts.directory.follow(state, contacts: told.map(\.id), own: runner.id)
        let known = state.members.filter { $0.id != runner.id }.compactMap { member in
            HostPort(member.address).map { PeerLinks.Other(id: member.id, address: $0) }
        }
        let others = told + known.filter { other in !told.contains { $0.id == other.id } }
        links.follow(others)
        bulkLinks.follow(others)
        guard isCurrent else { return }
        let directory = StateDirectory(configuration.withLock { $0.directory })
        surroundings.keep(state.members.map { MemberContact(id: $0.id.name, address: $0.address) }, in: directory, logger: logger)
    }

    /// This member was removed: what is under way ends in good order, and the directory says that nobody lives here any more.
    func leave() async {
        let directory = StateDirectory(configuration.withLock { $0.directory })
        do {
            try DurableFile.write(Array("this member was removed from its cluster\n".utf8), to: directory.removed, mode: 0o644)
        } catch {
            logger.log(.warning, LogLine("stop", ("ERROR", "\(error)")))
        }
        await stop(because: "removed from the cluster")
    }

    /// - Parameter reason: for the log; nil: it has never begun, and why is said elsewhere.
    func stop(because reason: String?) async {
        service.stopping()
        watch.end()
        pairingUpkeep.cancel()
        await runner.handOver(atMost: MemberProcess.handoverLimit)
        await ports.withLock { $0 }?.stop(drain: MemberProcess.drainLimit)
        await bulkLinks.close()
        await links.close()
        await runs.close()
        do {
            try await snapshots.close()
            try await journal.close()
            try await surroundings.close()
            try await signer.close()
            try await portGroup.shutdownGracefully()
            try await peerGroup.shutdownGracefully()
        } catch {
            logger.log(.warning, LogLine("stop", ("ERROR", "\(error)")))
        }
        if let reason { logger.log(.info, LogLine("stop", ("REASON", reason))) }
    }
}

extension StopReason {
    var text: String {
        switch self {
        case .journalFailed(let failure): "the journal cannot be written: \(failure); restart to go on from what is on disk"
        case .snapshotFailed(let failure): "a snapshot cannot be written: \(failure); restart to go on from what is on disk"
        case .invariantBroken(let what): "an invariant does not hold: \(what)"
        case .versionUnknown(let needed, let known):
            "the cluster follows version \(needed) of the state machine, and this member knows version \(known) at most: "
                + "install the release of the other members, or take hold_version out of ced.conf"
        }
    }

    /// 78 for what a restart cannot mend.
    var exitCode: Int32 {
        switch self {
        case .journalFailed, .snapshotFailed, .invariantBroken: 1
        case .versionUnknown: ExitCode.configuration.rawValue
        }
    }
}

extension Logger {
    /// In ctrl-exec's vocabulary.
    func log(_ record: LogRecord) {
        let line = LogLine(record.action, record.fields.map { LogLine.Field($0.key, $0.value) })
        let level: Logger.Level =
            switch record.level {
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        log(level, line)
    }
}
