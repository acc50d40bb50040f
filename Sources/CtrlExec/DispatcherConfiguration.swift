// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// ctrl-exec.conf: its grammar and its keys (protocol page, 14.1), the original's and the cluster's.

/// What the keys mean is for the reader to say; nothing is required here, for a member's identity is not in this file.
package struct DispatcherConfiguration: Hashable, Sendable {
    package struct Setting: Hashable, Sendable {
        package let key: String
        /// May be empty.
        package let value: String
        package let line: Int
    }

    package let path: String
    /// In the order of the file; of lines with the same key the last one is kept.
    package let settings: [Setting]
    /// Keys that nobody reads, each with the nearest one that somebody does.
    package let unknownKeys: [ConfigurationError]
    /// Lines that the grammar passes over in silence though somebody may have meant something, and keys that stand there twice.
    package let warnings: [ConfigurationWarning]

    /// ctrl-exec's own keys.
    package static let originalKeys = [
        "api_auth_default", "api_bind", "api_cert", "api_key", "api_max_children", "api_port", "auth_deny_generic", "auth_hook",
        "auth_hook_timeout", "ca", "ca_dir", "cert", "cert_check_interval", "cert_days", "cert_overlap_days", "cert_renewal_days",
        "dispatcher_id", "key", "max_parallel", "pairing_max_queue", "pairing_rate_limit_disable", "pairing_rate_limit_volume",
        "pairing_timeout", "port", "read_timeout", "registry_dir", "rotation_file", "service_user", "timeout",
    ]

    /// Lines that begin with `#` or white space, and lines that are no `key = value`, are ignored as in the original.
    package init(text: String, path: String, furtherKeys: [String] = []) {
        let known = DispatcherConfiguration.originalKeys + furtherKeys
        var settings: [Setting] = []
        var unknown: [ConfigurationError] = []
        var warnings: [ConfigurationWarning] = []
        func warn(_ number: Int, _ text: String) { warnings.append(ConfigurationWarning(path: path, line: number, text)) }
        for (number, line) in text.numberedLines {
            let content = line.trimmedOfWhiteSpace
            if content.isEmpty || content.utf8.first == 35 { continue }
            guard let first = line.utf8.first, !first.isASCIIWhiteSpace else {
                warn(number, "this line begins with white space and is therefore ignored, as in ctrl-exec")
                continue
            }
            guard let equals = line.firstIndex(of: "="), case let key = line[..<equals].trimmedOfWhiteSpace, !key.isEmpty,
                key.utf8.allSatisfy({ $0.isWordByte })
            else {
                warn(number, "this line is no 'key = value' and is ignored")
                continue
            }
            let value = line[line.index(after: equals)...].trimmedOfWhiteSpace
            if let earlier = settings.first(where: { $0.key == key }) {
                warn(number, "'\(key)' stands in line \(earlier.line) as well; this line wins")
            }
            if value.isEmpty { warn(number, "'\(key)' has no value and counts as not being there") }
            settings.removeAll { $0.key == key }
            settings.append(Setting(key: key, value: value, line: number))
            if !known.contains(key) {
                let near = nearestWord(to: key, among: known).map { "; did you mean '\($0)'?" } ?? ""
                unknown.append(.init(path: path, line: number, "'\(key)' is no key that I know\(near)"))
            }
        }
        self.path = path
        self.settings = settings
        unknownKeys = unknown
        self.warnings = warnings
    }

    /// As the original says it when `cert`, `key` or `ca` is not there.
    package func required(_ key: String) throws(ConfigurationError) -> String {
        guard let value = self[key] else { throw ConfigurationError(path: path, "Missing '\(key)' in \(path)") }
        return value
    }

    /// A whole number in the range; nil if the key is absent or empty.
    package func whole(_ key: String, _ range: ClosedRange<Int>) throws(ConfigurationError) -> Int? {
        guard let text = self[key] else { return nil }
        guard let number = Int(text), range.contains(number) else {
            let line = settings.first { $0.key == key }?.line
            throw ConfigurationError(
                path: path, line: line, "'\(key)' must be a number from \(range.lowerBound) to \(range.upperBound), not '\(text)'")
        }
        return number
    }

    /// Nil if absent or empty.
    package subscript(key: String) -> String? {
        settings.first { $0.key == key }.flatMap { $0.value.isEmpty ? nil : $0.value }
    }

    /// Seconds that a dispatcher waits for an agent.
    package var readTimeoutSeconds: Int {
        (self["read_timeout"] ?? self["timeout"]).flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil } ?? Limits.readTimeoutSeconds
    }
}

extension DispatcherID {
    /// `dispatcher_id` or a host name made into an id (7.10): what is not allowed becomes `-`, the front is cut to a letter or digit, 64 bytes
    /// are kept, `dispatcher` if nothing is left.
    package init(sanitising text: String) {
        let bytes = text.unicodeScalars.map { scalar -> UInt8 in
            let byte = UInt8(exactly: scalar.value) ?? 45
            return byte.isWordByte || byte == 46 ? byte : 45
        }
        let kept = bytes.drop { !($0.isWordByte && $0 != 95) }.prefix(64)
        // Both texts match the grammar by construction; the last word satisfies the compiler.
        self = DispatcherID(String(decoding: kept, as: UTF8.self)) ?? DispatcherID("dispatcher")!
    }
}
