// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced run H... S [-- args]` (protocol page, 17).

import AgentLink
import ArgumentParser
import CtrlExec
import PKI

struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Runs a script on agents.",
        usage: "ced run HOST ... SCRIPT [options] [-- ARGUMENT ...]",
        discussion: "Exits with 0 if the script exited with 0 on every host, with 1 otherwise. A run is never repeated by itself.")

    @Argument(
        help: ArgumentHelp(
            "The agents, last the script's name in their allowlists, and its arguments after --.", valueName: "host ... script"))
    var words: [String] = []
    @Flag(name: .customLong("async"), help: "Start it and do not wait for its end.")
    var isAsync = false
    @OptionGroup
    var caller: CallerOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    /// What stands before `--`: the hosts and the script. The parser allows no second list, and hands over one without the mark.
    private var call: ArraySlice<String> { words.dropLast(Self.afterTerminator.count) }
    private var arguments: [String] { Array(words.suffix(Self.afterTerminator.count)) }
    private static let afterTerminator = CommandLine.arguments.drop { $0 != "--" }.dropFirst()

    func validate() throws {
        guard call.count >= 2, let script = call.last else {
            throw ValidationError("give at least one host and a script: ced run HOST ... SCRIPT [-- ARGUMENT ...]")
        }
        guard ScriptName(script) != nil else {
            throw ValidationError("'\(script)' is not a script's name (letters, digits, '_' and '-'); arguments of the script follow --")
        }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let client = try Client(connection)
            let reqid = try newReqid()
            let answer = try await client.onAgents(
                "/v1/run",
                caller.added(to: [
                    "reqid": .text(reqid),
                    "hosts": .array(call.dropLast().map { .text($0) }), "script": .text(call.last ?? ""),
                    "args": .array(arguments.map { .text($0) }), "async": isAsync ? .boolean(true) : nil,
                ]), isRepeatable: false, unknown: unknown(reqid))
            let results = answer.list("results")
            if connection.json {
                Output.json(answer)
            } else if isAsync {
                printSubmitted(answer, results)
            } else {
                results.forEach(printRun)
            }
            let good =
                isAsync
                ? results.contains { $0.text("status") == "accepted" }
                : results.allSatisfy { $0["error"] == nil && $0.integer("exit") == 0 }
            if !good { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue) }
        }
    }

    /// Drawn here, so that a run of whose outcome nothing is heard has a name.
    private func newReqid() throws(ClientFailure) -> String {
        do { return Reqid(try SystemRandom.number()).description } catch { throw ClientFailure(.failed, "\(error)") }
    }

    /// What finds out what became of it.
    private func unknown(_ reqid: String) -> String {
        let hosts = call.dropLast().map(shellQuoted).joined(separator: " ")
        let connection = connection.words.map { " " + shellQuoted($0) }.joined()
        return isAsync
            ? "the script may be running, and is not started again by itself\nTo find out what became of it:\n  ced result \(reqid) \(hosts)\(connection)"
            : "the script may be running, and is not started again by itself\n"
                + "How it ended, the agents' logs say under REQID=\(reqid); whether they are there:\n  ced ping \(hosts)\(connection)"
    }

    private func printSubmitted(_ answer: JSONValue, _ results: [JSONValue]) {
        Output.line("Submitted async run  req:\(answer.text("reqid"))")
        Output.note("What becomes of it: ced status \(answer.text("reqid")), or: ced wait \(answer.text("reqid"))")
        for result in results {
            let state =
                switch result.text("status") {
                case "accepted": "accepted \(result.text("rtt"))"
                case "busy": "BUSY: \(result.text("error"))"
                default: "ERROR: \(result.text("error"))"
                }
            Output.line("  \(result.text("host"))  [\(state)]")
        }
    }
}

/// One host of a run, as ctrl-exec prints it.
func printRun(_ result: JSONValue) {
    let exit = result.integer("exit") ?? -1
    let good = exit == 0 && result["error"] == nil
    Output.line("==> \(result.text("host"))  [\(good ? "OK" : "FAIL")  exit:\(exit)  \(result.text("rtt"))  req:\(result.text("reqid"))]")
    if let error = result["error"]?.scalarText { Output.line("    ERROR: \(error)") }
    printOutputs(result)
}

/// What a script wrote.
func printOutputs(_ result: JSONValue) {
    let stdout = result.text("stdout")
    if !stdout.isEmpty { Output.out(stdout.hasSuffix("\n") ? stdout : stdout + "\n") }
    var stderr = result.text("stderr")
    while stderr.hasSuffix("\n") { stderr.removeLast() }
    if !stderr.isEmpty { Output.line("    STDERR: \(stderr)") }
    if result.flag("truncated") { Output.line("    (cut: the record of the whole run would have been too large)") }
    if let hint = result["hint"]?.scalarText, !hint.isEmpty { Output.line("    HINT: \(hint)") }
}
