// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster transfer`: hands leadership to another member without an interruption.

import AgentLink
import ArgumentParser
import CtrlExec

struct ClusterTransferCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transfer", abstract: "Hands leadership to another member.",
        discussion: "Without --to: to the member that is furthest along.")

    @Option(help: ArgumentHelp("The member that is to lead.", valueName: "member"))
    var to: String?
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).exclusive(
                "POST", "/v1/transfer", .record(["to": to.map { .text($0) }]), request, isProtected: false)
            if connection.json { return Output.json(answer) }
            Output.line("\(answer.text("leader")) leads.")
        }
    }
}
