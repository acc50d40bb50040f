// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's port: TLS and HTTP come from Transport, answers from the service; here is who is let in at all, and what is said about the rest.

import CtrlExec
import Platform
import NIOCore
import Transport

package final class AgentServer: Sendable {
    private let listener: HTTPListener
    private let state: AgentState
    private let gate: Gate

    /// The port that is served, also where the configuration says 0.
    package let port: Int

    private init(listener: HTTPListener, state: AgentState, gate: Gate, port: Int) {
        self.listener = listener
        self.state = state
        self.gate = gate
        self.port = port
    }

    /// Binds, and writes the port file if the agent has a directory of its own.
    package static func start(_ service: AgentService, listen host: String, on group: any EventLoopGroup) async throws(AgentFailure)
        -> AgentServer
    {
        let state = service.state
        let configuration = state.configuration
        let gate = Gate(state)
        var settings = HTTPListenerConfiguration(address: .tcp(host: host, port: Int(configuration.port))) {
            let snapshot = state.current
            // Asked for, not demanded: without one the request is answered 403 (protocol page, 3.2).
            return TLSServer(identity: snapshot.identity, clients: .optional(.fleet(roots: snapshot.roots)))
        }
        settings.limits.headerCount = Limits.headerLines
        settings.limits.bodyBytes = Limits.bodyBytes
        settings.limits.connections = configuration.maximumConnections
        settings.limits.connectionsPerAddress = max(1, configuration.maximumConnections / 2)
        settings.admitPeer = { gate.admits($0, $1) }
        settings.refuseHead = { request in
            service.refusalOfStranger(
                method: request.method, path: request.path, isKnown: request.peer != nil, address: request.remoteAddress)
        }
        settings.earlyRefusal = { status, error in
            HTTPResponse(status: status, json: AgentAnswer.early(status, error).body)
        }
        settings.report = { gate.report($0) }
        let listener: HTTPListener
        do {
            listener = try await HTTPListener.start(settings, on: group) { request, writer in
                let answer = await service.answer(
                    AgentRequest(
                        method: request.method, path: request.path, body: request.body, serial: request.peer?.serial,
                        address: request.remoteAddress.ip ?? "local"))
                await writer.send(HTTPResponse(status: answer.status, json: answer.body))
            }
        } catch {
            throw AgentServer.refusal(error, configuration.port, state.layout)
        }
        let port = listener.port ?? Int(configuration.port)
        if let path = state.layout.portFile {
            do { try AgentFiles.replace(path, with: Array("\(port)\n".utf8), mode: 0o644) } catch {
                await listener.stop(drain: .zero)
                throw AgentFailure(.permission, error.description)
            }
        }
        state.log.info("start", ("PORT", port))
        return AgentServer(listener: listener, state: state, gate: gate, port: port)
    }

    /// Why the port cannot be had, who has it as far as we may know, and where it is set. What a restart does not mend ends with 78.
    private static func refusal(_ error: any Error, _ port: UInt16, _ layout: AgentLayout) -> AgentFailure {
        guard let failure = error as? ListenFailure else { return AgentFailure(.failed, "\(error)") }
        var text = failure.description
        if failure.isInUse {
            text += ListeningProcess.names(on: Int(port)).map { ": \($0)" } ?? ""
            // Both programs have the same port by default.
            if port == 7443 { text += " (a ced member on the same host listens on 7443, too: move one of the two)" }
        }
        return AgentFailure(failure.isPermanent ? .configuration : .failed, text + "; set by port in \(layout.configuration)")
    }

    /// As SIGHUP does it: reads the files again and forgets who was blocked.
    package func reload() {
        state.reload()
        gate.clear()
    }

    /// Runs that are under way keep their connections for so long; the scripts themselves are not stopped.
    package func stop(drainSeconds: Int64) async { await listener.stop(drain: .seconds(drainSeconds)) }
}
