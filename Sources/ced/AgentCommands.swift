// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced unpair N`, `ced edit-agent N`: changes of the registry. Nothing is sent to the agent.

import AgentLink
import ArgumentParser
import CtrlExec

struct UnpairCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unpair", abstract: "Removes an agent from the registry.",
        discussion: "Nothing is sent to the agent: its certificate stays valid until it expires, unless it is revoked first (ced revoke).")

    @Argument(help: ArgumentHelp("The agent.", valueName: "name"))
    var name: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws { try requireAgentName(name) }

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).exclusive("DELETE", "/v1/agents/\(name)", .object([]), request)
            if connection.json { return Output.json(answer) }
            Output.line("Unpaired '\(answer.text("agent"))'.")
            Output.note("Its certificate stays valid until it expires; the agent was told nothing.")
        }
    }
}

struct EditAgentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "edit-agent", abstract: "Renames an agent or changes how it is reached.")

    @Argument(help: ArgumentHelp("The agent.", valueName: "name"))
    var name: String
    @Option(help: ArgumentHelp("Its new name.", valueName: "new name"))
    var rename: String?
    @OptionGroup(title: "Reachability")
    var reachability: ReachabilityOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws {
        try requireAgentName(name)
        if let rename { try requireAgentName(rename) }
        if rename == nil, reachability.isEmpty {
            throw ValidationError("nothing to change: give --rename, --lookup-by, --ip or --agent-port")
        }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            var change = reachability.members
            if let rename { change = change.with(["rename": .text(rename)]) }
            let answer = try await Client(connection).exclusive("POST", "/v1/agents/\(name)", change, request)
            if connection.json { return Output.json(answer["record"] ?? answer) }
            let record = answer["record"] ?? .object([])
            Output.line(
                "\(answer.text("agent")):  ip=\(record.text("ip"))  port=\(record.text("port"))  lookup_by=\(record.text("lookup_by"))")
        }
    }
}

private func requireAgentName(_ text: String) throws {
    guard AgentName(text) != nil else {
        throw ValidationError("'\(text)' is not an agent's name: letters, digits, '.', '_' and '-', beginning with a letter or digit")
    }
}
