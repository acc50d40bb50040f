// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member's state directory: what is in it, how a bundle becomes one, and what is read from it at the start.
// Refuses to make a member where one lives already. The journal's inside is the journal's own business.

import Consensus
import CtrlExec
import DispatcherState
import FoundationEssentials
import PKI
import Platform
import Wire

package struct StateDirectory: Hashable, Sendable {
    package let path: String
    package init(_ path: String) { self.path = path }

    package var lock: String { path + "/lock" }
    package var memberCertificate: String { path + "/member.crt" }
    package var memberKey: String { path + "/member.key" }
    package var clusterKey: String { path + "/cluster.key" }
    package var clusterCA: String { path + "/cluster-ca.crt" }
    package var fleetCA: String { path + "/fleet-ca.crt" }
    /// What is known of the files that this member keeps elsewhere.
    package var projection: String { path + "/projection" }
    package var journal: String { path + "/journal" }

    /// What a member needs from its directory besides the journal.
    package struct Secrets: Sendable {
        package let certificate: Certificate
        package let key: PrivateKey
        package let clusterKey: ClusterKey
    }

    /// The file `cluster.key`.
    private struct KeyFile: Codable {
        let version: UInt32
        let key: String
    }

    /// Makes the directory from a bundle. The journal comes last: a directory without one is not a member.
    package func install(_ bundle: Bundle) throws {
        guard let member = MemberID(bundle.member), let genesis = Data(base64Encoded: bundle.genesis),
            case let voters = bundle.voters.compactMap({ MemberID($0) }), voters.count == bundle.voters.count,
            let configuration = Configuration(voters: voters), configuration.isVoter(member)
        else {
            throw ConfigurationError(
                path: path, "the bundle is damaged: its member, its voters or its genesis cannot be read; make it anew")
        }
        try DurableFile.makeDirectory(path, mode: 0o700)
        if DurableFile.exists(journal) {
            throw ConfigurationError(
                path: path,
                "this directory holds a journal already: a member lives there, and nothing was changed (give another --directory)")
        }
        let keyFile = try JSONEncoder().encode(KeyFile(version: bundle.clusterKey.version, key: bundle.clusterKey.key))
        try DurableFile.write(Array(bundle.certificate.utf8), to: memberCertificate, mode: 0o644)
        try DurableFile.write(Array(bundle.key.utf8), to: memberKey, mode: 0o600)
        try DurableFile.write(Array(keyFile) + [10], to: clusterKey, mode: 0o600)
        try DurableFile.write(Array(bundle.clusterCA.utf8), to: clusterCA, mode: 0o644)
        try DurableFile.write(Array(bundle.fleetCA.utf8), to: fleetCA, mode: 0o644)
        _ = try secrets()
        _ = try GenesisState(decoding: Array(genesis))
        // A journal that is made only half must not look like one that is lost.
        let beside = journal + ".new"
        try removeHalfMade(beside)
        try DurableFile.makeDirectory(beside, mode: 0o700)
        try Journal<FileDisk>.create(
            on: FileDisk(directory: beside), genesis: Genesis(member: member, configuration: configuration, payload: Array(genesis)))
        try DurableFile.rename(beside, to: journal)
    }

    package func secrets() throws -> Secrets {
        let certificate = try Certificate(pem: DurableFile.read(memberCertificate))
        let key = try PrivateKey(pem: DurableFile.read(memberKey))
        guard key.matches(certificate) else {
            throw ConfigurationError(path: memberKey, "does not belong to \(memberCertificate): install the member's bundle anew")
        }
        let file: KeyFile
        do {
            file = try JSONDecoder().decode(KeyFile.self, from: Data(try DurableFile.read(clusterKey)))
        } catch let problem as FileProblem {
            throw problem
        } catch {
            throw ConfigurationError(path: clusterKey, "damaged: it is no JSON object with version and key")
        }
        guard let bytes = Data(base64Encoded: file.key) else {
            throw ConfigurationError(path: clusterKey, "damaged: its key is not base64")
        }
        return Secrets(certificate: certificate, key: key, clusterKey: try ClusterKey(bytes: Array(bytes), version: file.version))
    }

    private func removeHalfMade(_ directory: String) throws {
        guard DurableFile.exists(directory) else { return }
        var disk = try FileDisk(directory: directory)
        for file in try disk.list() { try disk.remove(file) }
    }
}
