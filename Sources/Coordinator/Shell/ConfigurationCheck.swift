// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced config check`: what would keep `ced serve` from starting here, all of it and not only the first, found without changing anything:
// the file itself, ports, directories, keys, certificates. A member that runs already is no problem.

import Consensus
import CtrlExec
import Glibc
import PKI
import Platform
import Transport

package struct ConfigurationCheck: Sendable {
    package struct Finding: Hashable, Sendable, CustomStringConvertible {
        /// Nil: in no line of the file.
        package let line: Int?
        /// The file or what else it is about.
        package let subject: String
        package let text: String
        package var description: String {
            if let line { return "\(subject):\(line): \(text)" }
            // Some sentences name it themselves.
            return text.contains("\(subject):") ? text : "\(subject): \(text)"
        }
    }

    /// What must be put right before `ced serve` can do its work.
    package private(set) var problems: [Finding] = []
    /// What is worth knowing.
    package private(set) var notes: [Finding] = []
    /// The member whose state directory this is.
    package private(set) var member: String?
    /// The process that serves it now.
    package private(set) var runningPID: Int32?

    package static let credentialPlaces = ["/etc", "/run", "/usr/lib"].map {
        "\($0)/credstore.encrypted/\(StateDirectory.clusterKeyCredential)"
    }

    private static let daySeconds: Int64 = 86_400
    /// Nobody has to do anything about a certificate that ends later.
    private static let certificateDays: Int64 = 30

    /// - Parameters:
    ///   - path: the configuration file.
    ///   - mayBeMissing: as the default one may.
    ///   - credentials: where the service manager may have the cluster key (systemd.exec(5), `LoadCredentialEncrypted=`).
    ///   - now: seconds since 1970.
    package init(path: String, mayBeMissing: Bool, credentials: [String] = credentialPlaces, now: Int64) {
        var text: String?
        do throws(FileProblem) {
            text = String(decoding: try DurableFile.read(path), as: UTF8.self)
        } catch {
            if error.isMissing, mayBeMissing {
                note(path, "does not exist; everything has its default")
            } else {
                problem(path, error.description)
                return
            }
        }
        let reading = ServeConfiguration.read(file: text, path: path)
        problems += reading.problems.map { Finding(line: $0.line, subject: $0.path, text: $0.message) }
        notes += reading.warnings.map { Finding(line: $0.line, subject: $0.path, text: $0.message) }
        let configuration = reading.configuration
        runningPID = DirectoryLock.holder(of: configuration.directory)
        checkState(StateDirectory(configuration.directory), credentials: credentials, now: now)
        // An address that cannot be read was said to be wrong already; its default says nothing.
        checkPorts(configuration.listeners.filter { listener in !reading.problems.contains { $0.message.hasPrefix("'\(listener.key)'") } })
        checkSource(configuration.dialFrom, path)
        checkSocket(configuration.controlSocket)
        checkAPI(configuration, now: now)
        checkProjection(configuration)
    }

    private mutating func problem(_ subject: String, _ text: String) { problems.append(Finding(line: nil, subject: subject, text: text)) }
    private mutating func note(_ subject: String, _ text: String) { notes.append(Finding(line: nil, subject: subject, text: text)) }

    // MARK: The state directory

    private mutating func checkState(_ directory: StateDirectory, credentials: [String], now: Int64) {
        guard DurableFile.exists(directory.path) else {
            return problem(
                directory.path,
                "does not exist: no member lives here yet (ced cluster install BUNDLE, or ced cluster init for a cluster of one)")
        }
        guard access(directory.path, R_OK | W_OK | X_OK) == 0 else {
            return problem(directory.path, "uid \(getuid()) may not use it: check as root, or as the user that ced runs as")
        }
        guard DurableFile.exists(directory.journal) else {
            return problem(
                directory.path,
                "holds no journal: this member was never initialised or has lost its disk; it must not come back under its old id")
        }
        if DurableFile.exists(directory.removed) {
            problem(directory.path, "the member that lived here was removed from its cluster and does not come back: remove the directory")
        }
        for secret in [directory.memberKey, directory.clusterKey] { checkAccess(secret) }
        do {
            let certificate = try directory.identity().certificate
            if case .member(let cluster, let id) = certificate.role {
                member = id
                let running = runningPID.map { "; it runs as process \($0)" } ?? ""
                note(directory.path, "member \(id) of cluster \(cluster)\(running)")
            } else {
                problem(directory.memberCertificate, "is not a member's certificate: install the member's bundle anew")
            }
            checkValidity(certificate, directory.memberCertificate, now)
            if !DurableFile.exists(directory.clusterKey), let credential = credentials.first(where: { DurableFile.exists($0) }) {
                note(directory.clusterKey, "is not there; the service gets it from \(credential), which only the service manager opens")
            } else {
                _ = try directory.secrets()
            }
        } catch let error as ConfigurationError {
            problem(error.path, error.message)
        } catch {
            problem(directory.path, "\(error)")
        }
        for path in [directory.clusterCA, directory.fleetCA] {
            do {
                let certificate = try Certificate(pem: DurableFile.read(path))
                if !certificate.isCA { problem(path, "is not the certificate of a CA: install the member's bundle anew") }
                checkValidity(certificate, path, now)
            } catch {
                problem(path, "\(error)")
            }
        }
    }

    /// Nobody but the owner.
    private mutating func checkAccess(_ path: String) {
        do throws(FileProblem) {
            // One that is missing is said by whoever needs it.
            guard let mark = try FileMark(of: path), mark.mode & 0o077 != 0 else { return }
            problem(path, "is open to others than its owner (mode \(String(mark.mode, radix: 8))): chmod 600 \(path)")
        } catch {
            problem(path, error.description)
        }
    }

    private mutating func checkValidity(_ certificate: Certificate, _ path: String, _ now: Int64) {
        let end = ISO8601Time.text(unixSeconds: certificate.notAfter)
        if certificate.notBefore > now {
            problem(
                path,
                "is not valid before \(ISO8601Time.text(unixSeconds: certificate.notBefore)), and it is \(ISO8601Time.text(unixSeconds: now)) "
                    + "here: set the clock")
        } else if certificate.notAfter <= now {
            problem(path, "ended at \(end)")
        } else if certificate.notAfter < now + Self.certificateDays * Self.daySeconds {
            note(path, "ends at \(end), in \(Quantity.span(seconds: certificate.notAfter - now))")
        }
    }

    // MARK: Addresses

    private mutating func checkPorts(_ listeners: [ServeConfiguration.Listener]) {
        for (position, listener) in listeners.enumerated() where listener.address.port > 0 {
            if let other = listeners[..<position].first(where: { $0.address.overlaps(listener.address) }) {
                problem(listener.key, "\(listener.address) is where \(other.key) listens, too: give each a port of its own")
                continue
            }
            switch BindTrial(host: listener.address.host, port: listener.address.port) {
            case .free: break
            case .impossible(let reason): problem(listener.key, "nobody can listen on \(listener.address) here: \(reason)")
            case .inUse:
                let holders = ListeningProcess.all(on: listener.address.port)
                if let running = runningPID, holders.isEmpty || holders.contains(where: { $0.pid == running }) { continue }
                // A socket that systemd holds is handed to the member when it starts.
                if holders.contains(where: { $0.pid == 1 && $0.name == "systemd" }) {
                    note(listener.key, "\(listener.address) is held by systemd, for the member")
                    continue
                }
                let whom = ListeningProcess.names(on: listener.address.port) ?? "another process"
                problem(
                    listener.key,
                    "\(listener.address) is in use by \(whom)\(listener.address.agentHint): stop that, or give another port")
            }
        }
    }

    private mutating func checkSource(_ address: String?, _ path: String) {
        guard let address, case .impossible(let reason) = BindTrial(host: address, port: 0) else { return }
        problem("dial_from", "no connection can come from \(address): \(reason)")
    }

    private mutating func checkSocket(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT != S_IFSOCK else { return }
        problem("control_socket", "\(path) is there and is no socket: remove it, or give another path")
    }

    private mutating func checkAPI(_ configuration: ServeConfiguration, now: Int64) {
        if let path = configuration.apiCertificate {
            do {
                if let identity = try RunningMember.apiIdentity(configuration) { checkValidity(identity.certificate, path, now) }
            } catch {
                problem(path, "\(error)")
            }
        }
        // It may come later; until then everything that asks it is denied.
        if let hook = configuration.authHook, !isExecutableFile(hook) { note("auth_hook", AgentErrors.hookMissing(hook)) }
    }

    private mutating func checkProjection(_ configuration: ServeConfiguration) {
        guard let settings = configuration.projectionSettings else { return }
        let places = [
            ("projection_config_directory", settings.configurationDirectory, configuration.projectionConfigurationDirectory != nil),
            ("projection_data_directory", settings.dataDirectory, configuration.projectionDataDirectory != nil),
        ]
        for (key, directory, isGiven) in places {
            let text: String
            if !DurableFile.exists(directory) {
                text = "\(directory) does not exist, so that ctrl-exec's files are not kept there: install -d \(directory)"
            } else if access(directory, W_OK | X_OK) != 0 {
                text = "uid \(getuid()) may not write in \(directory): check as the user that ced runs as, or give it to that one"
            } else {
                continue
            }
            // The member serves without these files; a place that somebody chose is meant to be there.
            if isGiven { problem(key, text) } else { note(key, text) }
        }
    }
}

extension ServeConfiguration {
    package struct Listener: Hashable, Sendable {
        /// That sets it.
        package let key: String
        package let address: HostPort
    }

    package var listeners: [Listener] {
        [
            Listener(key: "operations_listen", address: operations), Listener(key: "pairing_listen", address: pairing),
            Listener(key: "api_listen", address: api), Listener(key: "peer_listen", address: peer),
        ]
    }
}

extension HostPort {
    /// Both programs have the same port by default.
    fileprivate var agentHint: String {
        port == 7443 ? " (a ctrl-exec agent on the same host listens on 7443, too: move one of the two)" : ""
    }

    /// To stand behind "in use".
    var holder: String { (ListeningProcess.names(on: port).map { ": \($0)" } ?? "") + agentHint }

    /// Whether one who listens here keeps another from listening there.
    fileprivate func overlaps(_ other: HostPort) -> Bool {
        let everywhere = ["0.0.0.0", "::", "*"]
        return port == other.port && (host == other.host || everywhere.contains(host) || everywhere.contains(other.host))
    }
}
