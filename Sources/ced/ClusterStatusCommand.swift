// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster status`: every member in a line, how many failures the cluster still survives, and for each thing that is not well one line of
// what to do. What that is the member that was asked has worked out; here it is only shown.

import AgentLink
import ArgumentParser
import CtrlExec
import Glibc

struct ClusterStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows every member, how many failures are survived, and what is to be done.",
        discussion: """
            LAG is how many entries a member is behind the leader, CONTACT how long ago it answered it; HOLDS counts the dispatcher's \
            certificates that it can present. Below the table stands one line for each thing that is not well. \
            Exits with 0 if the cluster does its work, with 1 if there is no leader or no quorum, or something else is an alarm.
            """)

    @Flag(help: "Show it anew whenever it changes, until Ctrl-C.")
    var watch = false
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let client = try Client(connection)
            guard watch else {
                let status = try await client.read("/v1/status")
                if connection.json { Output.json(status) } else { Output.out(Self.text(status, steady: false)) }
                guard Self.isWorking(status) else { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue) }
                return
            }
            try await follow(client)
        }
    }

    /// Whoever watches wants to see the cluster go and come back: that nobody answers is shown like anything else.
    private func follow(_ client: Client) async throws {
        let isTerminal = isatty(STDOUT_FILENO) == 1
        var last: String?
        while true {
            let now = try await look(client)
            if now != last {
                switch (connection.json, isTerminal) {
                case (true, _): Output.out(now)
                // Home, and what was there is wiped away.
                case (false, true): Output.out("\u{1b}[H\u{1b}[2J" + now)
                // In a file one stands below the other.
                case (false, false): Output.out((last == nil ? "" : "\n") + now)
                }
            }
            last = now
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func look(_ client: Client) async throws -> String {
        do throws(ClientFailure) {
            let status = try await client.read("/v1/status")
            return connection.json ? String(decoding: status.bytes, as: UTF8.self) + "\n" : Self.text(status, steady: true)
        } catch {
            guard error.code == .noMemberReachable || error.code == .noLeaderInTime else { throw error }
            let failure = JSONValue.record(["ok": .boolean(false), "error": .text(error.description)])
            return connection.json ? String(decoding: failure.bytes, as: UTF8.self) + "\n" : error.description + "\n"
        }
    }

    static func isWorking(_ status: JSONValue) -> Bool {
        status["leader"] ?? .null != .null && !status.list("advice").contains { $0.text("level") == "alarm" }
    }

    // MARK: As text

    /// - Parameter steady: without what changes at every look, so that a change is one.
    static func text(_ status: JSONValue, steady: Bool) -> String {
        let members = status.list("members")
        let table = Output.tableText(
            ["MEMBER", "ROLE", "TERM", "COMMIT", "LAG", "CONTACT", "HOLDS", "CERT ENDS", "DISK FREE", "VERSION"],
            members.map { row($0, steady: steady) })
        let lines =
            [survival(status), certificates(status)] + comings(status)
            + status.list("advice").map { "\($0.text("level")): \($0.text("text"))" }
        return table + lines.map { $0 + "\n" }.joined()
    }

    private static func row(_ member: JSONValue, steady: Bool) -> [String] {
        let contact = member.integer("contact_ms").map { milliseconds in
            milliseconds >= 1_000 ? Quantity.span(seconds: milliseconds / 1_000) : steady ? "<1 s" : "\(milliseconds) ms"
        }
        let lag = member["lag"]?.scalarText ?? "-"
        let held = member.list("holds").count
        let holds = "\(held) of \(held + member.list("lacks").count)"
        guard member.flag("reachable") else {
            return [member.text("member"), role("unreachable", member), "-", "-", lag, contact ?? "-", holds, "-", "-", "-"]
        }
        return [
            member.text("member"), role(member.text("role"), member), member.text("term"), member.text("commit"), lag, contact ?? "never",
            holds,
            day(member.text("certificate_expiry")), disk(member), member.text("version"),
        ]
    }

    /// What it is beside what it does, if that is not voting.
    private static func role(_ role: String, _ member: JSONValue) -> String {
        switch member.text("standing") {
        case "learner": role == "unreachable" ? "learner, unreachable" : "learner"
        case "joining": role == "unreachable" ? "joining, unreachable" : "joining"
        case "leaving": "\(role), leaving"
        default: role
        }
    }

    /// Who is expected, and whose ids are used up.
    private static func comings(_ status: JSONValue) -> [String] {
        let invited = status.list("invitations").map { invitation in
            let left = invitation.integer("seconds_left") ?? 0
            return "\(invitation.text("member")) at \(invitation.text("address"))"
                + (invitation.flag("used") ? " (its certificate is being made)" : " (at most \(Quantity.span(seconds: left)) left)")
        }
        let former = status.list("former_members").map { $0.text("member") }
        return (invited.isEmpty ? [] : ["Invited: \(invited.joined(separator: ", "))."])
            + (former.isEmpty ? [] : ["Removed: \(former.joined(separator: ", "))."])
    }

    /// The day is enough for a glance.
    private static func day(_ expiry: String) -> String {
        OpenSSLTime.unixSeconds(expiry).map { String(ISO8601Time.text(unixSeconds: $0).prefix(10)) } ?? "-"
    }

    private static func disk(_ member: JSONValue) -> String {
        guard let free = member.integer("disk_free_bytes").flatMap({ UInt64(exactly: $0) }),
            let all = member.integer("disk_bytes").flatMap({ UInt64(exactly: $0) }), all > 0
        else { return "-" }
        return "\(Quantity.size(bytes: free)) (\(Int((Double(free) * 100 / Double(all)).rounded(.down)))%)"
    }

    /// `Certificates: the fleet CA until 2036-11-24, the dispatcher until 2029-03-01.`
    private static func certificates(_ status: JSONValue) -> String {
        let ends = status.list("certificates").map { "\($0.text("name")) until \(day($0.text("expiry")))" }
        return "Certificates: \(ends.joined(separator: ", "))."
    }

    private static func survival(_ status: JSONValue) -> String {
        let voters = status.integer("voters") ?? 0
        let quorum = status.integer("quorum") ?? 0
        let reachable = status.integer("reachable") ?? 0
        let survived = status.integer("failures_survived") ?? 0
        let agents = status.integer("agents") ?? 0
        let head =
            "\(reachable) of \(voters) members \(reachable == 1 ? "answers" : "answer"), \(quorum) \(quorum == 1 ? "is" : "are") needed"
        let tail = "; \(agents) \(agents == 1 ? "agent" : "agents") registered."
        if reachable < quorum { return "\(head): exclusive operations wait until more come back\(tail)" }
        guard status["leader"] ?? .null != .null else { return "\(head); there is no leader at the moment\(tail)" }
        switch survived {
        case 0: return "\(head): the cluster survives no further failure\(tail)"
        case 1: return "\(head): the cluster survives 1 more failure\(tail)"
        default: return "\(head): the cluster survives \(survived) more failures\(tail)"
        }
    }
}
