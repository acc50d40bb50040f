// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced pairing-mode start|stop`: whether hosts may ask to be paired, on all members alike.

import AgentLink
import ArgumentParser
import CtrlExec

struct PairingModeCommand: AsyncParsableCommand {
    enum Action: String, ExpressibleByArgument, CaseIterable { case start, stop }

    static let configuration = CommandConfiguration(
        commandName: "pairing-mode", abstract: "Opens or closes the pairing session of the whole cluster.")

    @Argument(help: "start or stop.")
    var action: Action
    @Option(help: ArgumentHelp("How long the session stays open, 1 to 600.", valueName: "seconds"))
    var seconds: Int = Limits.pairingWaitSeconds
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws {
        guard (1...Limits.pairingWaitSeconds).contains(seconds) else {
            throw ValidationError("--seconds is from 1 to \(Limits.pairingWaitSeconds)")
        }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).exclusive(
                "POST", "/v1/pairing/mode",
                .record(["action": .text(action.rawValue), "seconds": action == .start ? .count(seconds) : nil]), request)
            if connection.json { return Output.json(answer) }
            Output.line(answer.flag("open") ? pairingText(answer) : "The pairing session is closed.")
        }
    }
}
