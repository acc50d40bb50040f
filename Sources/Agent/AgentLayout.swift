// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where an agent's files are: ctrl-exec's places, or all below one directory so that many agents can live on one machine without root.

import CtrlExec
import Glibc
import Platform

package struct AgentLayout: Hashable, Sendable {
    /// Given by `--directory`; nil: ctrl-exec's places.
    package let directory: String?
    package var configuration: String
    package var allowlist: String

    package init(directory: String?, configuration: String? = nil, allowlist: String? = nil) {
        let absolute = directory.map { AgentLayout.absolute($0) }
        self.directory = absolute
        self.configuration = configuration ?? "\(absolute ?? "/etc/ctrl-exec-agent")/agent.conf"
        self.allowlist = allowlist ?? "\(absolute ?? "/etc/ctrl-exec-agent")/scripts.conf"
    }

    private var fixed: String { directory ?? "/etc/ctrl-exec-agent" }
    private var variable: String { directory ?? "/var/lib/ctrl-exec-agent" }

    /// Where `cea serve` writes the port that it serves; beside the configuration of an agent that has a directory of its own.
    package var portFile: String? { directory.map { $0 + "/port" } }

    /// Where pairing stores things when there is no configuration yet.
    package func defaultConfiguration(port: UInt16) -> AgentConfiguration {
        AgentConfiguration(
            port: port, cert: fixed + "/agent.crt", key: fixed + "/agent.key", ca: fixed + "/ca.crt",
            revokedSerials: fixed + "/revoked-serials", trustedDispatchers: variable + "/ctrl-exec-dispatchers",
            runsDirectory: variable + "/runs", stagedCertificate: variable + "/agent.crt.staged")
    }

    /// agent.conf as pairing writes it where there is none.
    package func configurationText(_ configuration: AgentConfiguration) -> String {
        """
        # Written by cea request-pairing. See agent.conf(5) of ctrl-exec for further keys.
        port = \(configuration.port)
        cert = \(configuration.cert)
        key = \(configuration.key)
        ca = \(configuration.ca)
        revoked_serials = \(configuration.revokedSerials)
        trusted_dispatchers_path = \(configuration.trustedDispatchers)
        async_runs_dir = \(configuration.runsDirectory)
        cert_staging_path = \(configuration.stagedCertificate)

        """
    }

    /// Nil if there is none.
    package func configurationIfPresent() throws(AgentFailure) -> AgentConfiguration? {
        let bytes: [UInt8]?
        do { bytes = try AgentFiles.readIfPresent(configuration, limit: 1_048_576) } catch {
            throw AgentFailure(.configuration, error.description)
        }
        guard let bytes else { return nil }
        do { return try AgentConfiguration(text: String(decoding: bytes, as: UTF8.self), path: configuration, directory: directory) } catch
        {
            throw AgentFailure(error)
        }
    }

    package func requiredConfiguration() throws(AgentFailure) -> AgentConfiguration {
        if let found = try configurationIfPresent() { return found }
        throw AgentFailure(
            .configuration,
            "\(configuration): no such file; pair this agent with 'cea request-pairing --dispatcher HOST', or name another --config")
    }

    /// The agent's own user, if it exists, we are root and the files lie in ctrl-exec's places.
    package var owner: (files: FileOwner, state: FileOwner)? {
        guard directory == nil, geteuid() == 0, let user = getpwnam("ctrl-exec-agent") else { return nil }
        let group = user.pointee.pw_gid
        return (FileOwner(user: 0, group: group), FileOwner(user: user.pointee.pw_uid, group: group))
    }

    private static func absolute(_ path: String) -> String {
        let trimmed = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
        if trimmed.hasPrefix("/") { return trimmed }
        guard let current = getcwd(nil, 0) else { return trimmed }
        defer { free(current) }
        return String(cString: current) + "/" + trimmed
    }
}
