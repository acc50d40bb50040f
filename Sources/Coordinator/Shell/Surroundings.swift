// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member knows of itself beside its pure part: the room on its disk, the end of its certificate, the files that it keeps for people.
// Looked at on a thread of its own, for a file system may block; told to the member, whose report carries it to whoever asks.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Logging
import NIOCore
import NIOPosix
import PKI
import Platform
import Synchronization
import Transport
import Wire

final class Surroundings: Sendable {
    private static let interval = TimeAmount.seconds(5)

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let directory: String
    private let facts: FactSheet
    private let projector: Projector?

    /// - Parameters:
    ///   - directory: the state directory.
    ///   - projection: nil: no files are kept.
    ///   - deliver: told whenever something was looked at.
    init(
        directory: StateDirectory, certificate: Certificate, projection: ProjectionSettings?, vault: KeyVault,
        state: @escaping @Sendable () async -> DispatcherState, logger: Logger, deliver: @escaping @Sendable (MemberFacts) -> Void
    ) {
        self.directory = directory.path
        let facts = FactSheet(
            MemberFacts(
                certificateNotAfter: WallClock(secondsSince1970: certificate.notAfter), projection: projection == nil ? .off : .waiting),
            deliver: deliver)
        self.facts = facts
        if let projection {
            let writer = ProjectionWriter(settings: projection, manifest: directory.projection) { logger.log($0, $1) }
            var key: (@Sendable (SerialNumber) throws -> PrivateKey)?
            if projection.projectsKeys { key = { try vault.identity($0).key } }
            projector = Projector(
                writer: writer, loop: group.next(), state: state, key: key, calendar: { BootClock.wallClock() },
                report: { facts.note($0) })
        } else {
            projector = nil
        }
    }

    /// The member's effects; on the peer loop.
    func project(_ change: ProjectionChange) { projector?.note(change) }

    /// Where operators are served.
    func serves(operationsAt port: Int?) { facts.change { $0.operationsPort = port.flatMap { UInt16(exactly: $0) } } }

    func start() {
        group.next().scheduleRepeatedTask(initialDelay: .zero, delay: Self.interval) { [weak self] _ in self?.look() }
    }

    /// Keeps for the next start whom this member knows. Off the peer loop.
    func keep(_ contacts: [MemberContact], in directory: StateDirectory, logger: Logger) {
        group.next().execute {
            do {
                try directory.writeContacts(contacts)
            } catch {
                logger.log(.warning, LogLine("contacts-not-kept", ("ERROR", "\(error)")))
            }
        }
    }

    func close() async throws {
        await projector?.close()
        try await group.shutdownGracefully()
    }

    private func look() {
        do throws(FileProblem) {
            let space = try DiskSpace(at: directory)
            facts.change { $0.disk = MemberFacts.DiskSpace(freeBytes: space.freeBytes, totalBytes: space.totalBytes) }
        } catch {
            // Whoever asks how the member is sees that it does not know.
            facts.change { $0.disk = nil }
        }
    }
}

/// The facts as they are now; every change is told.
private final class FactSheet: Sendable {
    private let facts: Mutex<MemberFacts>
    private let deliver: @Sendable (MemberFacts) -> Void
    init(_ facts: MemberFacts, deliver: @escaping @Sendable (MemberFacts) -> Void) {
        self.facts = Mutex(facts)
        self.deliver = deliver
    }

    func note(_ report: Projector.Report) {
        change { facts in
            facts.projection =
                report.problem.map { .failing(String(decoding: $0.utf8.prefix(MemberFacts.textLimit), as: UTF8.self)) } ?? .following
            facts.keptAside = UInt32(clamping: report.kept.count)
            facts.keptAsideExample = String(decoding: (report.kept.last ?? "").utf8.prefix(MemberFacts.textLimit), as: UTF8.self)
        }
    }

    func change(_ body: (inout MemberFacts) -> Void) {
        deliver(
            facts.withLock { facts in
                body(&facts)
                return facts
            })
    }
}
