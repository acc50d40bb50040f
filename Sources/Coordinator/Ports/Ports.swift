// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// All public ports of a member, opened together and closed together. 7446 belongs to the peers and is not among them.

import AgentLink
import Consensus
import CtrlExec
import DispatcherState
import Glibc
import Logging
import NIOCore
import PKI
import Platform
import Synchronization
import Transport
import Wire

package struct PortsConfiguration: Sendable {
    package var operations: ListenAddress
    package var pairing: ListenAddress
    package var api: ListenAddress
    package var controlSocket: ListenAddress
    package var agentLink: AgentLinkConfiguration
    package var version: String
    package var hooks: HookPolicy
    /// 7445 speaks TLS with this; nil: plain HTTP.
    package var apiIdentity: TLSIdentity?
    /// Requests on 7445 that are answered at one time (`api_max_children`).
    package var apiRequests: Int
    /// How long work on agents goes on without a leader (`isolation_limit`).
    package var isolationLimitSeconds: UInt64
    /// The uid as which the member runs.
    package var owner: UInt32

    package init(
        operations: ListenAddress, pairing: ListenAddress, api: ListenAddress, controlSocket: ListenAddress,
        agentLink: AgentLinkConfiguration, version: String, hooks: HookPolicy = HookPolicy(), apiIdentity: TLSIdentity? = nil,
        apiRequests: Int = Limits.apiRequests, isolationLimitSeconds: UInt64 = Limits.isolationSeconds, owner: UInt32 = getuid()
    ) {
        self.isolationLimitSeconds = isolationLimitSeconds
        self.hooks = hooks
        self.apiIdentity = apiIdentity
        self.apiRequests = apiRequests
        self.operations = operations
        self.pairing = pairing
        self.api = api
        self.controlSocket = controlSocket
        self.agentLink = agentLink
        self.version = version
        self.owner = owner
    }
}

package final class Ports: Sendable {
    package let operations: HTTPListener
    package let pairing: HTTPListener
    package let api: HTTPListener
    package let controlSocket: HTTPListener
    /// Dials agents with the dispatcher's identities.
    package let agents: AgentCaller
    /// What the auth hook is, and what holds without one; may change while the ports are open.
    package let hooks: HooksInForce
    package let isolationLimit: IsolationLimit
    private let watch: Task<Void, Never>

    private init(
        operations: HTTPListener, pairing: HTTPListener, api: HTTPListener, controlSocket: HTTPListener, agents: AgentCaller,
        hooks: HooksInForce, isolationLimit: IsolationLimit, watch: Task<Void, Never>
    ) {
        self.isolationLimit = isolationLimit
        self.hooks = hooks
        self.agents = agents
        self.operations = operations
        self.pairing = pairing
        self.api = api
        self.controlSocket = controlSocket
        self.watch = watch
    }

    /// Binds all four, or none: throws `ListenFailure`, or why the dispatcher identity cannot be used.
    ///
    /// - Parameters:
    ///   - identity: the member's certificate, which 7443 presents.
    ///   - clusterRoots: the cluster CA.
    ///   - runs: the records that this member keeps, and the way to the others'.
    ///   - revocations: whoever is on it is let in nowhere.
    ///   - observe: told when an agent let another identity in than the state says.
    ///   - observeTags: told the tags of every agent that gave its capabilities.
    package static func start(
        front: any MemberFront, identity: TLSIdentity, clusterRoots: [Certificate], configuration: PortsConfiguration,
        runs: RunBook, group: any EventLoopGroup, logger: Logger, revocations: RevocationList = RevocationList(),
        observe: @escaping @Sendable (AgentObservation) -> Void = { _ in },
        observeTags: @escaping @Sendable (AgentKey, AgentTags) -> Void = { _, _ in }
    ) async throws -> Ports {
        let state = await front.appliedState()
        let fleetRoots = [try Certificate(der: state.genesis.fleetCA.certificate)]
        let agents = AgentCaller(
            configuration: configuration.agentLink, logger: logger,
            observe: { observe(AgentObservation(agent: $0, accepted: $1, refused: $2)) }, observeTags: observeTags,
            dial: agentDial(
                configuration: configuration.agentLink, fleetRoots: fleetRoots, group: group,
                isRevoked: { revocations.contains($0) }, identity: { serial in try front.dispatcherIdentity(serial) }))
        let hooks = HooksInForce(configuration.hooks)
        let isolationLimit = IsolationLimit(seconds: configuration.isolationLimitSeconds)
        let portFront = PortFront(
            member: front, agents: agents, cluster: state.genesis.cluster, owner: configuration.owner,
            group: { [path = configuration.controlSocket.socketPath] in groupThatMayWrite(path) }, version: configuration.version,
            hooks: hooks, runs: runs, apiRequests: configuration.apiRequests, isolationLimit: isolationLimit, logger: logger)
        let presented = PresentedIdentity(state)
        let pairingPort = PairingPort(member: front, logger: logger)

        var opened: [HTTPListener] = []
        func open(
            _ configuration: HTTPListenerConfiguration, as port: Port? = nil, _ handler: @escaping HTTPListener.Handler
        ) async throws -> HTTPListener {
            var configuration = configuration
            if let port {
                configuration.earlyRefusal = portFront.earlyRefusal(on: port)
                configuration.refuseHead = portFront.refuseHead(on: port)
            }
            do {
                let listener = try await HTTPListener.start(configuration, on: group, handler: handler)
                opened.append(listener)
                return listener
            } catch {
                for listener in opened { await listener.stop(drain: .zero) }
                throw error
            }
        }
        let operations = try await open(
            OperationsPort.configuration(
                configuration.operations, identity: identity, clusterRoots: clusterRoots, revocations: revocations, logger: logger),
            as: .operations, portFront.handler(on: .operations))
        let pairing = try await open(
            PairingPort.configuration(
                configuration.pairing, identity: { try front.dispatcherIdentity(presented.serial()) }, logger: logger),
            { await pairingPort.handle($0, $1) })
        let api = try await open(
            ApiPort.configuration(configuration.api, identity: configuration.apiIdentity, logger: logger), as: .api,
            portFront.handler(on: .api))
        let controlSocket = try await open(
            OperationsPort.controlSocket(configuration.controlSocket, logger: logger), as: .controlSocket,
            portFront.handler(on: .controlSocket))
        revocations.onChange { operations.recheckPeers() }
        let watch = Task {
            // Notes once that the member was ready, and follows the identity that 7444 presents. Ends when it is cancelled.
            var isolationWatch = IsolationWatch()
            while !Task.isCancelled {
                let glance = await front.glance()
                if glance.isReady { portFront.served.mark() }
                let isolation = Isolation(glance, hasServed: portFront.served.isMarked)
                let isPastLimit = isolation.map { isolationLimit.isPassed(by: $0) } ?? false
                if let change = isolationWatch.look(isolation, isPastLimit: isPastLimit) {
                    logger.log(.warning, change.line(limitSeconds: isolationLimit.seconds))
                }
                presented.update(await front.appliedState())
                do { try await Task.sleep(for: portFront.served.isMarked ? .seconds(1) : .milliseconds(50)) } catch { return }
            }
        }
        return Ports(
            operations: operations, pairing: pairing, api: api, controlSocket: controlSocket, agents: agents, hooks: hooks,
            isolationLimit: isolationLimit, watch: watch)
    }

    /// Accepts nothing more and waits so long for the answers under way. Agents that wait for a decision are let go.
    package func stop(drain: TimeAmount) async {
        watch.cancel()
        await withTaskGroup(of: Void.self) { group in
            for listener in [operations, api, controlSocket] { group.addTask { await listener.stop(drain: drain) } }
            group.addTask { await self.pairing.stop(drain: .zero) }
        }
    }
}

/// The group to which the file mode opens a unix socket.
private func groupThatMayWrite(_ path: String?) -> UInt32? {
    guard let path else { return nil }
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IWGRP != 0 else { return nil }
    return status.st_gid
}

/// The serial of the dispatcher identity that 7444 presents: the current one.
private final class PresentedIdentity: Sendable {
    private let current: Mutex<SerialNumber?>
    init(_ state: DispatcherState) { current = Mutex(Self.serial(in: state)) }

    func update(_ state: DispatcherState) {
        let serial = Self.serial(in: state)
        current.withLock { $0 = serial }
    }
    func serial() throws -> SerialNumber {
        guard let serial = current.withLock({ $0 }) else { throw PKIFailure("the cluster has no current dispatcher identity") }
        return serial
    }
    private static func serial(in state: DispatcherState) -> SerialNumber? { state.currentIdentity?.serial }
}
