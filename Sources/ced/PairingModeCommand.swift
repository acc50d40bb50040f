// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced pairing-mode [start|stop]`: whether hosts may ask to be paired, on all members alike; without a word a session in the foreground
// (`PairingSession.swift`).

import AgentLink
import ArgumentParser
import CtrlExec

struct PairingModeCommand: AsyncParsableCommand {
    enum Action: String, ExpressibleByArgument, CaseIterable { case start, stop }

    static let configuration = CommandConfiguration(
        commandName: "pairing-mode", abstract: "Opens or closes the pairing session of the whole cluster, or shows it live.",
        discussion: """
            In the foreground, on a terminal: a approves and d denies the oldest request that was shown, s sets it aside, a2 and d2 the second, \
            l lists, q quits. Compare the code with the one that the host shows. Requests and decisions may go through any member.
            """)

    @Argument(help: "start or stop; without it, a session in the foreground: it opens, shows who asks, and closes when you leave.")
    var action: Action?
    @Flag(name: .customLong("no-open"), help: "In the foreground: open no session, only watch.")
    var noOpen = false
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
        if noOpen, action != nil { throw ValidationError("--no-open is for a session in the foreground: leave out 'start' and 'stop'") }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            guard let action else {
                return try await PairingSession(
                    client: Client(connection), seconds: seconds, opens: !noOpen, request: request, asJSON: connection.json
                ).run()
            }
            let answer = try await Client(connection).exclusive(
                "POST", "/v1/pairing/mode",
                .record(["action": .text(action.rawValue), "seconds": action == .start ? .count(seconds) : nil]), request)
            if connection.json { return Output.json(answer) }
            Output.line(answer.flag("open") ? pairingText(answer) : "The pairing session is closed.")
        }
    }
}
