// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How every client command reaches the cluster, and how it says what came of it.

import ArgumentParser
import CtrlExec
import Platform

struct ConnectionOptions: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("The control socket of a member on this host.", valueName: "path"))
    var socket: String?

    @Option(name: .long, help: ArgumentHelp("Members to ask, one after the other: a:7443,b:7443,c:7443.", valueName: "list"))
    var endpoints: String?

    @Option(name: .long, help: ArgumentHelp("Directory with operator.crt, operator.key and ca.crt.", valueName: "dir"))
    var identity: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "How long to wait, in seconds. Default: 5; work on agents waits as long as the members do.", valueName: "seconds"))
    var timeout: Double?

    @Flag(name: .long, help: "Print JSON and nothing else on standard output.")
    var json = false

    static let defaultSocket = "/run/ctrl-exec/ced.sock"
    static let defaultTimeoutSeconds = 5.0

    func validate() throws {
        if socket != nil, endpoints != nil { throw ValidationError("--socket and --endpoints exclude each other") }
        if let timeout, !(timeout > 0 && timeout <= 86_400) { throw ValidationError("--timeout is a number of seconds from 0 to 86400") }
    }

    /// What the command line says wins over the environment.
    func way() throws(ClientFailure) -> ClientWay {
        if let socket { return .socket(path: socket) }
        if let endpoints { return try remote(endpoints) }
        if let socket = environment("CED_SOCKET") { return .socket(path: socket) }
        if let endpoints = environment("CED_ENDPOINTS") { return try remote(endpoints) }
        if identity != nil { throw ClientFailure(.usage, "--identity says who you are; say with --endpoints whom to ask") }
        return .socket(path: Self.defaultSocket)
    }

    /// As they were given, for a command that a person may copy.
    var words: [String] {
        [("--socket", socket), ("--endpoints", endpoints), ("--identity", identity)].flatMap { name, value in
            value.map { [name, $0] } ?? []
        }
    }

    private func remote(_ list: String) throws(ClientFailure) -> ClientWay {
        guard let directory = identity ?? environment("CED_IDENTITY") else {
            throw ClientFailure(
                .usage, "--endpoints needs --identity DIR (or $CED_IDENTITY): the directory that 'ced issue-operator NAME --out DIR' wrote")
        }
        let endpoints = list.split(separator: ",").compactMap { ClientEndpoint(String($0).trimmedOfWhiteSpace) }
        guard !endpoints.isEmpty, endpoints.count == list.split(separator: ",").count else {
            throw ClientFailure(.usage, "'\(list)' is not a list of members such as a:7443,b:7443,c:7443")
        }
        return .endpoints(endpoints, identityDirectory: directory)
    }
}

/// Options of exclusive operations.
struct RequestOptions: ParsableArguments {
    @Option(
        name: .customLong("request-id"),
        help: ArgumentHelp("Repeats an operation whose outcome is not known: it happens at most once under one id.", valueName: "id"))
    var requestID: String?

    func validate() throws {
        guard let requestID else { return }
        guard (1...64).contains(requestID.utf8.count), requestID.utf8.allSatisfy({ (33...126).contains($0) }) else {
            throw ValidationError("--request-id is 1 to 64 printable characters without space")
        }
    }
}

struct ClientEndpoint: Hashable, Sendable, CustomStringConvertible {
    let host: String
    let port: Int
    static let defaultPort = 7443

    /// `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
    init?(_ text: String) {
        let colons = text.utf8.filter { $0 == 58 }.count
        if text.hasPrefix("[") {
            guard let close = text.lastIndex(of: "]") else { return nil }
            host = String(text[text.index(after: text.startIndex)..<close])
            let rest = text[text.index(after: close)...]
            guard let port = rest.isEmpty ? Self.defaultPort : rest.hasPrefix(":") ? Int(rest.dropFirst()) : nil else { return nil }
            self.port = port
        } else if colons == 1, let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]) {
            host = String(text[..<colon])
            self.port = port
        } else if colons == 0 {
            host = text
            port = Self.defaultPort
        } else {
            return nil
        }
        guard !host.isEmpty, (1...65_535).contains(port), host.utf8.allSatisfy({ (33...126).contains($0) }) else { return nil }
    }
    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

enum ClientWay: Hashable, Sendable {
    case socket(path: String)
    case endpoints([ClientEndpoint], identityDirectory: String)
}

/// What ends a command otherwise than well: a sentence for people and a code for scripts.
struct ClientFailure: Error, CustomStringConvertible {
    let code: CtrlExec.ExitCode
    let description: String
    /// The member's answer, which `--json` prints.
    let answer: JSONValue?
    /// Whether it happened is not known: what is needed to ask again must be kept.
    let mayHaveHappened: Bool
    init(_ code: CtrlExec.ExitCode, _ description: String, answer: JSONValue? = nil, mayHaveHappened: Bool = false) {
        self.mayHaveHappened = mayHaveHappened
        self.code = code
        self.description = description
        self.answer = answer
    }
}
