// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `ced dev` is about to make: names, ports, directories, and the files that describe them.

import Coordinator
import CtrlExec
import FoundationEssentials
import Glibc
import Platform

struct DevPlan: Sendable {
    struct Member: Sendable {
        let id: String
        let operations: UInt16
        let pairing: UInt16
        let api: UInt16
        let peer: UInt16
        let directory: String
        let socket: String
        let dialFrom: String
        /// What would be `/etc/ctrl-exec` and `/var/lib/ctrl-exec`.
        let files: String

        var configurationPath: String { directory + "/ced.conf" }
        var configuration: String {
            """
            # A member of a cluster made by 'ced dev'.
            cluster_directory = \(directory)
            operations_listen = 127.0.0.1:\(operations)
            pairing_listen = 127.0.0.1:\(pairing)
            api_listen = 127.0.0.1:\(api)
            peer_listen = 127.0.0.1:\(peer)
            control_socket = \(socket)
            dial_from = \(dialFrom)
            runs_directory = \(directory)/runs
            projection_config_directory = \(files)/etc
            projection_data_directory = \(files)/var

            """
        }
    }

    struct Agent: Sendable {
        let name: String
        let port: UInt16
        let directory: String

        /// In ctrl-exec's grammar (protocol page, 8.1).
        var configuration: String {
            """
            port = \(port)
            cert = \(directory)/agent.crt
            key = \(directory)/agent.key
            ca = \(directory)/ca.crt
            revoked_serials = \(directory)/revoked-serials
            trusted_dispatchers_path = \(directory)/ctrl-exec-dispatchers
            async_runs_dir = \(directory)/runs
            script_dirs = \(directory)/scripts
            # Everything comes from one address here.
            rate_limit_disable = 1

            [tags]
            made_by = ced dev

            """
        }
        /// The allowlist (protocol page, 8.2).
        var allowlist: String { DevPlan.scripts.map { "\($0.name) = \(directory)/scripts/\($0.name)\n" }.joined() }
    }

    /// What agents of `ced dev` allow.
    static let scripts: [(name: String, text: String)] = [
        ("hello", "#!/bin/sh\necho \"hello from $(basename \"$(dirname \"$(dirname \"$0\")\")\")\" \"$@\"\n"),
        ("whoami", "#!/bin/sh\nexec id\n"),
        ("show-context", "#!/bin/sh\nexec cat\n"),
        ("arguments", "#!/bin/sh\nfor argument in \"$@\"; do printf '%s\\n' \"$argument\"; done\n"),
        ("count", "#!/bin/sh\ni=0\nwhile [ $i -lt \"${1:-5}\" ]; do i=$((i+1)); echo $i; sleep 0.1; done\n"),
        ("fail", "#!/bin/sh\necho \"this script fails on purpose\" >&2\nexit \"${1:-3}\"\n"),
    ]

    let directory: String
    let members: [Member]
    let agents: [Agent]
    /// Where the sockets are if their paths would be too long below `directory`; ended with the cluster.
    let socketDirectory: String?

    var bundles: String { directory + "/bundles" }
    var identity: String { directory + "/identity" }
    var logs: String { directory + "/log" }
    var description: String { directory + "/cluster.json" }
    var memberList: String { members.map { "\($0.id)=127.0.0.1:\($0.peer)" }.joined(separator: ",") }

    init(members count: Int, agents agentCount: Int, directory given: String) throws {
        let directory = try Self.absolute(given)
        if DurableFile.exists(directory + "/members") {
            throw CommandFailure(.usage, "\(directory) holds an earlier cluster: remove it (rm -r \(directory)) or give another --dir")
        }
        let ports = try freePorts(4 * count + agentCount)
        // A socket's path has at most 107 bytes.
        var socketDirectory: String?
        if directory.utf8.count + "/members/a/ced.sock".utf8.count > 107 {
            var template = Array("/tmp/ced-dev-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw FileProblem("create", "/tmp/ced-dev-XXXXXX") }
            socketDirectory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        self.socketDirectory = socketDirectory
        self.directory = directory
        members = (0..<count).map { number in
            let id = String(UnicodeScalar(UInt8(ascii: "a") + UInt8(number)))
            let place = directory + "/members/" + id
            return Member(
                id: id, operations: ports[4 * number], pairing: ports[4 * number + 1], api: ports[4 * number + 2],
                peer: ports[4 * number + 3], directory: place, socket: socketDirectory.map { "\($0)/\(id).sock" } ?? place + "/ced.sock",
                dialFrom: "127.0.0.\(number + 2)", files: directory + "/files/" + id)
        }
        agents = (0..<agentCount).map { number in
            let name = "agent-\(number + 1)"
            return Agent(name: name, port: ports[4 * count + number], directory: directory + "/agents/" + name)
        }
    }

    private static func absolute(_ path: String) throws -> String {
        var text = path[...]
        while text.count > 1, text.last == "/" { text = text.dropLast() }
        if text.first == "/" { return String(text) }
        guard let pointer = getcwd(nil, 0) else { throw FileProblem("find", "the working directory") }
        defer { free(pointer) }
        return String(cString: pointer) + "/" + text
    }
}

/// The file `cluster.json`: what runs where.
struct DevDescription: Codable {
    struct Ports: Codable {
        let operations: UInt16
        let pairing: UInt16
        let api: UInt16
        let peer: UInt16
    }
    struct Member: Codable {
        let id: String
        let pid: Int32
        let command: [String]
        let socket: String
        let ports: Ports
        let directory: String
        let files: String
    }
    struct Agent: Codable {
        let name: String
        let pid: Int32
        let command: [String]
        let port: UInt16
        let directory: String
    }
    let members: [Member]
    let agents: [Agent]
    /// The cluster CA's certificate.
    let ca: String
    /// A directory with `operator.crt`, `operator.key`, `ca.crt`.
    let identity: String

    func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [10]
    }
}

/// What `ced dev` says, as text or as one JSON object a line.
struct DevPrinter: Sendable {
    let asJSON: Bool

    /// - Parameters:
    ///   - event: the JSON's `event`.
    ///   - fields: the other members of the JSON object.
    ///   - text: the line for people; nil: none.
    func tell(_ event: String, _ fields: [String: String] = [:], _ text: String?) {
        if asJSON {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            // A dictionary of strings always encodes.
            guard let data = try? encoder.encode(fields.merging(["event": event]) { first, _ in first }) else { return }
            put(String(decoding: data, as: UTF8.self))
        } else if let text {
            put(text)
        }
    }

    private func put(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = write(STDOUT_FILENO, bytes, bytes.count)
    }
}
