// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// agent.conf: its grammar and its keys (protocol page, 8.1), with the defaults of the original.

/// Values are checked for form only; whether files exist is for the agent to see.
package struct AgentConfiguration: Hashable, Sendable {
    /// 0 lets the system choose; `cea` writes what it chose beside the configuration.
    package var port: UInt16
    package var cert: String
    package var key: String
    package var ca: String
    package var revokedSerials = "/etc/ctrl-exec-agent/revoked-serials"
    package var trustedDispatchers = "/var/lib/ctrl-exec-agent/ctrl-exec-dispatchers"
    /// Empty: no restriction.
    package var scriptDirectories: [String] = []
    package var authHook: String?
    package var authHookTimeoutSeconds = 10
    /// Nil: everybody.
    package var allowedAddresses: AddressList?
    package var volumeLimit = RateLimiter.Limit.volume
    package var probeLimit = RateLimiter.Limit.probe
    package var rateLimitDisabled = false
    package var stdinTimeoutSeconds = 10
    package var runsDirectory = "/var/lib/ctrl-exec-agent/runs"
    package var stagedCertificate = "/var/lib/ctrl-exec-agent/agent.crt.staged"
    package var maximumConnections = Limits.agentConnections
    /// From `[tags]`, sorted by key.
    package var tags: [AgentTag] = []
    package var profiles: [String] = []
    package var warnings: [ConfigurationWarning] = []

    /// The keys that have an effect here.
    package static let keys = [
        "allowed_ips", "async_runs_dir", "auth_hook", "auth_hook_timeout", "ca", "cert", "cert_staging_path", "key", "max_children", "port",
        "rate_limit_disable", "rate_limit_probe", "rate_limit_volume", "revoked_serials", "script_dirs", "stdin_timeout",
        "trusted_dispatchers_path",
    ]
    /// Keys of other releases, accepted without a word because they change nothing that we do.
    private static let silentKeys = ["dispatcher_serial_path", "pairing_port", "sandbox", "writable_paths"]

    /// What pairing assumes where there is no file yet.
    package init(
        port: UInt16, cert: String, key: String, ca: String, revokedSerials: String, trustedDispatchers: String, runsDirectory: String,
        stagedCertificate: String
    ) {
        self.port = port
        self.cert = cert
        self.key = key
        self.ca = ca
        self.revokedSerials = revokedSerials
        self.trustedDispatchers = trustedDispatchers
        self.runsDirectory = runsDirectory
        self.stagedCertificate = stagedCertificate
    }

    /// - Parameter directory: where everything lies that no key names, instead of ctrl-exec's places.
    package init(text: String, path: String, directory: String? = nil) throws(ConfigurationError) {
        if let directory {
            revokedSerials = directory + "/revoked-serials"
            trustedDispatchers = directory + "/ctrl-exec-dispatchers"
            runsDirectory = directory + "/runs"
            stagedCertificate = directory + "/agent.crt.staged"
        }
        var values: [(key: String, value: String, line: Int)] = []
        var section: String?
        var warnings: [ConfigurationWarning] = []
        var tags: [AgentTag] = []
        var profiles: [String] = []
        for (number, line) in text.numberedLines {
            let trimmed = line.trimmedOfWhiteSpace
            if trimmed.isEmpty || trimmed.utf8.first == 35 { continue }
            if let name = AgentConfiguration.sectionName(trimmed) {
                section = name
                let words = name.wordsBetweenWhiteSpace
                if words.count == 2, words[0] == "profile" {
                    profiles.append(words[1])
                } else if name != "tags" {
                    warnings.append(.init(path: path, line: number, "section [\(name)] is none that I know; its keys are ignored"))
                }
                continue
            }
            guard let (key, value) = AgentConfiguration.pair(trimmed) else {
                throw ConfigurationError(path: path, line: number, "expected 'key = value', '[section]' or a comment, found '\(trimmed)'")
            }
            switch section {
            case nil:
                values.removeAll { $0.key == key }
                values.append((key, value, number))
            case "tags":
                tags.removeAll { $0.key == key }
                tags.insert(AgentTag(key: key, value: value), at: tags.firstIndex { key < $0.key } ?? tags.count)
            default: break
            }
        }

        func value(_ key: String) -> (value: String, line: Int)? { values.first { $0.key == key }.map { ($0.value, $0.line) } }
        func required(_ key: String) throws(ConfigurationError) -> (value: String, line: Int) {
            guard let found = value(key) else {
                let typed = values.map(\.key).filter { !AgentConfiguration.keys.contains($0) }
                let near = nearestWord(to: key, among: typed).flatMap { near in values.first { $0.key == near } }
                throw near.map { .init(path: path, line: $0.line, "'\(key)' is missing; is '\($0.key)' in this line meant to be it?") }
                    ?? .init(path: path, "'\(key)' is missing; add a line '\(key) = …'")
            }
            return found
        }
        func whole(_ key: String, _ range: ClosedRange<Int>, unit: String) throws(ConfigurationError) -> Int? {
            guard let (text, line) = value(key) else { return nil }
            guard let number = Int(text), range.contains(number) else {
                throw .init(
                    path: path, line: line, "'\(key)' must be \(unit) from \(range.lowerBound) to \(range.upperBound), not '\(text)'")
            }
            return number
        }
        func limit(_ key: String) throws(ConfigurationError) -> RateLimiter.Limit? {
            guard let (text, line) = value(key) else { return nil }
            guard let limit = RateLimiter.Limit(text) else {
                throw .init(path: path, line: line, "'\(key)' must be limit/window/block (connections/seconds/seconds), not '\(text)'")
            }
            return limit
        }

        let (portText, portLine) = try required("port")
        guard portText.utf8.allSatisfy({ $0.isASCIIDigit }), let port = UInt16(portText) else {
            throw ConfigurationError(path: path, line: portLine, "'port' must be a number up to 65535, not '\(portText)'")
        }
        self.port = port
        cert = try required("cert").value
        key = try required("key").value
        ca = try required("ca").value
        for known in values where !AgentConfiguration.keys.contains(known.key) && !AgentConfiguration.silentKeys.contains(known.key) {
            if known.key == "executor_socket" {
                let consequence = "scripts run as the agent's own user, profiles are not applied"
                warnings.append(.init(path: path, line: known.line, "'executor_socket' is ignored: \(consequence)"))
                continue
            }
            let near = nearestWord(to: known.key, among: AgentConfiguration.keys).map { "; did you mean '\($0)'?" } ?? ""
            warnings.append(.init(path: path, line: known.line, "'\(known.key)' is no key that I know and is ignored\(near)"))
        }
        if let found = value("revoked_serials") { revokedSerials = found.value }
        if let found = value("trusted_dispatchers_path") { trustedDispatchers = found.value }
        if let found = value("async_runs_dir") { runsDirectory = found.value }
        if let found = value("cert_staging_path") { stagedCertificate = found.value }
        if let (text, line) = value("script_dirs") {
            scriptDirectories = text.split(separator: ":").map { $0.trimmedOfWhiteSpace }.filter { !$0.isEmpty }
            guard !scriptDirectories.isEmpty, scriptDirectories.allSatisfy({ $0.utf8.first == 47 }) else {
                throw ConfigurationError(
                    path: path, line: line, "'script_dirs' must be absolute directories separated by ':', not '\(text)'")
            }
        }
        authHook = value("auth_hook")?.value
        authHookTimeoutSeconds = try whole("auth_hook_timeout", 1...3_600, unit: "seconds") ?? authHookTimeoutSeconds
        stdinTimeoutSeconds = try whole("stdin_timeout", 1...3_600, unit: "seconds") ?? stdinTimeoutSeconds
        maximumConnections = try whole("max_children", 1...65_536, unit: "a number") ?? maximumConnections
        volumeLimit = try limit("rate_limit_volume") ?? volumeLimit
        probeLimit = try limit("rate_limit_probe") ?? probeLimit
        rateLimitDisabled = value("rate_limit_disable").map { "1yY".contains($0.value.first ?? " ") } ?? false
        if let (text, line) = value("allowed_ips") {
            let (list, malformed) = AddressList.parse(text)
            for item in malformed {
                warnings.append(.init(path: path, line: line, "'\(item)' in 'allowed_ips' is no IPv4 address or network and is left out"))
            }
            // The original lets everybody in when nothing is left of the list; a list that was meant to restrict must not open the door.
            if list.isEmpty {
                throw ConfigurationError(
                    path: path, line: line, "'allowed_ips' holds no IPv4 address or network; correct it, or remove it to allow everybody")
            }
            allowedAddresses = list
        }
        self.tags = tags
        self.profiles = profiles
        self.warnings = warnings
    }

    /// `[name]`, lower-cased.
    private static func sectionName(_ line: String) -> String? {
        guard line.utf8.first == 91, line.utf8.last == 93, line.utf8.count > 2 else { return nil }
        let name = line.dropFirst().dropLast().trimmedOfWhiteSpace
        return name.isEmpty ? nil : name.lowercased()
    }

    /// `\w+[\w-]*`, `=`, at least one character.
    private static func pair(_ line: String) -> (key: String, value: String)? {
        guard let equals = line.firstIndex(of: "=") else { return nil }
        let key = line[..<equals].trimmedOfWhiteSpace
        let value = line[line.index(after: equals)...].trimmedOfWhiteSpace
        guard let first = key.utf8.first, first.isWordByte, key.utf8.allSatisfy({ $0.isWordByte || $0 == 45 }), !value.isEmpty else {
            return nil
        }
        return (key, value)
    }
}
