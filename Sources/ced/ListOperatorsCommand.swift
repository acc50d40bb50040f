// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced list-operators`: who may use 7443.

import AgentLink
import ArgumentParser
import CtrlExec

struct ListOperatorsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-operators", abstract: "Lists the operators to whom this cluster gave a certificate.",
        discussion: "With --json: an array, empty if there are none.")

    @OptionGroup(title: "Reading")
    var reading: ReadOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).read("/v1/operators", reading)
            let operators = answer.list("operators")
            if connection.json { return Output.json(.array(operators)) }
            guard !operators.isEmpty else { return Output.line("No operators.") }
            Output.table(
                ["NAME", "SERIAL", "CERT EXPIRY"], operators.map { [$0.text("name"), $0.text("serial"), $0.text("expiry")] })
        }
    }
}
