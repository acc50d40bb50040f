// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced result R H...`: what became of an asynchronous run, asked of the agents themselves.

import AgentLink
import ArgumentParser
import CtrlExec

struct ResultCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "result", abstract: "Asks agents for the result of an asynchronous run.", usage: "ced result REQID HOST ... [options]",
        discussion: "Exits with 0 if the run is done on every host with exit code 0, with 1 otherwise.")

    @Argument(help: ArgumentHelp("The id that 'ced run --async' printed.", valueName: "reqid"))
    var reqid: String
    @Argument(help: ArgumentHelp("The agents.", valueName: "host"))
    var hosts: [String]
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func validate() throws {
        guard RunReference(reqid) != nil else { throw ValidationError("'\(reqid)' is not a reqid: give the reqid first, then the hosts") }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).onAgents(
                "/v1/result/\(reqid)", .record(["hosts": .array(hosts.map { .text($0) })]), isRepeatable: true, unknown: "")
            let results = answer.list("results")
            if connection.json { Output.json(answer) } else { results.forEach(show) }
            if !results.allSatisfy({ $0.text("status") == "done" && $0.integer("exit") == 0 }) {
                throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue)
            }
        }
    }

    private func show(_ result: JSONValue) {
        let status = result.text("status")
        guard status == "done" else {
            Output.line("==> \(result.text("host"))  [\(status)  \(result.text("rtt"))  req:\(reqid)]")
            if let error = result["error"]?.scalarText { Output.line("    ERROR: \(error)") }
            return
        }
        printRun(result)
    }
}
