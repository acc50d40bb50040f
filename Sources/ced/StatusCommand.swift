// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced status R`, `ced wait R`: what became of a run of the last 24 hours, asked of any member.

import AgentLink
import ArgumentParser
import CtrlExec

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows what became of an asynchronous run, or of one that came through the HTTP API.",
        discussion: "Any member can be asked. Records are kept for 24 hours. Exits with 0 if there is one, with 1 if there is none.")

    @Argument(help: ArgumentHelp("The id that 'ced run --async' printed.", valueName: "reqid"))
    var reqid: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func validate() throws { try requireRunReqid(reqid) }

    func run() async throws {
        try await reporting(json: connection.json) {
            let record = try await Client(connection).runRecord(reqid)
            if connection.json { Output.json(record) } else { printRecord(record) }
        }
    }
}

struct WaitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Waits until an asynchronous run has ended everywhere.",
        discussion: """
            Any member can be asked; one that dies meanwhile does not matter if another can be asked. --timeout is for the whole of it \
            (default: 300). Exits with 0 if all went well, with 1 if something failed or the run is unknown, with 2 when the time is over.
            """)

    @Argument(help: ArgumentHelp("The id that 'ced run --async' printed.", valueName: "reqid"))
    var reqid: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    static let defaultSeconds = 300.0
    private static let pause = Duration.seconds(2)

    func validate() throws { try requireRunReqid(reqid) }

    func run() async throws {
        try await reporting(json: connection.json) {
            var each = connection
            each.timeout = nil
            let client = try Client(each)
            let clock = ContinuousClock()
            let deadline = clock.now.advanced(by: .milliseconds(Int64((connection.timeout ?? Self.defaultSeconds) * 1_000)))
            var last: Result<JSONValue, ClientFailure>
            while true {
                last = await look(client)
                switch last {
                case .success(let record) where record.flag("complete"):
                    show(record)
                    if !isWell(record) { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue) }
                    return
                case .success: break
                // Whoever cannot be asked now may be asked a little later.
                case .failure(let failure) where failure.code == .noMemberReachable || failure.code == .noLeaderInTime: break
                case .failure(let failure): throw failure
                }
                let left = clock.now.duration(to: deadline)
                guard left > .zero else { break }
                try await Task.sleep(for: min(Self.pause, left))
            }
            switch last {
            case .success(let record): show(record)
            case .failure(let failure):
                Output.note("ced: \(failure)")
                if connection.json { Output.json(failure.answer ?? .record(["ok": .boolean(false), "error": .text(failure.description)])) }
            }
            Output.note("ced: run \(reqid) has not ended within the time")
            throw ArgumentParser.ExitCode(CtrlExec.ExitCode.waitTimedOut.rawValue)
        }
    }

    private func look(_ client: Client) async -> Result<JSONValue, ClientFailure> {
        do throws(ClientFailure) { return .success(try await client.runRecord(reqid)) } catch { return .failure(error) }
    }

    private func show(_ record: JSONValue) {
        if connection.json { Output.json(record) } else { printRecord(record) }
    }

    private func isWell(_ record: JSONValue) -> Bool {
        if case .object(let hosts) = record["hosts"] {
            return hosts.allSatisfy { $0.value.text("status") == "done" && $0.value.integer("exit") == 0 }
        }
        return record.list("results").allSatisfy { $0["error"] == nil && $0.integer("exit") == 0 }
    }
}

private func requireRunReqid(_ text: String) throws {
    guard Reqid(text) != nil else {
        throw ValidationError("'\(text)' is not a reqid: 16 lower-case hexadecimal digits, as 'ced run --async' prints them")
    }
}

private func printRecord(_ record: JSONValue) {
    let state = record.flag("complete") ? "COMPLETE" : "PENDING"
    Output.line("Request \(record.text("reqid"))  (script: \(record.text("script")))  [\(state)]")
    guard case .object(let hosts) = record["hosts"] else { return record.list("results").forEach(printRun) }
    for (host, entry) in hosts.map({ ($0.key, $0.value) }) {
        switch entry.text("status") {
        case "done":
            let exit = entry.integer("exit") ?? -1
            Output.line("==> \(host)  [\(exit == 0 ? "OK" : "FAIL")  exit:\(exit)]")
            printOutputs(entry)
        case "busy": Output.line("==> \(host)  [BUSY: \(entry.text("error"))]")
        case "error": Output.line("==> \(host)  [ERROR: \(entry.text("error"))]")
        case let other: Output.line("==> \(host)  [\(other)]")
        }
        if let error = entry["fetch_error"]?.scalarText { Output.line("    not heard of now: \(error)") }
    }
}
