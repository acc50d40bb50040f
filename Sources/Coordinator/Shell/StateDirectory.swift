// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member's state directory: what is in it, how a bundle becomes one, and what is read from it at the start.
// Refuses to make a member where one lives already. The journal's inside is the journal's own business.

import Consensus
import CtrlExec
import DispatcherState
import FoundationEssentials
import Glibc
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
    /// The cluster key's name among the credentials that a service manager hands over (systemd.exec(5), `LoadCredential=`).
    package static let clusterKeyCredential = "cluster.key"
    package var clusterCA: String { path + "/cluster-ca.crt" }
    package var fleetCA: String { path + "/fleet-ca.crt" }
    /// What is known of the files that this member keeps elsewhere.
    package var projection: String { path + "/projection" }
    package var journal: String { path + "/journal" }
    /// The other members and their addresses, for the time until this one has applied what it knows.
    package var contacts: String { path + "/members.json" }
    /// Says that the member that lives here was removed.
    package var removed: String { path + "/removed" }

    /// What a member needs from its directory besides the journal.
    package struct Secrets: Sendable {
        package let certificate: Certificate
        package let key: PrivateKey
        package let clusterKey: ClusterKey
        /// Where the cluster key was found.
        package let clusterKeyPath: String
        /// A second one lies in the directory, although it was handed over as a credential.
        package let hasSpareClusterKey: Bool
    }

    /// The file `cluster.key`.
    private struct KeyFile: Codable {
        let version: UInt32
        let key: String
    }

    /// Where root makes a member for a service that runs as another user, the files must be that user's: from here on this process acts as
    /// the owner of the directory, or of the nearest one above it that exists. Does nothing for anybody but root.
    package func actAsOwner() throws {
        guard geteuid() == 0 else { return }
        var place = path[...]
        var status = stat()
        while stat(String(place), &status) != 0 {
            guard errno == ENOENT, let slash = place.lastIndex(of: "/"), slash != place.startIndex else { return }
            place = place[..<slash]
        }
        guard status.st_uid != 0 else { return }
        guard setegid(status.st_gid) == 0, seteuid(status.st_uid) == 0 else { throw FileProblem("act as the owner of", String(place)) }
    }

    /// Makes the directory from a bundle. The journal comes last: a directory without one is not a member.
    package func install(_ bundle: Bundle) throws {
        guard let member = MemberID(bundle.member), let genesis = Data(base64Encoded: bundle.genesis),
            case let voters = bundle.voters.compactMap({ MemberID($0) }), voters.count == bundle.voters.count,
            let configuration = Configuration(voters: voters), configuration.isVoter(member) == (bundle.contacts == nil)
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
        if let contacts = bundle.contacts { try writeContacts(contacts) }
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

    package func writeContacts(_ contacts: [MemberContact]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes = Array(try encoder.encode(contacts)) + [10]
        if DurableFile.exists(self.contacts), try DurableFile.read(self.contacts) == bytes { return }
        try DurableFile.write(bytes, to: self.contacts, mode: 0o600)
    }

    /// Empty if nothing was kept.
    package func readContacts() throws -> [MemberContact] {
        guard DurableFile.exists(contacts) else { return [] }
        do {
            return try JSONDecoder().decode([MemberContact].self, from: Data(try DurableFile.read(contacts)))
        } catch is DecodingError {
            throw ConfigurationError(
                path: contacts, "damaged: it is no list of members and addresses (remove it if the addresses are as they were)")
        }
    }

    /// The member's certificate, and the key that belongs to it.
    package func identity() throws -> (certificate: Certificate, key: PrivateKey) {
        let certificate = try parsed(memberCertificate) { try Certificate(pem: $0) }
        let key = try parsed(memberKey) { try PrivateKey(pem: $0) }
        guard key.matches(certificate) else {
            throw ConfigurationError(path: memberKey, "does not belong to \(memberCertificate): install the member's bundle anew")
        }
        return (certificate, key)
    }

    /// - Parameter credentials: the directory of the service manager's credentials (`$CREDENTIALS_DIRECTORY`); a cluster key in it goes before
    ///   the file in this directory.
    package func secrets(credentials: String? = nil) throws -> Secrets {
        let (certificate, key) = try identity()
        let credential = credentials.map { $0 + "/" + Self.clusterKeyCredential }.flatMap { DurableFile.exists($0) ? $0 : nil }
        let keyPath = credential ?? clusterKey
        let clusterKey = try parsed(keyPath) { bytes in
            guard let file = try? JSONDecoder().decode(KeyFile.self, from: Data(bytes)) else {  // what is wrong in it is said below
                throw ConfigurationError(path: keyPath, "damaged: it is no JSON object with version and key")
            }
            guard let key = Data(base64Encoded: file.key) else {
                throw ConfigurationError(path: keyPath, "damaged: its key is not base64")
            }
            return try ClusterKey(bytes: Array(key), version: file.version)
        }
        return Secrets(
            certificate: certificate, key: key, clusterKey: clusterKey, clusterKeyPath: keyPath,
            hasSpareClusterKey: credential != nil && DurableFile.exists(self.clusterKey))
    }

    /// What is in the file, or which file it is that makes no sense.
    private func parsed<Value>(_ path: String, _ parse: ([UInt8]) throws -> Value) throws -> Value {
        let bytes = try DurableFile.read(path)
        do {
            return try parse(bytes)
        } catch let failure as PKIFailure {
            throw ConfigurationError(path: path, failure.description)
        }
    }

    /// Every file of the journal can be read and written by this process: somebody may have run a member here as another user.
    package func checkAccess() throws {
        guard access(journal, R_OK | W_OK | X_OK) == 0 else { throw FileProblem("read and write", journal) }
        for file in try FileManager.default.contentsOfDirectory(atPath: journal).sorted() {
            let path = journal + "/" + file
            guard access(path, R_OK | W_OK) == 0 else { throw FileProblem("read and write", path) }
        }
    }

    private func removeHalfMade(_ directory: String) throws {
        guard DurableFile.exists(directory) else { return }
        var disk = try FileDisk(directory: directory)
        for file in try disk.list() { try disk.remove(file) }
    }
}
