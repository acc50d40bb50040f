// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How a cluster is born: keys, certificates and the state with which it begins, minted in one place and put into one bundle per member.
// Pure composition: files are written by the caller. After this nothing here is used again.

import Consensus
import CtrlExec
import DispatcherState
import FoundationEssentials
import PKI
import Wire

package enum ClusterInit {
    /// CAs and members live ten years; the peer port does not look at it.
    private static let authorityDays: Int64 = 3650
    /// As ctrl-exec's own (protocol page, 4.2).
    private static let dispatcherDays: Int64 = 825
    private static let daySeconds: Int64 = 86_400
    /// Clocks differ.
    private static let leewaySeconds: Int64 = 300

    /// `a=HOST:PORT,b=…`: one to five members, no id and no address twice.
    package static func members(_ text: String) throws(ConfigurationError) -> [(id: MemberID, address: HostPort)] {
        var members: [(id: MemberID, address: HostPort)] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard sides.count == 2, let address = HostPort(sides[1]), address.port > 0 else {
                throw ConfigurationError(path: "--members", "'\(part)' is not ID=HOST:PORT, such as a=192.0.2.1:7446")
            }
            guard let id = MemberID(sides[0]) else {
                throw ConfigurationError(
                    path: "--members",
                    "'\(sides[0])' cannot be a member's id: 1 to 32 characters of a-z, 0-9 and -, beginning with a letter")
            }
            if members.contains(where: { $0.id == id }) { throw ConfigurationError(path: "--members", "'\(id)' stands there twice") }
            if members.contains(where: { $0.address == address }) {
                throw ConfigurationError(path: "--members", "\(address) stands there twice; every member has a peer port of its own")
            }
            members.append((id, address))
        }
        guard members.count <= 5 else {
            throw ConfigurationError(
                path: "--members", "\(members.count) members are too many; at most five vote, and three are usually right")
        }
        return members
    }

    /// One bundle per member, in the order given.
    package static func mint(
        members: [(id: MemberID, address: HostPort)], dispatcherID: DispatcherID, now: WallClock
    ) throws -> [Bundle] {
        guard let cluster = ClusterID(bytes: try SystemRandom.bytes(16)), let configuration = Configuration(voters: members.map(\.id))
        else {
            throw ConfigurationError(path: "--members", "a cluster has one to five members, each with an id of its own")
        }
        let mint = try Mint(cluster: cluster, now: now.secondsSince1970)
        var certificates: [(certificate: Certificate, key: PrivateKey)] = []
        for (number, member) in members.enumerated() {
            certificates.append(try mint.member(member.id, counter: UInt64(number + 1)))
        }
        let dispatcherCounter = UInt64(members.count + 1)
        let state = GenesisState(
            cluster: cluster, incarnation: mint.incarnation, dispatcherID: dispatcherID,
            members: zip(members, certificates).map { member, made in
                MemberRecord(id: member.id, address: "\(member.address)", certificateSerial: made.certificate.serial)
            }.sorted { $0.id < $1.id },
            fleetCA: try mint.sealed(mint.fleetCA, name: "fleet-ca"), clusterCA: try mint.sealed(mint.clusterCA, name: "cluster-ca"),
            identity: try mint.dispatcher(counter: dispatcherCounter), nextSerialCounter: dispatcherCounter + 1)
        let genesis = Data(state.encoded()).base64EncodedString()
        return try zip(members, certificates).map { member, made in
            Bundle(
                member: member.id.name, certificate: String(decoding: try made.certificate.pem, as: UTF8.self),
                key: String(decoding: try made.key.pem, as: UTF8.self),
                clusterKey: Bundle.Key(version: mint.key.version, key: Data(mint.key.bytes).base64EncodedString()),
                clusterCA: String(decoding: try mint.clusterCA.certificate.pem, as: UTF8.self),
                fleetCA: String(decoding: try mint.fleetCA.certificate.pem, as: UTF8.self), genesis: genesis,
                voters: configuration.voters.map(\.name))
        }
    }

    private struct Mint {
        let cluster: ClusterID
        let incarnation: Incarnation
        let key: ClusterKey
        let clusterCA: Authority
        let fleetCA: Authority
        let now: Int64

        init(cluster: ClusterID, now: Int64) throws {
            self.cluster = cluster
            self.now = now
            incarnation = Incarnation(counter: 1, random: try SystemRandom.number())
            key = try ClusterKey.generate()
            clusterCA = try Self.authority("ced cluster \(cluster)", now: now)
            // The name that ctrl-exec gives its own (protocol page, 4.2).
            fleetCA = try Self.authority("ctrl-exec CA", now: now)
        }

        func member(_ id: MemberID, counter: UInt64) throws -> (certificate: Certificate, key: PrivateKey) {
            let key = try PrivateKey.generateP256()
            let certificate = try clusterCA.issue(
                CertificateRequest.make(key: key, commonName: id.name), subject: id.name,
                serial: serialNumber(incarnation: incarnation, counter: counter), role: .member(cluster: "\(cluster)", id: id.name),
                usage: .both, notBefore: now - leewaySeconds, notAfter: now + authorityDays * daySeconds)
            return (certificate, key)
        }

        func dispatcher(counter: UInt64) throws -> Identity {
            let key = try PrivateKey.generateP256()
            let serial = serialNumber(incarnation: incarnation, counter: counter)
            let name = "ctrl-exec-dispatcher"
            let certificate = try fleetCA.issue(
                CertificateRequest.make(key: key, commonName: name), subject: name, serial: serial,
                role: .dispatcher(cluster: "\(cluster)"), usage: .both, notBefore: now - leewaySeconds,
                notAfter: now + dispatcherDays * daySeconds)
            return Identity(
                serial: serial, certificate: certificate.der, key: try seal(key, name: "dispatcher-\(serial)"),
                notAfter: WallClock(secondsSince1970: certificate.notAfter), phase: .current)
        }

        func sealed(_ authority: Authority, name: String) throws -> CertificateAuthority {
            CertificateAuthority(certificate: authority.certificate.der, key: try seal(authority.key, name: name))
        }

        private func seal(_ privateKey: PrivateKey, name: String) throws -> SealedKey {
            SealedKey(name: name, keyVersion: key.version, bytes: try key.seal(privateKey.der, name: name, cluster: "\(cluster)"))
        }

        private static func authority(_ name: String, now: Int64) throws -> Authority {
            // A serial of its own: positive, sixteen bytes, outside of every incarnation's (those begin with 5c).
            var bytes = try SystemRandom.bytes(16)
            bytes[0] = 0x40 | (bytes[0] & 0x0f)
            guard let serial = SerialNumber(bytes: bytes) else {
                preconditionFailure("sixteen bytes that begin with 4 are a serial number")
            }
            return try Authority.selfSigned(
                commonName: name, key: PrivateKey.generateP256(), notBefore: now - leewaySeconds,
                notAfter: now + authorityDays * daySeconds, serial: serial)
        }
    }
}
