// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `ced serve` is told: the configuration file in ctrl-exec's grammar (protocol page, 14.1), and flags, which win over it.
// An unknown key is an error that names the nearest known one; a value that cannot be used is an error that names its place.

import CtrlExec

package struct ServeConfiguration: Hashable, Sendable {
    package static let defaultPath = "/etc/ctrl-exec/ctrl-exec.conf"

    /// The state directory.
    package var directory = "/var/lib/ctrl-exec/cluster"
    package var operations = HostPort(host: "0.0.0.0", port: 7443)
    package var pairing = HostPort(host: "0.0.0.0", port: 7444)
    package var api = HostPort(host: "127.0.0.1", port: 7445)
    package var peer = HostPort(host: "0.0.0.0", port: 7446)
    package var controlSocket = "/run/ctrl-exec/ced.sock"
    /// The source address of connections to peers and agents; nil: the system chooses.
    package var dialFrom: String?
    /// `pairing = always`: submissions are taken without a session.
    package var pairingAlways = false
    /// Agents dialled at once by one call, 1 to 500.
    package var maxParallel = Limits.parallelHosts
    /// How long to wait for an agent's answer, 1 to 86400.
    package var readTimeoutSeconds = Limits.readTimeoutSeconds
    /// What the file says; the cluster's own is fixed at `cluster init`.
    package var dispatcherID: String?
    /// Validity of agents' certificates, 1 to 3650.
    package var agentCertificateDays = 825

    /// An absolute path; nil: there is none.
    package var authHook: String?
    /// 1 to 3600.
    package var authHookTimeoutSeconds = 10
    /// What 7445 does without a hook.
    package var allowsApiWithoutHook = false
    /// 7445 does not say why it denies.
    package var deniesGenerically = false
    /// PEM files with which 7445 speaks TLS; both or neither.
    package var apiCertificate: String?
    package var apiKey: String?
    /// Requests that 7445 answers at one time, health apart.
    package var apiRequests = Limits.apiRequests
    /// Where the records of runs are kept; nil: beside the state directory.
    package var givenRunsDirectory: String?

    package init() {}

    package var runsDirectory: String {
        if let givenRunsDirectory { return givenRunsDirectory }
        var place = directory[...]
        while place.utf8.count > 1, place.last == "/" { place = place.dropLast() }
        guard let slash = place.lastIndex(of: "/") else { return "runs" }
        return place[..<slash] + "/runs"
    }

    /// What was given on the command line; nil: not given.
    package struct Flags: Hashable, Sendable {
        package var directory: String?
        package var operations: String?
        package var pairing: String?
        package var api: String?
        package var peer: String?
        package var controlSocket: String?
        package var dialFrom: String?
        package var pairingAlways = false
        package init() {}
    }

    /// The keys beside ctrl-exec's own, some of which mean nothing here but may stay in the file.
    package static let keys = [
        "api_listen", "cluster_directory", "control_socket", "dial_from", "operations_listen", "pairing", "pairing_listen", "peer_listen",
        "runs_directory",
    ]

    /// - Parameters:
    ///   - file: the text of the configuration file; nil: there is none.
    ///   - path: its name in messages.
    package init(file: String?, path: String, flags: Flags = Flags()) throws(ConfigurationError) {
        if let file {
            let file = DispatcherConfiguration(text: file, path: path, furtherKeys: Self.keys)
            if let unknown = file.unknownKeys.first { throw unknown }
            try apply(file)
        }
        try apply(flags)
    }

    private mutating func apply(_ file: DispatcherConfiguration) throws(ConfigurationError) {
        func setting(_ key: String) -> (value: String, place: Place)? {
            guard let setting = file.settings.first(where: { $0.key == key }), !setting.value.isEmpty else { return nil }
            return (setting.value, Place(path: file.path, line: setting.line, name: "'\(key)'"))
        }
        if let (value, _) = setting("cluster_directory") { directory = value }
        if let (value, place) = setting("operations_listen") { operations = try Self.hostPort(value, at: place) }
        if let (value, place) = setting("pairing_listen") { pairing = try Self.hostPort(value, at: place) }
        if let (value, _) = setting("api_bind") { api = HostPort(host: value, port: api.port) }
        if let port = try file.whole("api_port", 1...65_535) { api = HostPort(host: api.host, port: port) }
        if let (value, place) = setting("api_listen") { api = try Self.hostPort(value, at: place) }
        if let (value, place) = setting("peer_listen") { peer = try Self.hostPort(value, at: place) }
        if let (value, place) = setting("control_socket") { controlSocket = try Self.socketPath(value, at: place) }
        if let (value, _) = setting("dial_from") { dialFrom = value }
        if let (value, place) = setting("pairing") {
            guard value == "session" || value == "always" else { throw place.error("must be 'session' or 'always', not '\(value)'") }
            pairingAlways = value == "always"
        }
        maxParallel = try file.whole("max_parallel", 1...Limits.hosts) ?? maxParallel
        readTimeoutSeconds = try file.whole("timeout", 1...86_400) ?? readTimeoutSeconds
        readTimeoutSeconds = try file.whole("read_timeout", 1...86_400) ?? readTimeoutSeconds
        agentCertificateDays = try file.whole("cert_days", 1...3650) ?? agentCertificateDays
        dispatcherID = file["dispatcher_id"]
        givenRunsDirectory = file["runs_directory"]
        try applyApi(file)
    }

    private mutating func applyApi(_ file: DispatcherConfiguration) throws(ConfigurationError) {
        func setting(_ key: String) -> (value: String, place: Place)? {
            guard let setting = file.settings.first(where: { $0.key == key }), !setting.value.isEmpty else { return nil }
            return (setting.value, Place(path: file.path, line: setting.line, name: "'\(key)'"))
        }
        if let (value, place) = setting("auth_hook") {
            guard value.first == "/" else { throw place.error("must be an absolute path, not '\(value)'") }
            authHook = value
        }
        authHookTimeoutSeconds = try file.whole("auth_hook_timeout", 1...3_600) ?? authHookTimeoutSeconds
        if let (value, place) = setting("api_auth_default") {
            guard value == "allow" || value == "deny" else { throw place.error("must be 'allow' or 'deny', not '\(value)'") }
            allowsApiWithoutHook = value == "allow"
        }
        if let (value, place) = setting("auth_deny_generic") {
            // As in the original, what begins with 1 or y is yes. What might have been meant as yes and would not be is asked about.
            switch value.lowercased().first {
            case "1", "y": deniesGenerically = true
            case "0", "n": deniesGenerically = false
            default: throw place.error("must be 'yes' or 'no', not '\(value)'")
            }
        }
        let (certificate, key) = (setting("api_cert"), setting("api_key"))
        switch (certificate, key) {
        case (let (_, place)?, nil): throw place.error("needs 'api_key' beside it: 7445 speaks TLS with both or not at all")
        case (nil, let (_, place)?): throw place.error("needs 'api_cert' beside it: 7445 speaks TLS with both or not at all")
        default:
            apiCertificate = certificate?.value
            apiKey = key?.value
        }
        apiRequests = try file.whole("api_max_children", 1...10_000) ?? apiRequests
    }

    private mutating func apply(_ flags: Flags) throws(ConfigurationError) {
        func place(_ flag: String) -> Place { Place(path: "ced serve", line: nil, name: flag) }
        if let value = flags.directory { directory = value }
        if let value = flags.operations { operations = try Self.hostPort(value, at: place("--operations")) }
        if let value = flags.pairing { pairing = try Self.hostPort(value, at: place("--pairing")) }
        if let value = flags.api { api = try Self.hostPort(value, at: place("--api")) }
        if let value = flags.peer { peer = try Self.hostPort(value, at: place("--peer")) }
        if let value = flags.controlSocket { controlSocket = try Self.socketPath(value, at: place("--socket")) }
        if let value = flags.dialFrom { dialFrom = value }
        if flags.pairingAlways { pairingAlways = true }
    }

    private struct Place {
        let path: String
        let line: Int?
        let name: String
        func error(_ message: String) -> ConfigurationError { ConfigurationError(path: path, line: line, "\(name) \(message)") }
    }

    private static func hostPort(_ value: String, at place: Place) throws(ConfigurationError) -> HostPort {
        guard let result = HostPort(value) else {
            throw place.error("must be HOST:PORT, such as 0.0.0.0:7443 or [::]:7443, not '\(value)'")
        }
        return result
    }

    /// The kernel keeps a socket's path in 108 bytes, the last of which is zero.
    private static func socketPath(_ value: String, at place: Place) throws(ConfigurationError) -> String {
        guard (1...107).contains(value.utf8.count) else {
            throw place.error("must be a path of 1 to 107 bytes, not of \(value.utf8.count)")
        }
        return value
    }
}
