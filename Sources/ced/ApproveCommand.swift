// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced approve R`, `ced deny R`: the decision on a pairing request. Any member takes it, once.

import AgentLink
import ArgumentParser
import CtrlExec

/// Where an agent is reached; what is not given is left to the next in line.
struct ReachabilityOptions: ParsableArguments {
    @Option(name: .customLong("lookup-by"), help: "How the agent is found: by its host name or by its ip.")
    var lookupBy: LookupBy?
    @Option(help: "The address to dial.")
    var ip: String?
    @Option(name: .customLong("agent-port"), help: "The port to dial.")
    var port: UInt16?

    var isEmpty: Bool { lookupBy == nil && ip == nil && port == nil }
    var members: JSONValue {
        .record(["lookup_by": lookupBy.map { .text($0.rawValue) }, "ip": ip.map { .text($0) }, "port": port.map { .integer(Int64($0)) }])
    }
}

extension LookupBy: ExpressibleByArgument {}

struct ApproveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "approve", abstract: "Approves a pairing request: the agent gets its certificate and is registered.")

    @Argument(help: ArgumentHelp("The request's id in 'ced list-requests'.", valueName: "reqid"))
    var reqid: String
    @OptionGroup(title: "Reachability")
    var reachability: ReachabilityOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws { try requireReqid(reqid) }

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).exclusive(
                "POST", "/v1/pairing/requests/\(reqid)/approve", reachability.members, request)
            if connection.json { return Output.json(answer) }
            Output.line("Approved '\(answer.text("agent"))' (\(answer.text("reqid"))), certificate serial \(answer.text("serial")).")
            if let record = answer["record"] {
                let address = record.text("lookup_by") == "ip" ? record.text("ip") : record.text("hostname")
                Output.line(
                    "  Registered:  \(record.text("hostname"))   lookup_by=\(record.text("lookup_by"))   addr=\(address):\(record.text("port"))"
                )
                Output.note("  If it cannot be reached by that: ced edit-agent \(record.text("hostname")) --lookup-by ip --ip ADDRESS")
            }
        }
    }
}

struct DenyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "deny", abstract: "Denies a pairing request.")

    @Argument(help: ArgumentHelp("The request's id in 'ced list-requests'.", valueName: "reqid"))
    var reqid: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws { try requireReqid(reqid) }

    func run() async throws {
        try await reporting(json: connection.json) {
            let answer = try await Client(connection).exclusive("POST", "/v1/pairing/requests/\(reqid)/deny", .object([]), request)
            if connection.json { return Output.json(answer) }
            Output.line("Denied \(answer.text("reqid")).")
        }
    }
}

private func requireReqid(_ text: String) throws {
    guard Reqid(text) != nil else {
        throw ValidationError("'\(text)' is not a reqid: 16 lower-case hexadecimal digits, as 'ced list-requests' shows them")
    }
}
