// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced list-requests`: hosts that wait to be paired, through whichever member they came.

import AgentLink
import ArgumentParser
import CtrlExec

struct ListRequestsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-requests", abstract: "Lists the pairing requests that wait for a decision.",
        discussion:
            "Compare the code with the one that the agent shows before you approve. With --json: an array, empty if none waits."
    )

    @OptionGroup(title: "Reading")
    var reading: ReadOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).read("/v1/pairing/requests", reading)
            let requests = answer.list("requests")
            if connection.json { return Output.json(.array(requests)) }
            if requests.isEmpty {
                Output.line("No pending requests.")
            } else {
                Output.table(
                    ["ID", "HOSTNAME", "SOURCE IP", "CODE", "RECEIVED"],
                    requests.map {
                        [
                            $0.text("reqid"), $0.text("hostname"), $0.text("source_ip"), $0.text("code"),
                            $0.text("received") + ($0.flag("approved") ? "  (approved, being signed)" : ""),
                        ]
                    })
            }
            Output.note(pairingText(answer))
        }
    }
}

/// Whether a pairing session is open.
func pairingText(_ answer: JSONValue) -> String {
    guard answer.flag("open") else { return "No pairing session is open; open one with: ced pairing-mode start" }
    guard let seconds = answer.integer("seconds_left") else { return "Pairing is open." }
    return "A pairing session is open for another \(seconds) s."
}
