// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster status`: who leads, who lags, and how many failures the cluster still survives.

import AgentLink
import ArgumentParser
import CtrlExec

struct ClusterStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows every member: who leads, who lags, how many failures are survived.",
        discussion: "Exits with 0 if there is a leader and a quorum, with 1 otherwise.")

    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            let status = try await Client(connection).read("/v1/status")
            if connection.json { Output.json(status) } else { show(status) }
            if status["leader"] ?? .null == .null { throw ArgumentParser.ExitCode(CtrlExec.ExitCode.failed.rawValue) }
        }
    }

    private func show(_ status: JSONValue) {
        let members = status.list("members")
        let commit = members.compactMap { $0.integer("commit") }.max() ?? 0
        Output.table(
            ["MEMBER", "ROLE", "TERM", "COMMIT", "LAG", "LAST CONTACT", "ADDRESS", "VERSION"],
            members.map { member in
                guard member.flag("reachable") else {
                    return [member.text("member"), "unreachable", "-", "-", "-", "-", member.text("address"), "-"]
                }
                let lag = max(0, commit - (member.integer("applied") ?? 0))
                let contact = member.integer("leader_contact_ms").map { "\($0) ms" } ?? "never"
                return [
                    member.text("member"), member.text("role") + (member.flag("ready") ? "" : " (not ready)"), member.text("term"),
                    member.text("commit"), "\(lag)", contact, member.text("address"), member.text("version"),
                ]
            })
        Output.line(survival(status, reachable: members.filter { $0.flag("reachable") }.count))
    }

    private func survival(_ status: JSONValue, reachable: Int) -> String {
        let voters = status.integer("voters") ?? 0
        let quorum = status.integer("quorum") ?? 0
        let survived = status.integer("failures_survived") ?? 0
        let agents = status.integer("agents") ?? 0
        let head = "\(reachable) of \(voters) members answer, \(quorum) are needed"
        let tail = "; \(agents) \(agents == 1 ? "agent" : "agents") registered."
        if Int64(reachable) < quorum { return "\(head): exclusive operations wait until more come back\(tail)" }
        guard status["leader"] ?? .null != .null else { return "\(head); there is no leader at the moment\(tail)" }
        switch survived {
        case 0: return "\(head): the cluster survives no further failure\(tail)"
        case 1: return "\(head): the cluster survives 1 more failure\(tail)"
        default: return "\(head): the cluster survives \(survived) more failures\(tail)"
        }
    }
}
