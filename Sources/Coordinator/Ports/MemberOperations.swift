// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Members that come and go: who there are, what a token needs to know, and the one request with which a host joins. It comes from a stranger:
// nothing of it reaches the log before its token was found in the state, and what it gets back can be used with its own key only.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import FoundationEssentials
import PKI
import Transport
import Wire

extension PortFront {
    // MARK: What the joining host is told

    /// The cluster's CA, by whose fingerprint in its token the host knows that it has come to the right door.
    func joinGreeting() async -> PortResponse {
        let genesis = await member.appliedState().genesis
        return .ok(["cluster": .text(genesis.cluster.description), "cluster_ca": .text(pemText(genesis.clusterCA.certificate))])
    }

    func join(_ request: PortRequest) async throws(BadRequest) -> PortResponse {
        let body = try request.object()
        let id = try memberID(try text(body, "member") ?? "")
        guard let secret = bytes(hexadecimal: try text(body, "secret") ?? "") else {
            throw BadRequest("secret is the token's secret in hexadecimal digits")
        }
        let (signingRequest, publicKey): (SigningRequest, [UInt8])
        do {
            let parsed = try CertificateRequest(pem: Array((try text(body, "csr") ?? "").utf8))
            guard parsed.der.count <= SigningRequest.limit else {
                throw BadRequest("the certificate request is larger than \(SigningRequest.limit) bytes")
            }
            (signingRequest, publicKey) = (SigningRequest(der: parsed.der), try parsed.publicKeyDER)
        } catch let bad as BadRequest {
            throw bad
        } catch {
            throw BadRequest("csr: \(error)")
        }
        let join = JoinRequest(member: id, secretHash: sha256(secret), publicKey: publicKey, signingRequest: signingRequest)
        guard let state = await member.read(.linearizable, timeout: try request.timeout()) else {
            return .failure(503, "no leader", detail: "the token cannot be looked up; try again in a moment")
        }
        // A stranger's guesses end here.
        guard state.invitation(of: id)?.secretHash == join.secretHash || state.member(id)?.publicKey == publicKey else {
            return .failure(statusCode(of: .invitationUnknown), Refusal.invitationUnknown.text)
        }
        let answer = try await carryOut(
            .command(.admit(join)), request, principal: .joiningHost(address: request.source), timeout: try request.timeout())
        guard answer.status == 200 else { return answer }
        return await welcome(id, publicKey, answer)
    }

    /// All that a state directory is made of, but for the key, which the host has itself.
    private func welcome(_ id: MemberID, _ publicKey: [UInt8], _ answer: PortResponse) async -> PortResponse {
        let state = await member.appliedState()
        guard let record = state.member(id), record.publicKey == publicKey else {
            return .failure(409, "member \(id) is on record no more")
        }
        do {
            let sealed = try member.sealedClusterKey(to: publicKey)
            func base64(_ bytes: [UInt8]) -> JSONValue { .text(Data(bytes).base64EncodedString()) }
            return .ok([
                "member": .text(id.name), "certificate": .text(pemText(record.certificate)),
                "cluster_ca": .text(pemText(state.genesis.clusterCA.certificate)),
                "fleet_ca": .text(pemText(state.genesis.fleetCA.certificate)),
                "genesis": base64(state.genesis.encoded()), "founders": .array(state.genesis.members.map { .text($0.id.name) }),
                "contacts": .array(state.members.map { .record(["id": .text($0.id.name), "address": .text($0.address)]) }),
                "cluster_key": .record([
                    "version": .count(UInt64(sealed.version)), "ephemeral": base64(sealed.envelope.ephemeralKey),
                    "sealed": base64(sealed.envelope.sealed),
                ]),
            ])
        } catch {
            return .failure(500, "the cluster key could not be sealed", detail: "\(error)")
        }
    }

    // MARK: What the token is made of

    /// By what the other host knows the cluster, and where it finds it.
    func tokenMembers() async -> (fingerprint: String, endpoints: [JSONValue]) {
        let state = await member.appliedState()
        var endpoints: [JSONValue] = []
        for report in await member.reports(timeout: .milliseconds(500)) {
            guard let port = report.facts.operationsPort, let known = state.member(report.member), known.phase == .staying,
                let address = HostPort(known.address)
            else { continue }
            endpoints.append(.text(HostPort(host: address.host, port: Int(port)).description))
        }
        return (hexadecimal(sha256(state.genesis.clusterCA.certificate)), endpoints)
    }

    /// A cluster that began alone is known by an address that no other host reaches.
    func loopbackProblem(_ address: String) async -> PortResponse? {
        guard let invited = HostPort(address), !invited.isLoopback else { return nil }
        let unreachable = await member.appliedState().members.filter { HostPort($0.address)?.isLoopback ?? false }
        guard let first = unreachable.first else { return nil }
        return .failure(
            409, "member \(first.id) is known by \(first.address), where no other host reaches it",
            detail: "first say where it is reached: ced cluster set-address \(first.id) HOST:PORT")
    }

    // MARK: Words of a request

    func memberID(_ text: String) throws(BadRequest) -> MemberID {
        guard let id = MemberID(text) else {
            throw BadRequest("'\(text)' cannot be a member's id: 1 to 32 characters of a-z, 0-9 and -, beginning with a letter")
        }
        return id
    }

    func memberAddress(_ body: JSONValue) throws(BadRequest) -> String {
        let text = try text(body, "address") ?? ""
        guard let address = HostPort(text), address.port > 0 else { throw BadRequest("'\(text)' is not HOST:PORT, such as 192.0.2.4:7446") }
        return address.description
    }

    func bytes(hexadecimal text: String) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard !digits.isEmpty, digits.count % 2 == 0, digits.count <= 128 else { return nil }
        func value(_ digit: UInt8) -> UInt8? {
            switch digit {
            case 48...57: digit - 48
            case 97...102: digit - 87
            case 65...70: digit - 55
            default: nil
            }
        }
        var bytes: [UInt8] = []
        for place in stride(from: 0, to: digits.count, by: 2) {
            guard let high = value(digits[place]), let low = value(digits[place + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }
}

extension HostPort {
    /// Reached from its own host only.
    var isLoopback: Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") }
}

// MARK: Shapes

func membersShape(_ state: DispatcherState) -> JSONValue {
    .record([
        "members": .array(
            state.members.map { member in
                .record([
                    "member": .text(member.id.name), "address": .text(member.address), "phase": .text(member.phase.rawValue),
                    "voter": .boolean(state.voters.contains(member.id)), "learner": .boolean(state.learners.contains(member.id)),
                    "certificate_serial": .text(member.certificateSerial.hexadecimal),
                ])
            }),
        "invitations": .array(invitationShapes(state)), "former_members": .array(state.formerMembers.map(formerShape)),
    ])
}

/// The secret is known as a hash only, and that is nobody's business.
func invitationShapes(_ state: DispatcherState) -> [JSONValue] {
    state.invitations.map { invitation in
        .record([
            "member": .text(invitation.id.name), "address": .text(invitation.address), "used": .boolean(invitation.binding != nil),
            "seconds_left": .count(
                (invitation.expires.milliseconds - min(invitation.expires.milliseconds, state.time.milliseconds)) / 1_000),
        ])
    }
}

func formerShape(_ former: FormerMember) -> JSONValue {
    .record([
        "member": .text(former.id.name), "index": .count(former.index.position),
        "removed": .text(ISO8601Time.text(unixSeconds: former.removedAt.secondsSince1970)),
    ])
}
