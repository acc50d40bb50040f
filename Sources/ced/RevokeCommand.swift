// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced revoke`, `ced list-revocations`: certificates that this cluster trusts no more.

import AgentLink
import ArgumentParser
import CtrlExec

struct RevokeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Trusts a certificate no more: an operator's, an agent's, or one by its serial number.",
        discussion: """
            Every member refuses it at once, on every port, and closes its open connections; a revoked agent is not dialled. \
            It is for ever: whoever is trusted again gets another certificate. The answer names members that have not applied it yet. \
            Agents are told nothing.
            """)

    @Argument(help: ArgumentHelp("An operator, an agent, or the serial number of a certificate.", valueName: "target"))
    var target: String
    @Option(help: ArgumentHelp("Why, in one line.", valueName: "text"))
    var reason: String
    @Option(help: ArgumentHelp("What the target is, if the word could mean two things: operator, agent or serial.", valueName: "kind"))
    var kind: Kind?
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    enum Kind: String, ExpressibleByArgument, CaseIterable { case `operator`, agent, serial }

    func validate() throws {
        guard !target.isEmpty else { throw ValidationError("the target is an operator, an agent or a serial number") }
        guard !reason.isEmpty else { throw ValidationError("--reason is a line of text") }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let body: JSONValue = .record([
                "target": .text(target), "reason": .text(reason), "kind": kind.map { .text($0.rawValue) },
            ])
            let answer = try await Client(connection).exclusive("POST", "/v1/revocations", body, request)
            if connection.json { return Output.json(answer) }
            for record in answer.list("revoked") {
                let owner = record.text("name").isEmpty ? "" : "  (\(record.text("kind")) \(record.text("name")))"
                Output.line("Revoked \(record.text("serial"))\(owner).")
            }
            let late = answer.list("not_applied").compactMap(\.scalarText)
            if !late.isEmpty {
                let names = late.joined(separator: ", ")
                Output.note("Not yet applied by \(names): there the certificate may still be let in, until the member hears of it.")
            }
        }
    }
}

struct ListRevocationsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-revocations", abstract: "Lists the certificates that this cluster trusts no more.")

    @OptionGroup(title: "Reading")
    var reading: ReadOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).read("/v1/revocations", reading)
            let records = answer.list("revocations")
            if connection.json { return Output.json(.array(records)) }
            guard !records.isEmpty else { return Output.line("Nothing is revoked.") }
            Output.table(
                ["SERIAL", "KIND", "NAME", "REVOKED", "REASON"],
                records.map { record in
                    [record.text("serial"), record.text("kind"), record.text("name"), record.text("revoked"), record.text("reason")]
                })
        }
    }
}
