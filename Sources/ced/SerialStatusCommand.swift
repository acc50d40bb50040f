// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced serial-status`: which dispatcher certificates there are, which members hold them, which agents trust them, and for whom the end of
// an old one waits.

import AgentLink
import ArgumentParser
import CtrlExec

struct SerialStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serial-status", abstract: "Shows the dispatcher's certificates, and what members and agents know of them.",
        discussion: "Agents are current, pending (to be told), stale (pair again) or unknown. Exits with 0 if all are current, else with 1."
    )

    @Flag(help: "Show it anew whenever it changes, until Ctrl-C.")
    var watch = false
    @OptionGroup(title: "Reading")
    var reading: ReadOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func validate() throws {
        if watch, reading.consistency != .linearizable { throw ValidationError("--watch shows what is; leave --consistency out") }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let client = try Client(connection)
            var last: JSONValue?
            while true {
                let status = try await client.read("/v1/rotation", reading)
                if status != last {
                    if connection.json { Output.json(status) } else { show(status, again: last != nil) }
                }
                last = status
                guard watch else {
                    let counts = status["counts"] ?? .object([])
                    if counts.integer("current") == Int64(status.list("agents").count) { return }
                    throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue)
                }
                try await Task.sleep(for: .seconds(1))
            }
        }
    }

    private func show(_ status: JSONValue, again: Bool) {
        if again { Output.line("") }
        Output.table(
            ["SERIAL", "PHASE", "CERT EXPIRY", "HELD BY"],
            status.list("identities").map {
                let holders = $0.list("holders").compactMap(\.scalarText).joined(separator: ",")
                return [$0.text("serial"), $0.text("phase"), $0.text("expiry"), holders.isEmpty ? "-" : holders]
            })
        Output.line("")
        let agents = status.list("agents")
        if agents.isEmpty {
            Output.line("No registered agents.")
        } else {
            Output.table(
                ["HOSTNAME", "STATUS", "SHOWN", "SPEAKS"],
                agents.map {
                    [
                        $0.text("hostname"), $0.text("serial_status"), $0.text("dispatcher_serial"),
                        $0.text("dialect").isEmpty ? "-" : $0.text("dialect"),
                    ]
                })
        }
        Output.line("")
        Output.line(progressLine(status) + ".")
        for line in retirementLines(status) { Output.line(line) }
    }
}
