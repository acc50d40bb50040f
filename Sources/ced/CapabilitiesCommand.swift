// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced capabilities H...`: the scripts that agents allow, and their tags.

import AgentLink
import ArgumentParser
import CtrlExec

struct CapabilitiesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capabilities", abstract: "Lists the scripts that agents allow.", usage: "ced capabilities HOST ... [options]",
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
                "/v1/capabilities", caller.added(to: ["hosts": .array(hosts.map { .text($0) })]), isRepeatable: true, unknown: "")
            let results = answer.list("results")
            if connection.json { Output.json(answer) } else { results.forEach(printCapabilities) }
            if results.contains(where: { $0.text("status") != "ok" }) { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue) }
        }
    }
}

struct DiscoveryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discovery", abstract: "Asks agents, or all of them, for their scripts and tags.",
        usage: "ced discovery [HOST ...] [options]",
        discussion: "What agents say of their tags is kept in the registry. Exits with 0 if every host answered, with 1 otherwise.")

    @Argument(help: ArgumentHelp("The agents; all if none is named.", valueName: "host"))
    var hosts: [String] = []
    @OptionGroup
    var caller: CallerOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let body = caller.added(to: ["hosts": hosts.isEmpty ? nil : .array(hosts.map { .text($0) })])
            let answer = try await Client(connection).onAgents("/v1/discovery", body, isRepeatable: true, unknown: "")
            guard case .object(let found) = answer["hosts"] else { throw ClientFailure(.failed, "the member answered something else") }
            if connection.json { Output.json(answer) } else { found.forEach { printCapabilities($0.value) } }
            if found.isEmpty, !connection.json { Output.line("No registered agents.") }
            if found.contains(where: { $0.value.text("status") != "ok" }) {
                throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue)
            }
        }
    }
}

/// One host's scripts and tags.
func printCapabilities(_ result: JSONValue) {
    let good = result.text("status") == "ok"
    Output.line("==> \(result.text("host"))  [\(good ? "OK" : "FAIL")  \(result.text("rtt"))\(good ? "  \(result.text("version"))" : "")]")
    guard good else { return Output.line("    ERROR: \(result.text("error"))") }
    let tags = tagsText(result)
    if tags != "-" { Output.line("    tags: \(tags)") }
    for script in result.list("scripts") {
        let notes = [script.flag("executable") ? nil : "not executable", script["profile"].map { "profile \($0.scalarText ?? "")" }]
        let note = notes.compactMap { $0 }.joined(separator: ", ")
        Output.line("    \(script.text("name"))  \(script.text("path"))\(note.isEmpty ? "" : "  (\(note))")")
    }
    if result.list("scripts").isEmpty { Output.line("    (no scripts)") }
}
