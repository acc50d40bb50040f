// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced ping H...`: whether agents answer, how fast, until when their certificates are valid, and which version they are.

import AgentLink
import ArgumentParser
import CtrlExec

struct PingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping", abstract: "Asks agents whether they are there.", usage: "ced ping HOST ... [options]",
        discussion: "Exits with 0 if every host answered, with 1 otherwise.")

    @Argument(help: ArgumentHelp("The agents.", valueName: "host"))
    var hosts: [String]
    @OptionGroup
    var caller: CallerOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).onAgents(
                "/v1/ping", caller.added(to: ["hosts": .array(hosts.map { .text($0) })]), isRepeatable: true, unknown: "")
            let results = answer.list("results")
            if connection.json {
                Output.json(answer)
            } else {
                Output.table(
                    ["HOST", "STATUS", "RTT", "CERT EXPIRY", "VERSION"],
                    results.map {
                        [$0.text("host"), $0.text("status"), $0.text("rtt"), $0.text("expiry"), $0.text("version")]
                    })
                for result in results where result["error"] != nil { Output.note("\(result.text("host")): \(result.text("error"))") }
            }
            if results.contains(where: { $0.text("status") != "ok" }) { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue) }
        }
    }
}
