// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster invite`, `join`, `remove`, `set-address`: members that come and go. The secret of a token is made here; the cluster keeps its
// hash only.

import AgentLink
import ArgumentParser
import Consensus
import Coordinator
import CtrlExec
import NIOPosix
import PKI
import Platform

struct ClusterInviteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "Invites one more member: prints the command that makes it, on its host.",
        discussion: """
            The token in that command lets one host in, once, within ten minutes; whoever sees it in that time can use it in its place. \
            The new member learns what the others know, and votes as soon as it has caught up. Ids are never used again.
            """)

    @Argument(help: ArgumentHelp("The new member's id.", valueName: "name"))
    var name: String
    @Option(help: ArgumentHelp("Where the other members reach its peer port.", valueName: "HOST:PORT"))
    var address: String
    @Option(
        help: ArgumentHelp(
            "Where its host reaches members: a:7443,b:7443. Default: what the members say of themselves.", valueName: "list"))
    var via: String?
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            guard let member = MemberID(name) else { throw ClientFailure(.usage, notAnID(name)) }
            let secret: [UInt8]
            do { secret = try SystemRandom.bytes(JoinToken.secretBytes) } catch { throw ClientFailure(.failed, "\(error)") }
            let answer = try await Client(connection).exclusive(
                "POST", "/v1/members",
                .record(["member": .text(name), "address": .text(address), "secret_hash": .text(hexadecimal(sha256(secret)))]), request)
            let token = try token(for: member, secret, answer)
            let command = ["ced", "cluster", "join", token, "--dir", ServeConfiguration().directory]
            if connection.json {
                return Output.json(answer.with(["token": .text(token), "command": .text(command.map(shellQuoted).joined(separator: " "))]))
            }
            let minutes = max(1, ((answer.integer("seconds_left") ?? 600) + 59) / 60)
            Output.note("Member \(name) is invited. On its host, within \(minutes) minutes:")
            Output.line(command.map(shellQuoted).joined(separator: " "))
            Output.note("Then start it there: ced serve. It votes once it has caught up (ced cluster status).")
        }
    }

    private func token(for member: MemberID, _ secret: [UInt8], _ answer: JSONValue) throws -> String {
        let listed = via.map { $0.split(separator: ",").map(String.init) } ?? answer.list("endpoints").compactMap(\.scalarText)
        let endpoints = listed.compactMap { ClientEndpoint($0).map { HostPort(host: $0.host, port: $0.port) } }
        guard !endpoints.isEmpty, endpoints.count == listed.count else {
            throw ClientFailure(
                .usage,
                via == nil
                    ? "no member says where operators reach it; say with --via HOST:7443 where the new host does, and invite \(member) again"
                    : "'\(via ?? "")' is not a list of members such as a:7443,b:7443")
        }
        guard let fingerprint = bytes(answer.text("ca_fingerprint")), fingerprint.count == 32 else {
            throw ClientFailure(.failed, "the answer has no fingerprint; is that member of this release?")
        }
        return try JoinToken(member: member, endpoints: Array(endpoints.prefix(16)), fingerprint: fingerprint, secret: secret).text()
    }

    private func bytes(_ text: String) -> [UInt8]? {
        let digits = text.compactMap { $0.hexDigitValue.map { UInt8($0) } }
        guard digits.count == text.count, digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

struct ClusterJoinCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Makes this host's member, with the token that 'ced cluster invite' printed.",
        discussion: """
            Refuses a directory that holds a journal. If it hears no answer, the same command goes on where it stopped. What root joins belongs \
            to the owner of the directory, or of the one above it.
            """)

    @Argument(help: ArgumentHelp("What 'ced cluster invite' printed.", valueName: "token"))
    var token: String
    @Option(name: [.customLong("dir"), .customLong("directory")], help: ArgumentHelp("The state directory.", valueName: "DIR"))
    var directory = ServeConfiguration().directory
    @Flag(name: .long, help: "Print JSON and nothing else on standard output.")
    var json = false

    func run() async throws {
        try await reporting(json: json) {
            do {
                let token = try JoinToken(token)
                let state = StateDirectory(directory)
                try state.actAsOwner()
                let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
                try await ClusterJoin(token: token, directory: state, group: group).run()
                if json {
                    return Output.json(
                        .record(["ok": .boolean(true), "member": .text(token.member.name), "directory": .text(directory)]))
                }
                Output.note("member \(token.member) is installed in \(directory); start it: ced serve --directory \(directory)")
            } catch let failure as ClusterJoin.Failure {
                let code: CtrlExec.ExitCode =
                    switch failure.kind {
                    case .unreachable: .noMemberReachable
                    case .noLeader: .noLeaderInTime
                    case .refused: .permission
                    case .failed: .failed
                    }
                throw ClientFailure(code, failure.description)
            } catch let other where !(other is ClientFailure) {
                guard let failure = CommandFailure(other) else { throw other }
                throw ClientFailure(failure.code, failure.description)
            }
        }
    }
}

struct ClusterRemoveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Removes a member for ever, or withdraws an invitation.",
        discussion: """
            Refused if too few of the others would answer for the cluster to go on. The member is told, finishes what it has begun and ends with \
            78; it does not come back, and neither does its id: a machine that lost its disk joins anew under another one.
            """)

    @Argument(help: ArgumentHelp("The member's id.", valueName: "id"))
    var id: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            guard MemberID(id) != nil else { throw ClientFailure(.usage, notAnID(id)) }
            let client = try Client(connection)
            let answer = try await client.exclusive("DELETE", "/v1/members/\(id)", .object([]), request)
            let isGone = try await waitUntilGone(client)
            if connection.json { return Output.json(answer.with(["gone": .boolean(isGone)])) }
            if isGone { return Output.line("Member \(id) is removed.") }
            Output.line("Member \(id) is on its way out; ced cluster status says what that waits for.")
        }
    }

    /// The entry that takes it out follows the one that says it is to go. The member that is asked may be the one that goes.
    private func waitUntilGone(_ client: Client) async throws -> Bool {
        let clock = ContinuousClock()
        let deadline = clock.now.advanced(by: .milliseconds(Int64(1_000 * (connection.timeout ?? 10))))
        while clock.now < deadline {
            do throws(ClientFailure) {
                let members = try await client.read("/v1/members", nil)
                if !members.list("members").contains(where: { $0.text("member") == id }) { return true }
            } catch {
                // Asked through the socket of the member that went.
                if error.code == .noMemberReachable { return true }
                if error.code != .noLeaderInTime { throw error }
            }
            try await Task.sleep(for: .milliseconds(100))
        }
        return false
    }
}

struct ClusterSetAddressCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set-address", abstract: "Says where a member's peer port is reached from now on.",
        discussion: "Move one member at a time, and see that it is reached (ced cluster status) before the next.")

    @Argument(help: ArgumentHelp("The member's id.", valueName: "id"))
    var id: String
    @Argument(help: ArgumentHelp("Where the other members reach its peer port.", valueName: "HOST:PORT"))
    var address: String
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions
    @OptionGroup
    var request: RequestOptions

    func run() async throws {
        try await reporting(json: connection.json) {
            guard MemberID(id) != nil else { throw ClientFailure(.usage, notAnID(id)) }
            let answer = try await Client(connection).exclusive(
                "POST", "/v1/members/\(id)", .record(["address": .text(address)]), request)
            if connection.json { return Output.json(answer) }
            Output.line("Member \(id) is at \(answer.text("address")).")
        }
    }
}

private func notAnID(_ text: String) -> String {
    "'\(text)' cannot be a member's id: 1 to 32 characters of a-z, 0-9 and -, beginning with a letter"
}
