// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced dev`: a whole cluster with agents on this machine, in separate processes, by the same path as a real one.

import ArgumentParser
import Glibc

struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev", abstract: "Run a whole cluster with agents on this machine, to try things out.",
        discussion: """
            Members and agents are processes of their own that listen on free ports of 127.0.0.1; they are initialised, installed, started
            and paired as real ones are. DIR/cluster.json says what runs where. Ctrl-C ends everything that was started.
            """)

    @Option(help: "Members, 1 to 5.")
    var members = 3
    @Option(help: "Agents, 0 to 20.")
    var agents = 3
    @Option(help: ArgumentHelp("A new directory for everything.", valueName: "DIR"))
    var dir = "ced-dev"
    @Flag(help: "Print one JSON object a line instead of text: what happened, to whom.")
    var jsonEvents = false

    func validate() throws {
        guard (1...5).contains(members) else { throw ValidationError("--members: 1 to 5") }
        guard (0...20).contains(agents) else { throw ValidationError("--agents: 0 to 20") }
        guard !dir.isEmpty else { throw ValidationError("--dir: a directory") }
    }

    func run() async throws {
        let stopping = StopRequest()
        try stopping.listen()
        let cluster = DevCluster(
            plan: try DevPlan(members: members, agents: agents, directory: dir), printer: DevPrinter(asJSON: jsonEvents), stopping: stopping
        )
        do {
            try await cluster.build()
            try await cluster.watch()
        } catch is StopRequest.Stopped {
            // Asked to end: that is no failure.
        } catch {
            await cluster.end()
            throw error
        }
        await cluster.end()
    }
}
