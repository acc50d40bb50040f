// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced config check`: whether `ced serve` would start here, and everything that keeps it from it.

import AgentLink
import ArgumentParser
import Coordinator
import CtrlExec
import Glibc

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Look at a member's configuration.", subcommands: [ConfigCheckCommand.self])
}

struct ConfigCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Says everything that keeps 'ced serve' from starting here.",
        discussion: """
            Reads the file as 'ced serve' does and looks at what it names: ports, directories, keys, certificates. Changes nothing; a \
            member may be running. Exits with 0 if there is no problem, else with 78. Run it as the user that ced runs as.
            """)

    @Argument(help: ArgumentHelp("The configuration file (default: \(ServeConfiguration.defaultPath)).", valueName: "file"))
    var file: String?
    @Flag(help: "Print JSON and nothing else on standard output.")
    var json = false

    func run() async throws {
        let path = file ?? ServeConfiguration.defaultPath
        let check = ConfigurationCheck(path: path, mayBeMissing: file == nil, now: Int64(time(nil)))
        if json { Output.json(shape(check)) } else { show(check, path) }
        if !check.problems.isEmpty { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.configuration.rawValue) }
    }

    private func show(_ check: ConfigurationCheck, _ path: String) {
        for problem in check.problems { Output.line("problem: \(problem)") }
        for note in check.notes { Output.line("note: \(note)") }
        switch check.problems.count {
        case 0:
            let state = check.runningPID == nil ? "would start" : "runs"
            Output.line("\(path): no problem; \(check.member.map { "member \($0) \(state)" } ?? "ced \(state)")")
        case 1: Output.line("\(path): 1 problem")
        default: Output.line("\(path): \(check.problems.count) problems")
        }
    }

    private func shape(_ check: ConfigurationCheck) -> JSONValue {
        func list(_ findings: [ConfigurationCheck.Finding]) -> JSONValue {
            .array(
                findings.map { finding in
                    .record([
                        "subject": .text(finding.subject), "line": finding.line.map { .count($0) } ?? .null, "text": .text(finding.text),
                    ])
                })
        }
        return .record([
            "ok": .boolean(check.problems.isEmpty), "member": check.member.map { .text($0) } ?? .null,
            "pid": check.runningPID.map { .integer(Int64($0)) } ?? .null, "problems": list(check.problems), "notes": list(check.notes),
        ])
    }
}
