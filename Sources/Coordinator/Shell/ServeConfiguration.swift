// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `ced serve` is told: the configuration file in ctrl-exec's grammar (protocol page, 14.1), and flags, which win over it.
// An unknown key is an error that names the nearest known one; a value that cannot be used is an error that names its place.

import CoordinatorCore
import CtrlExec
import DispatcherState
import Logging

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
    /// The version of the state machine beyond which this member does not let the cluster go, so that the release that knows no more can be
    /// put back; nil: the newest that this release knows.
    package var heldVersion: MachineVersion?
    /// A snapshot is taken, and the log cut behind it, after so many entries, 10 to 200000; nil (`0` in the file): never.
    package var snapshotEntries: UInt64? = SnapshotPolicy.standard.entries
    /// Whether ctrl-exec's files are kept (architecture, rule 6); nil: nothing is said about it.
    package var projection: Bool?
    package var projectionConfigurationDirectory: String?
    package var projectionDataDirectory: String?
    /// Whether the dispatcher's private key is among them.
    package var projectsKeys = false

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
    /// How long a member without a leader goes on with work on agents, 0 to 30 days; 0: not at all.
    package var isolationLimitSeconds = Limits.isolationSeconds
    /// What is less important is not logged.
    package var logLevel = Logger.Level.info

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
        "api_listen", "cluster_directory", "control_socket", "dial_from", "hold_version", "isolation_limit", "log_level",
        "operations_listen", "pairing", "pairing_listen",
        "peer_listen", "project_keys", "projection", "projection_config_directory", "projection_data_directory", "runs_directory",
        "snapshot_entries",
    ]

    /// - Parameters:
    ///   - file: the text of the configuration file; nil: there is none.
    ///   - path: its name in messages.
    package init(file: String?, path: String, flags: Flags = Flags()) throws(ConfigurationError) {
        let reading = Self.read(file: file, path: path, flags: flags)
        if let first = reading.problems.first { throw first }
        self = reading.configuration
    }

    package struct Reading: Hashable, Sendable {
        /// Where something is wrong the default stands.
        package let configuration: ServeConfiguration
        /// In the order of the file, those of the flags last.
        package let problems: [ConfigurationError]
        /// What stops nothing and is probably not meant.
        package let warnings: [ConfigurationWarning]
    }

    /// What the file and the flags say, and all that is wrong in them.
    package static func read(file: String?, path: String, flags: Flags = Flags()) -> Reading {
        var configuration = ServeConfiguration()
        var reader = Reader(file: file.map { DispatcherConfiguration(text: $0, path: path, furtherKeys: keys) })
        configuration.apply(&reader)
        configuration.apply(flags, &reader)
        return Reading(
            configuration: configuration, problems: inOrder(reader.unknownKeys + reader.problems), warnings: inOrder(reader.warnings))
    }

    private static func inOrder(_ errors: [ConfigurationError]) -> [ConfigurationError] {
        errors.sorted { ($0.line ?? .max) < ($1.line ?? .max) }
    }

    /// Where the files of the projection go; nil: there are none. A member whose state directory is somewhere else than usual does not write
    /// to where a host's dispatcher has its files unless it is told to.
    package var projectionSettings: ProjectionSettings? {
        let isUsual = directory == ServeConfiguration().directory
        guard projection ?? (isUsual || projectionConfigurationDirectory != nil || projectionDataDirectory != nil) else { return nil }
        return ProjectionSettings(
            configurationDirectory: projectionConfigurationDirectory ?? "/etc/ctrl-exec",
            dataDirectory: projectionDataDirectory ?? "/var/lib/ctrl-exec", projectsKeys: projectsKeys)
    }

    private mutating func apply(_ file: inout Reader) {
        directory = file.text("cluster_directory") ?? directory
        operations = file.value("operations_listen", Self.hostPort) ?? operations
        pairing = file.value("pairing_listen", Self.hostPort) ?? pairing
        if let value = file.text("api_bind") { api = HostPort(host: value, port: api.port) }
        if let port = file.whole("api_port", 1...65_535) { api = HostPort(host: api.host, port: port) }
        api = file.value("api_listen", Self.hostPort) ?? api
        peer = file.value("peer_listen", Self.hostPort) ?? peer
        controlSocket = file.value("control_socket", Self.socketPath) ?? controlSocket
        dialFrom = file.text("dial_from") ?? dialFrom
        pairingAlways = file.value("pairing", Self.oneOf("session", "always")).map { $0 == "always" } ?? pairingAlways
        logLevel = file.value("log_level", Self.level) ?? logLevel
        isolationLimitSeconds = file.value("isolation_limit", Self.isolationSpan) ?? isolationLimitSeconds
        maxParallel = file.whole("max_parallel", 1...Limits.hosts) ?? maxParallel
        readTimeoutSeconds = file.whole("timeout", 1...86_400) ?? readTimeoutSeconds
        readTimeoutSeconds = file.whole("read_timeout", 1...86_400) ?? readTimeoutSeconds
        agentCertificateDays = file.whole("cert_days", 1...3650) ?? agentCertificateDays
        dispatcherID = file.text("dispatcher_id")
        heldVersion = file.whole("hold_version", 1...Int(MachineVersion.newest.number)).map { MachineVersion(UInt32($0)) }
        if let entries = file.value("snapshot_entries", Self.snapshotEntries) { snapshotEntries = entries == 0 ? nil : entries }
        projection = file.value("projection", Self.oneOf("on", "off")).map { $0 == "on" } ?? projection
        projectionConfigurationDirectory = file.value("projection_config_directory", Self.absolute) ?? projectionConfigurationDirectory
        projectionDataDirectory = file.value("projection_data_directory", Self.absolute) ?? projectionDataDirectory
        projectsKeys = file.value("project_keys", Self.oneOf("yes", "no")).map { $0 == "yes" } ?? projectsKeys
        givenRunsDirectory = file.text("runs_directory")
        applyApi(&file)
    }

    private mutating func applyApi(_ file: inout Reader) {
        authHook = file.value("auth_hook", Self.absoluteFile)
        authHookTimeoutSeconds = file.whole("auth_hook_timeout", 1...3_600) ?? authHookTimeoutSeconds
        allowsApiWithoutHook = file.value("api_auth_default", Self.oneOf("allow", "deny")).map { $0 == "allow" } ?? allowsApiWithoutHook
        deniesGenerically = file.value("auth_deny_generic", Self.yesOrNo) ?? deniesGenerically
        switch (file.text("api_cert"), file.text("api_key")) {
        case (_?, nil): file.refuse("api_cert", "needs 'api_key' beside it: 7445 speaks TLS with both or not at all")
        case (nil, _?): file.refuse("api_key", "needs 'api_cert' beside it: 7445 speaks TLS with both or not at all")
        case (let certificate, let key): (apiCertificate, apiKey) = (certificate, key)
        }
        apiRequests = file.whole("api_max_children", 1...10_000) ?? apiRequests
    }

    private mutating func apply(_ flags: Flags, _ reader: inout Reader) {
        func place(_ flag: String) -> Place { Place(path: "ced serve", line: nil, name: flag) }
        directory = flags.directory ?? directory
        operations = reader.value(flags.operations, at: place("--operations"), Self.hostPort) ?? operations
        pairing = reader.value(flags.pairing, at: place("--pairing"), Self.hostPort) ?? pairing
        api = reader.value(flags.api, at: place("--api"), Self.hostPort) ?? api
        peer = reader.value(flags.peer, at: place("--peer"), Self.hostPort) ?? peer
        controlSocket = reader.value(flags.controlSocket, at: place("--socket"), Self.socketPath) ?? controlSocket
        dialFrom = flags.dialFrom ?? dialFrom
        if flags.pairingAlways { pairingAlways = true }
    }

    /// Reads one setting after the other and keeps what is wrong with them.
    private struct Reader {
        typealias Parse<Value> = (String, Place) throws(ConfigurationError) -> Value

        private let file: DispatcherConfiguration?
        private(set) var problems: [ConfigurationError] = []
        private var asked: [String] = []

        init(file: DispatcherConfiguration?) { self.file = file }
        var unknownKeys: [ConfigurationError] { file?.unknownKeys ?? [] }
        /// Among them the keys that nobody has asked for: ctrl-exec's, which mean nothing here.
        var warnings: [ConfigurationWarning] {
            guard let file else { return [] }
            let unused = file.settings.filter { setting in
                DispatcherConfiguration.originalKeys.contains(setting.key) && !setting.value.isEmpty && !asked.contains(setting.key)
            }
            return file.warnings
                + unused.map { ConfigurationWarning(path: file.path, line: $0.line, "'\($0.key)' means nothing to ced and is not used") }
        }

        mutating func text(_ key: String) -> String? {
            asked.append(key)
            return file?[key]
        }

        mutating func value<Value>(_ key: String, _ parse: Parse<Value>) -> Value? {
            setting(key).flatMap { value($0.value, at: $0.place, parse) }
        }

        /// A value that is good by itself, but not beside the others.
        mutating func refuse(_ key: String, _ message: String) {
            if let place = setting(key)?.place { problems.append(place.error(message)) }
        }

        private mutating func setting(_ key: String) -> (value: String, place: Place)? {
            asked.append(key)
            guard let file, let setting = file.settings.first(where: { $0.key == key }), !setting.value.isEmpty else { return nil }
            return (setting.value, Place(path: file.path, line: setting.line, name: "'\(key)'"))
        }

        mutating func value<Value>(_ text: String?, at place: Place, _ parse: Parse<Value>) -> Value? {
            guard let text else { return nil }
            do throws(ConfigurationError) { return try parse(text, place) } catch {
                problems.append(error)
                return nil
            }
        }

        mutating func whole(_ key: String, _ range: ClosedRange<Int>) -> Int? {
            asked.append(key)
            do throws(ConfigurationError) { return try file?.whole(key, range) } catch {
                problems.append(error)
                return nil
            }
        }
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

    private static func level(_ value: String, at place: Place) throws(ConfigurationError) -> Logger.Level {
        guard let level = Logger.Level(rawValue: value) else {
            throw place.error("must be one of \(Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")), not '\(value)'")
        }
        return level
    }

    private static func isolationSpan(_ value: String, at place: Place) throws(ConfigurationError) -> UInt64 {
        guard let seconds = Quantity.seconds(of: value, atMost: 30 * 86_400) else {
            throw place.error("must be a number with s, m, h or d, such as 1h, at most 30d, not '\(value)'")
        }
        return UInt64(seconds)
    }

    private static func snapshotEntries(_ value: String, at place: Place) throws(ConfigurationError) -> UInt64 {
        guard let entries = UInt64(value), entries == 0 || (10...200_000).contains(entries) else {
            throw place.error("must be 10 to 200000, or 0 for a member that never takes a snapshot, not '\(value)'")
        }
        return entries
    }

    /// The kernel keeps a socket's path in 108 bytes, the last of which is zero.
    private static func socketPath(_ value: String, at place: Place) throws(ConfigurationError) -> String {
        guard (1...107).contains(value.utf8.count) else {
            throw place.error("must be a path of 1 to 107 bytes, not of \(value.utf8.count)")
        }
        return value
    }

    private static func oneOf(_ words: String...) -> Reader.Parse<String> {
        { value, place throws(ConfigurationError) in
            guard words.contains(value) else {
                throw place.error("must be \(words.map { "'\($0)'" }.joined(separator: " or ")), not '\(value)'")
            }
            return value
        }
    }

    private static func absolute(_ value: String, at place: Place) throws(ConfigurationError) -> String {
        guard value.hasPrefix("/") else { throw place.error("must be the absolute path of a directory, not '\(value)'") }
        return value
    }

    private static func absoluteFile(_ value: String, at place: Place) throws(ConfigurationError) -> String {
        guard value.hasPrefix("/") else { throw place.error("must be an absolute path, not '\(value)'") }
        return value
    }

    /// As in the original, what begins with 1 or y is yes. What might have been meant as yes and would not be is asked about.
    private static func yesOrNo(_ value: String, at place: Place) throws(ConfigurationError) -> Bool {
        switch value.lowercased().first {
        case "1", "y": return true
        case "0", "n": return false
        default: throw place.error("must be 'yes' or 'no', not '\(value)'")
        }
    }
}
