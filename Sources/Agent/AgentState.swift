// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What an agent has read from its files, as one value that is exchanged whole: a request sees one state, whatever a reload does meanwhile.

import CtrlExec
import PKI
import Platform
import Synchronization
import Transport

package final class AgentState: Sendable {
    package struct Snapshot: Sendable {
        package var allowlist: Allowlist
        var sidecars: [ScriptName: SchemaSidecar]
        package var revoked: RevokedSerials
        package var trusted: TrustedDispatchers
        package var identity: TLSIdentity
        package var roots: [Certificate]
    }

    package let configuration: AgentConfiguration
    package let layout: AgentLayout
    let log: AgentLog
    private let snapshot: Mutex<Snapshot>
    /// Held while the map is read, changed and written, so that no change is lost.
    private let mapEditing = Mutex(())

    package var current: Snapshot { snapshot.withLock { $0 } }

    /// Reads everything; throws for what an agent cannot serve without.
    package init(layout: AgentLayout, log: AgentLog) throws(AgentFailure) {
        let configuration = try layout.requiredConfiguration()
        for warning in configuration.warnings { log.warning("config-warn", ("MSG", warning.description)) }
        StagedCertificate(configuration).promote(nowSeconds: wallClockSeconds(), log: log)
        let (identity, roots) = try AgentState.identity(configuration)
        do {
            let allowlist = try AgentState.allowlist(layout, log)
            self.snapshot = Mutex(
                Snapshot(
                    allowlist: allowlist, sidecars: AgentState.sidecars(allowlist, log),
                    revoked: try AgentState.revoked(configuration, log),
                    trusted: try AgentState.trusted(configuration), identity: identity, roots: roots))
        } catch {
            throw AgentFailure(.configuration, error.description)
        }
        self.configuration = configuration
        self.layout = layout
        self.log = log
    }

    /// Reads allowlist, sidecars, revocations, map and identity again; agent.conf is read at the start only, as in the original.
    /// What cannot be read: the allowlist becomes empty, so that nothing runs by mistake; everything else stays as it was.
    package func reload() {
        let old = current
        var new = old
        do { new.allowlist = try AgentState.allowlist(layout, log) } catch {
            log.error("config-warn", ("MSG", "\(error); no script is permitted until the next reload"))
            new.allowlist = Allowlist()
        }
        new.sidecars = AgentState.sidecars(new.allowlist, log)
        do { new.revoked = try AgentState.revoked(configuration, log) } catch { log.error("config-warn", ("MSG", "\(error)")) }
        do {
            StagedCertificate(configuration).promote(nowSeconds: wallClockSeconds(), log: log)
            (new.identity, new.roots) = try AgentState.identity(configuration)
        } catch { log.error("config-warn", ("MSG", "\(error); the old certificate stays in use")) }
        mapEditing.withLock { _ in
            do { new.trusted = try AgentState.trusted(configuration) } catch { log.error("config-warn", ("MSG", "\(error)")) }
            snapshot.withLock { $0 = new }
        }
    }

    /// Changes the map on disk, then here. The file is read anew: pairing writes to it too.
    func changeTrust(_ change: (inout TrustedDispatchers) -> Void) throws(FileProblem) {
        try mapEditing.withLock { _ throws(FileProblem) in
            let trusted = try AgentState.editMap(configuration.trustedDispatchers, owner: nil, change)
            snapshot.withLock { $0.trusted = trusted }
        }
    }

    static func editMap(_ path: String, owner: FileOwner?, _ change: (inout TrustedDispatchers) -> Void) throws(FileProblem)
        -> TrustedDispatchers
    {
        var trusted = TrustedDispatchers(text: String(decoding: try AgentFiles.readIfPresent(path) ?? [], as: UTF8.self))
        change(&trusted)
        try AgentFiles.replace(path, with: Array(trusted.text.utf8), mode: 0o644, owner: owner)
        return trusted
    }

    private static func allowlist(_ layout: AgentLayout, _ log: AgentLog) throws(FileProblem) -> Allowlist {
        let bytes = try DurableFile.read(layout.allowlist, limit: 8_388_608)
        let allowlist = Allowlist(text: String(decoding: bytes, as: UTF8.self), path: layout.allowlist)
        for warning in allowlist.warnings { log.warning("config-warn", ("MSG", warning.description)) }
        return allowlist
    }

    private static func sidecars(_ allowlist: Allowlist, _ log: AgentLog) -> [ScriptName: SchemaSidecar] {
        var sidecars: [ScriptName: SchemaSidecar] = [:]
        for script in allowlist.scripts {
            do { sidecars[script.name] = try SchemaSidecar.load(script: script.path) } catch {
                log.warning("schema-skip", ("SCRIPT", script.name), ("REASON", error.reason))
            }
        }
        return sidecars
    }

    private static func revoked(_ configuration: AgentConfiguration, _ log: AgentLog) throws(FileProblem) -> RevokedSerials {
        guard let bytes = try AgentFiles.readIfPresent(configuration.revokedSerials) else {
            log.info("revoked-serials-absent", ("PATH", configuration.revokedSerials), ("REASON", "no such file; nothing is revoked"))
            return RevokedSerials()
        }
        let revoked = RevokedSerials(text: String(decoding: bytes, as: UTF8.self))
        for line in revoked.malformedLines {
            log.warning("config-warn", ("MSG", "\(configuration.revokedSerials):\(line): no serial number; this line revokes nothing"))
        }
        return revoked
    }

    private static func trusted(_ configuration: AgentConfiguration) throws(FileProblem) -> TrustedDispatchers {
        TrustedDispatchers(text: String(decoding: try AgentFiles.readIfPresent(configuration.trustedDispatchers) ?? [], as: UTF8.self))
    }

    private static func identity(_ configuration: AgentConfiguration) throws(AgentFailure) -> (TLSIdentity, [Certificate]) {
        func bytes(_ path: String) throws(AgentFailure) -> [UInt8] {
            do { return try DurableFile.read(path, limit: 1_048_576) } catch {
                let advice = error.isMissing ? "; this agent is not paired, run 'cea request-pairing --dispatcher HOST'" : ""
                throw AgentFailure(.configuration, error.description + advice)
            }
        }
        let (cert, key, ca) = (try bytes(configuration.cert), try bytes(configuration.key), try bytes(configuration.ca))
        var path = configuration.cert
        do {
            let chain = try Certificate.all(inPEM: cert)
            path = configuration.key
            let privateKey = try PrivateKey(pem: key)
            path = configuration.ca
            let roots = try Certificate.all(inPEM: ca)
            guard !roots.isEmpty else { throw PKIFailure("there is no certificate in it") }
            path = configuration.cert
            return (try TLSIdentity(chain: chain, key: privateKey), roots)
        } catch {
            throw AgentFailure(.configuration, "\(path): \(error)")
        }
    }
}
