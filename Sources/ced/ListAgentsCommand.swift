// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced list-agents`: the registry.

import AgentLink
import ArgumentParser
import CtrlExec

struct ListAgentsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-agents", abstract: "Lists the registered agents.",
        discussion: "With --json: an array of registry records, empty if there are none.")

    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let agents = try await Client(connection).read("/v1/agents").list("agents")
            if connection.json { return Output.json(.array(agents)) }
            guard !agents.isEmpty else { return Output.line("No registered agents.") }
            Output.table(
                ["HOSTNAME", "IP", "PORT", "LOOKUP", "PAIRED", "CERT EXPIRY", "SERIAL"],
                agents.map {
                    [
                        $0.text("hostname"), $0.text("ip"), $0.text("port"), $0.text("lookup_by"), $0.text("paired"), $0.text("expiry"),
                        $0.flag("revoked") ? "revoked" : $0.text("serial_status"),
                    ]
                })
        }
    }
}
