// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced rotate-cert`: another dispatcher certificate, and no agent lost. The cluster does it by itself; this begins it and watches.

import AgentLink
import ArgumentParser
import CtrlExec
import Glibc

struct RotateCertCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate-cert", abstract: "Replaces the dispatcher's certificate, on all members and at every agent.",
        discussion: """
            The cluster goes on by itself: this command may be left at any time and taken up again, through any member, with --watch. \
            It ends with 0 once every agent has confirmed the new certificate. Agents that are off are told when they come back; \
            the old certificate is retired agent by agent after the overlap.
            """)

    @Option(help: ArgumentHelp("How long the old certificate stays trusted: a number with s, m, h or d.", valueName: "span"))
    var overlap = "30d"
    @Flag(help: "The old key is in the wrong hands: retire it as soon as agents and members have the new one.")
    var compromised = false
    @Flag(help: "End the rotation that is under way; possible until its certificate is current.")
    var abort = false
    @Flag(help: "Begin nothing, watch what is under way.")
    var watch = false
    @Flag(name: .customLong("no-wait"), help: "Return once it has begun.")
    var noWait = false
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func validate() throws {
        if [abort, watch].count(where: { $0 }) > 1 || (abort && compromised) {
            throw ValidationError("--abort, --watch and --compromised exclude each other")
        }
        guard overlapSeconds(overlap) != nil else {
            throw ValidationError("--overlap is a number with s, m, h or d, such as 30d, at most 3650d; not '\(overlap)'")
        }
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let client = try Client(connection)
            if abort {
                let answer = try await client.exclusive("DELETE", "/v1/rotation", .object([]), request)
                if connection.json { return Output.json(answer) }
                return Output.line("The rotation is aborted; agents that were told of its certificate are told to forget it.")
            }
            let status = try await client.read("/v1/rotation")
            if !watch, request.requestID != nil || isNothing(status["rotation"]) {
                let body = JSONValue.record([
                    "overlap_seconds": .integer(overlapSeconds(overlap) ?? 0), "compromised": .boolean(compromised),
                ])
                let answer = try await client.exclusive("POST", "/v1/rotation", body, request)
                if noWait {
                    if connection.json { return Output.json(answer) }
                    return Output.line("The new certificate has serial \(answer.text("serial")); it is being announced.")
                }
                if !connection.json { Output.line("The new certificate has serial \(answer.text("serial")).") }
            } else if !watch {
                Output.note("A rotation is under way already; taking it up. (Its overlap is the one that it was begun with.)")
            }
            if !connection.json { Output.note("It goes on by itself: leave with Ctrl-C, take up again with: ced rotate-cert --watch") }
            let final = try await follow(client)
            if connection.json { Output.json(final) }
        }
    }

    /// Prints a line whenever something has changed, until everybody has the newest certificate.
    private func follow(_ client: Client) async throws -> JSONValue {
        var last = ""
        while true {
            switch await look(client) {
            case .success(let status):
                let line = progressLine(status)
                if line != last, !connection.json { Output.line(line) }
                last = line
                if isComplete(status) {
                    if !connection.json { sayWhatIsLeft(status) }
                    return status
                }
            case .failure(let failure):
                // The cluster goes on without us; so do we.
                guard failure.code == .noLeaderInTime || failure.code == .noMemberReachable else { throw failure }
                let line = "waiting: \(failure.description)"
                if line != last { Output.note(line) }
                last = line
            }
            try await Task.sleep(for: .milliseconds(500))
        }
    }

    private func look(_ client: Client) async -> Result<JSONValue, ClientFailure> {
        do throws(ClientFailure) { return .success(try await client.read("/v1/rotation")) } catch { return .failure(error) }
    }

    private func isComplete(_ status: JSONValue) -> Bool {
        let counts = status["counts"] ?? .object([])
        return isNothing(status["rotation"]) && (counts.integer("pending") ?? 0) == 0 && (counts.integer("unknown") ?? 0) == 0
    }

    private func sayWhatIsLeft(_ status: JSONValue) {
        let counts = status["counts"] ?? .object([])
        Output.line("Every agent has confirmed the current certificate \(status.text("current")).")
        if let stale = counts.integer("stale"), stale > 0 {
            Output.line("\(stale) stale \(stale == 1 ? "agent trusts" : "agents trust") nothing that can be presented: pair again.")
        }
        for line in retirementLines(status) { Output.line(line) }
    }
}

/// Whole seconds; nil for what is none, or more than ten years.
func overlapSeconds(_ text: String) -> Int64? { Quantity.seconds(of: text, atMost: 315_360_000) }

func isNothing(_ value: JSONValue?) -> Bool { (value ?? .null) == .null }

/// `prepared 5c…: held by 2 of 3 members, confirmed by 270 of 300 agents; 30 pending`
func progressLine(_ status: JSONValue) -> String {
    let newest = status.text("newest")
    let identity = status.list("identities").first { $0.text("serial") == newest } ?? .object([])
    let counts = status["counts"] ?? .object([])
    let agents = status.list("agents").count
    let stage = status["rotation"].flatMap { $0 == .null ? nil : $0.text("stage") } ?? "current"
    if stage == "making" { return "making key and certificate" }
    var line = "\(stage) \(newest): held by \(identity.list("holders").count) of \(status.list("members").count) members, "
    line += "confirmed by \(counts.integer("current") ?? 0) of \(agents) \(agents == 1 ? "agent" : "agents")"
    let rest = ["pending", "stale", "unknown"].compactMap { word in (counts.integer(word) ?? 0) > 0 ? "\(counts.text(word)) \(word)" : nil }
    return rest.isEmpty ? line : line + "; " + rest.joined(separator: ", ")
}

/// One line for each identity that is not at its end, saying for what its end waits.
func retirementLines(_ status: JSONValue) -> [String] {
    status.list("identities").compactMap { identity in
        guard let wait = identity["waits"], wait != .null else { return nil }
        var reasons: [String] = []
        if let seconds = wait.integer("seconds"), seconds > 0 { reasons.append("its overlap, another \(Quantity.span(seconds: seconds))") }
        let members = wait.list("members").compactMap(\.scalarText)
        if !members.isEmpty { reasons.append("\(members.count == 1 ? "member" : "members") \(members.joined(separator: ", "))") }
        let count = wait.integer("agents_count") ?? 0
        if count > 0 {
            let named = wait.list("agents").prefix(5).compactMap(\.scalarText).joined(separator: ", ")
            reasons.append("\(count) \(count == 1 ? "agent" : "agents") (\(named)\(count > 5 ? ", …" : ""))")
        }
        let what = identity.text("phase") == "aborting" ? "The end of aborted" : "The retirement of"
        return "\(what) \(identity.text("serial")) waits for \(reasons.isEmpty ? "the leader" : reasons.joined(separator: "; "))."
    }
}
