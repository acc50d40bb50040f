// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `cea serve`: the daemon.

import Agent
import ArgumentParser
import CtrlExec
import NIOCore
import NIOPosix
import Platform

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve the agent's port until SIGTERM; SIGHUP reads the files again.")

    @OptionGroup var files: LayoutOptions
    @Option(help: ArgumentHelp("Listen on this address only.", valueName: "ADDRESS")) var listen = "0.0.0.0"

    func run() async throws {
        let log = makeLog()
        do {
            let signals = try TerminationSignals.stream()
            let state = try AgentState(layout: files.layout, log: log)
            let service = AgentService(state: state, launcher: .process(argument: DetachedRunCommand.name))
            let server = try await AgentServer.start(service, listen: listen, on: MultiThreadedEventLoopGroup.singleton)
            let manager = ServiceNotifier()
            manager.ready(status: "serves port \(server.port)")
            for await signal in signals {
                if signal != .hangUp { break }
                server.reload()
            }
            manager.stopping()
            await server.stop(drainSeconds: 5)
        } catch let failure as AgentFailure {
            end(failure)
        }
    }
}
