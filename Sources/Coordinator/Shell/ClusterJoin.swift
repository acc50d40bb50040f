// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A host joins: it makes its key, looks whether the cluster's CA is the one of its token, shows the secret, and gets its certificate and the
// cluster key, sealed to its own. From that its directory is made as from a bundle. If it hears no answer, the same command goes on with the
// same key, to which the token may be bound by now.

import AgentLink
import Consensus
import CtrlExec
import DispatcherState
import FoundationEssentials
import NIOCore
import NIOPosix
import PKI
import Platform
import Transport

package struct ClusterJoin: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package enum Kind: Hashable, Sendable { case unreachable, noLeader, refused, failed }
        package let kind: Kind
        package let description: String
        /// The cluster itself says that the token is worth nothing to this host.
        let isFinal: Bool
        init(_ kind: Kind, _ description: String, isFinal: Bool = false) {
            self.kind = kind
            self.description = description
            self.isFinal = isFinal
        }
    }

    /// Key and request, kept until the directory is made.
    private struct Draft: Codable {
        let member: String
        let key: String
        let request: String
    }

    private let token: JoinToken
    private let directory: StateDirectory
    private let group: any EventLoopGroup

    package init(token: JoinToken, directory: StateDirectory, group: any EventLoopGroup) {
        self.token = token
        self.directory = directory
        self.group = group
    }

    private var draftPath: String { directory.path + "/join.json" }

    /// Makes the directory. Throws `Failure`, and what the files bring about.
    package func run() async throws {
        if DurableFile.exists(directory.journal) {
            throw ConfigurationError(
                path: directory.path,
                "this directory holds a journal already: a member lives there, and nothing was changed (give another --dir, or remove it if the "
                    + "member that lived there was removed from its cluster)")
        }
        let isNew = !DurableFile.exists(directory.path)
        let draft = try draft()
        let key = try PrivateKey(pem: Array(draft.key.utf8))
        let bundle: Bundle
        do {
            bundle = try await ask(draft, key)
        } catch let failure as Failure where failure.isFinal {
            // The key is good for nothing any more. Where somebody else answered it stays: the cluster may have bound the token to it before.
            // What the cluster said matters more than a file that could not be taken away.
            do throws(FileProblem) {
                try DurableFile.remove(draftPath)
                if isNew { try DurableFile.removeDirectory(directory.path) }
            } catch {
                throw Failure(failure.kind, "\(failure.description) (and \(error.description))", isFinal: true)
            }
            throw failure
        }
        try directory.install(bundle)
        try DurableFile.remove(draftPath)
    }

    private func draft() throws -> Draft {
        try DurableFile.makeDirectory(directory.path, mode: 0o700)
        if DurableFile.exists(draftPath),
            // Another member's, or damaged: made anew.
            let kept = try? JSONDecoder().decode(Draft.self, from: Data(try DurableFile.read(draftPath))), kept.member == token.member.name
        {
            return kept
        }
        let key = try PrivateKey.generateP256()
        let draft = Draft(
            member: token.member.name, key: String(decoding: try key.pem, as: UTF8.self),
            request: String(decoding: try CertificateRequest.make(key: key, commonName: token.member.name).pem, as: UTF8.self))
        try DurableFile.write(Array(try JSONEncoder().encode(draft)), to: draftPath, mode: 0o600)
        return draft
    }

    // MARK: The cluster

    private func ask(_ draft: Draft, _ key: PrivateKey) async throws -> Bundle {
        var reasons: [String] = []
        var kind = Failure.Kind.unreachable
        for round in 0..<20 {
            for endpoint in token.endpoints {
                do {
                    let door = Endpoint.tcp(host: endpoint.host, port: endpoint.port)
                    let (cluster, authority) = try await authority(at: door)
                    let answer = try await exchange(
                        "POST", at: door, policy: .members(of: cluster, roots: [authority]),
                        .record([
                            "member": .text(token.member.name), "secret": .text(hexadecimal(token.secret)), "csr": .text(draft.request),
                        ]))
                    switch answer.status {
                    case 200: return try bundle(answer.body, draft, key, cluster, authority)
                    case 503:
                        kind = .noLeader
                        note("\(endpoint): \(answer.body["error"]?.scalarText ?? "unavailable")", in: &reasons)
                    default:
                        let error = answer.body["error"]?.scalarText ?? "answered \(answer.status)"
                        let detail = answer.body["detail"]?.scalarText
                        let isRefused = answer.status == 403
                        throw Failure(isRefused ? .refused : .failed, detail.map { "\(error): \($0)" } ?? error, isFinal: isRefused)
                    }
                } catch let failure as ExchangeFailure {
                    note("\(endpoint): \(failure.description)", in: &reasons)
                }
            }
            // Without anybody there is nothing to wait for.
            if kind == .unreachable, round > 1 { break }
            try await Task.sleep(for: .milliseconds(300))
        }
        throw Failure(kind, "no member let this host in: \(reasons.joined(separator: "; "))")
    }

    private func note(_ reason: String, in reasons: inout [String]) {
        if !reasons.contains(reason) { reasons.append(reason) }
    }

    /// Asked of whoever is there: what is believed is the fingerprint.
    private func authority(at door: Endpoint) async throws -> (cluster: String, Certificate) {
        let answer = try await exchange("GET", at: door, policy: .anyone, nil)
        guard answer.status == 200, let cluster = answer.body["cluster"]?.scalarText, let pem = answer.body["cluster_ca"]?.scalarText else {
            throw Failure(.failed, "\(door) is no member of a cluster that can be joined (it answered \(answer.status))")
        }
        let certificate = try Certificate(pem: Array(pem.utf8))
        guard constantTimeEqual(sha256(certificate.der), token.fingerprint) else {
            throw Failure(
                .refused,
                "\(door) shows another cluster's CA than the one of this token (fingerprint \(hexadecimal(sha256(certificate.der)))): "
                    + "nothing was sent to it; somebody else may be answering there")
        }
        return (cluster, certificate)
    }

    private func exchange(
        _ method: String, at door: Endpoint, policy: TrustPolicy, _ body: JSONValue?
    ) async throws(ExchangeFailure) -> (status: Int, body: JSONValue) {
        var settings = OneRequestClient.Settings()
        settings.connectTimeout = .seconds(3)
        settings.handshakeTimeout = .seconds(5)
        settings.readTimeout = .seconds(15)
        let client = OneRequestClient(group: group, tls: TLSClient(identity: nil, policy: policy), settings: settings)
        let headers = method == "POST" ? [(name: "X-Ced-Timeout-Ms", value: "10000")] : []
        let reply = try await client.exchange(
            OutgoingRequest(method: method, path: "/v1/join", headers: headers, body: body?.bytes), with: door)
        return (reply.status, JSONValue(bytes: reply.body) ?? .object([]))
    }

    private func bundle(
        _ answer: JSONValue, _ draft: Draft, _ key: PrivateKey, _ cluster: String, _ authority: Certificate
    ) throws -> Bundle {
        func text(_ name: String, of value: JSONValue?) throws -> String {
            guard let text = value?[name]?.scalarText else {
                throw Failure(.failed, "the answer lacks \(name); is that member of this release?")
            }
            return text
        }
        func list(_ name: String) -> [JSONValue] { if case .array(let elements) = answer[name] { elements } else { [] } }
        func bytes(_ name: String, of value: JSONValue?) throws -> [UInt8] {
            guard let data = Data(base64Encoded: try text(name, of: value)) else {
                throw Failure(.failed, "the answer's \(name) is damaged")
            }
            return Array(data)
        }
        let certificate = try text("certificate", of: answer)
        let parsed = try Certificate(pem: Array(certificate.utf8))
        guard key.matches(parsed), parsed.role == .member(cluster: cluster, id: token.member.name) else {
            throw Failure(.failed, "the certificate that came back is not that of member \(token.member) for this host's key")
        }
        let sealed = answer["cluster_key"]
        guard let version = UInt32(try text("version", of: sealed)) else { throw Failure(.failed, "the answer's cluster key is damaged") }
        let envelope = KeyEnvelope(ephemeralKey: try bytes("ephemeral", of: sealed), sealed: try bytes("sealed", of: sealed))
        let clusterKey = try envelope.open(with: key, name: SealedClusterKey.name, cluster: cluster)
        return Bundle(
            member: token.member.name, certificate: certificate, key: draft.key,
            clusterKey: Bundle.Key(version: version, key: Data(clusterKey).base64EncodedString()),
            clusterCA: String(decoding: try authority.pem, as: UTF8.self), fleetCA: try text("fleet_ca", of: answer),
            genesis: try text("genesis", of: answer), voters: list("founders").compactMap(\.scalarText),
            contacts: try list("contacts").map { MemberContact(id: try text("id", of: $0), address: try text("address", of: $0)) })
    }
}
