// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `cea serve`: the daemon. One process may serve several agents, each with a directory and a port of its own; that is for tests of
// dispatchers, which need hundreds.

import Agent
import ArgumentParser
import CtrlExec
import NIOCore
import NIOPosix
import Platform

extension AgentDialect: ExpressibleByArgument {}

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve the agent's port until SIGTERM; SIGHUP reads the files again.")

    @Option(
        help: ArgumentHelp(
            "Keep everything below this directory instead of /etc/ctrl-exec-agent and /var/lib/ctrl-exec-agent. Several times: one agent for each.",
            valueName: "DIR"))
    var directory: [String] = []
    @Option(help: ArgumentHelp("The agent's configuration (default: agent.conf in the agent's directory).", valueName: "FILE"))
    var config: String?
    @Option(help: ArgumentHelp("The allowed scripts (default: scripts.conf in the agent's directory).", valueName: "FILE"))
    var allowlist: String?
    @Option(help: ArgumentHelp("Listen on this address only.", valueName: "ADDRESS")) var listen = "0.0.0.0"
    @Option(
        help: """
            Be told of new serials as this release of ctrl-exec wants it: 0.8, 0.9 or 0.11; once for all agents, or once for each. For \
            tests of dispatchers.
            """)
    var dialect: [AgentDialect] = []

    func validate() throws {
        if directory.count > 1, config != nil || allowlist != nil {
            throw ValidationError("--config and --allowlist are for a single agent; several have their files in their directories")
        }
        if dialect.count > 1, dialect.count != directory.count {
            throw ValidationError("--dialect is said once, or once for each --directory, not \(dialect.count) times for \(directory.count)")
        }
    }

    func run() async throws {
        do {
            let signals = try TerminationSignals.stream()
            var servers: [AgentServer] = []
            let layouts =
                directory.isEmpty
                ? [AgentLayout(directory: nil, configuration: config, allowlist: allowlist)]
                : directory.map { AgentLayout(directory: $0, configuration: config, allowlist: allowlist) }
            for (number, layout) in layouts.enumerated() {
                let name = layouts.count > 1 ? layout.directory?.split(separator: "/").last.map(String.init) : nil
                let state = try AgentState(layout: layout, log: makeLog(agent: name))
                let spoken = dialect.count > 1 ? dialect[number] : dialect.first ?? .endpoint
                let service = AgentService(state: state, launcher: .process(argument: DetachedRunCommand.name), dialect: spoken)
                servers.append(try await AgentServer.start(service, listen: listen, on: MultiThreadedEventLoopGroup.singleton))
            }
            let manager = ServiceNotifier()
            let status = servers.count == 1 ? "serves port \(servers.first?.port ?? 0)" : "serves \(servers.count) agents"
            manager.ready(status: status)
            for await signal in signals {
                if signal != .hangUp { break }
                manager.reloading()
                for server in servers { server.reload() }
                manager.ready(status: status)
            }
            manager.stopping()
            await withTaskGroup(of: Void.self) { group in
                for server in servers { group.addTask { await server.stop(drainSeconds: 5) } }
            }
        } catch let failure as AgentFailure {
            end(failure)
        }
    }
}
