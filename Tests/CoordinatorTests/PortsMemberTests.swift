// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Members through the ports: what operators ask, and the one request of a host that joins, over real TLS.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import FoundationEssentials
import NIOPosix
import PKI
import Platform
import Testing
import Transport
import Wire

@testable import Coordinator

@Suite("Members through the ports", .timeLimit(.minutes(2)))
struct PortsMemberTests {
    private func token(_ open: OpenPorts, secret: [UInt8], fingerprint: [UInt8]? = nil) throws -> JoinToken {
        JoinToken(
            member: try #require(MemberID("d")),
            endpoints: [HostPort(host: "127.0.0.1", port: try #require(open.ports.operations.port))],
            fingerprint: fingerprint ?? sha256(open.pki.clusterCA.certificate.der), secret: secret)
    }

    private func invite(_ open: OpenPorts, secret: [UInt8]) async throws {
        for version in [MachineVersion.second, .third] { await open.front.apply(.raiseVersion(version), by: .leader) }
        let outcome = await open.front.apply(
            .invite(try #require(MemberID("d")), address: "127.0.0.1:7999", secretHash: sha256(secret)), by: .localUser(uid: 0),
            .client("invite"))
        guard case .invited = outcome else { throw Surprise("not invited: \(outcome)") }
    }

    private func join(_ token: JoinToken, _ directory: URL) async throws {
        try await ClusterJoin(token: token, directory: StateDirectory(directory.path), group: MultiThreadedEventLoopGroup.singleton).run()
    }

    /// Whether the cluster says no; anything else that goes wrong is thrown.
    private func isTurnedAway(_ token: JoinToken, _ directory: URL) async throws -> Bool {
        do {
            try await join(token, directory)
            return false
        } catch is ClusterJoin.Failure {
            return true
        }
    }

    private func withDirectory(_ body: (URL) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "ced-join-\(UUID().uuidString.prefix(8))")
        defer { try? FileManager.default.removeItem(at: directory) }
        try await body(directory)
    }

    @Test("a host with the token gets a directory that holds all it needs, and nothing that others may read")
    func joins() async throws {
        try await OpenPorts.with { open in
            try await withDirectory { directory in
                let secret = try SystemRandom.bytes(32)
                try await invite(open, secret: secret)
                // What is sealed here is not a real genesis' keys, so that the vault is not asked; the directory is.
                try await join(try token(open, secret: secret), directory)
                let state = StateDirectory(directory.path)
                let secrets = try state.secrets()
                #expect(secrets.certificate.role == .member(cluster: open.pki.cluster.description, id: "d"))
                #expect(secrets.clusterKey.bytes == SmallFront.clusterKey)
                #expect(try state.readContacts().map(\.id) == ["a", "b", "c", "d"])
                for path in [directory.path, state.journal] { #expect(try mode(path) == 0o700) }
                for path in [state.memberKey, state.clusterKey, state.contacts] { #expect(try mode(path) == 0o600) }
                #expect(!DurableFile.exists(directory.path + "/join.json"))
                // A second time: there lives somebody.
                await #expect(throws: ConfigurationError.self) { try await join(try token(open, secret: secret), directory) }
            }
        }
    }

    @Test("a wrong secret, another cluster's fingerprint and a token that was used let nobody in")
    func refuses() async throws {
        try await OpenPorts.with { open in
            let secret = try SystemRandom.bytes(32)
            try await invite(open, secret: secret)
            try await withDirectory { directory in
                let anothers = try token(open, secret: secret, fingerprint: [UInt8](repeating: 1, count: 32))
                #expect(try await isTurnedAway(anothers, directory))
                let wrong = try token(open, secret: [UInt8](repeating: 2, count: 32))
                #expect(try await isTurnedAway(wrong, directory))
                // Neither became an entry.
                #expect(await open.front.performed.filter(\.isAdmission).isEmpty)
            }
            try await withDirectory { try await join(try token(open, secret: secret), $0) }
            try await withDirectory { directory in
                let used = try token(open, secret: secret)
                #expect(try await isTurnedAway(used, directory))
                #expect(!DurableFile.exists(directory.path))
                // A directory that was there stays, and with it whatever else is in it.
                try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
                #expect(try await isTurnedAway(used, directory))
                #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
            }
        }
    }

    @Test("a token whose ten minutes are over lets nobody in, and leaves nothing")
    func expires() async throws {
        try await OpenPorts.with { open in
            let secret = try SystemRandom.bytes(32)
            try await invite(open, secret: secret)
            await open.front.pass(milliseconds: 600_000)
            try await withDirectory { directory in
                let late = try token(open, secret: secret)
                #expect(try await isTurnedAway(late, directory))
                #expect(!DurableFile.exists(directory.path))
            }
        }
    }

    @Test("under older rules an invitation is refused, and whoever holds the rules back is named")
    func heldBack() async throws {
        try await OpenPorts.with { open in
            let body = JSONValue.record([
                "member": .text("d"), "address": .text("127.0.0.1:7999"), "secret_hash": .text(hexadecimal(sha256([1]))),
            ])
            let answer = try await open.askPlainly("POST", "/v1/members", on: open.socket, body)
            #expect(answer.status == 409)
            #expect(answer.json["error"]?.scalarText?.contains("version 3 of the cluster's rules, which is not in force") == true)
            #expect(
                answer.json["detail"]?.scalarText
                    == "member a does not say what it can follow, as older releases do not; member b does not say what it can follow, "
                    + "as older releases do not; member c does not answer, and every member must say that it can")
        }
    }

    @Test("the same host asks again with the same key and gets the same certificate")
    func repeats() async throws {
        try await OpenPorts.with { open in
            let secret = try SystemRandom.bytes(32)
            try await invite(open, secret: secret)
            try await withDirectory { directory in
                try await join(try token(open, secret: secret), directory)
                let (first, key) = try StateDirectory(directory.path).identity()
                // As if the answer had been lost: key and request are there, the journal is not.
                struct Draft: Encodable {
                    let member = "d"
                    let key: String
                    let request: String
                }
                let request = try CertificateRequest.make(key: key, commonName: "d")
                let draft = try JSONEncoder().encode(
                    Draft(key: String(decoding: try key.pem, as: UTF8.self), request: String(decoding: try request.pem, as: UTF8.self)))
                try await withDirectory { again in
                    try FileManager.default.createDirectory(at: again, withIntermediateDirectories: true)
                    try draft.write(to: again.appending(path: "join.json"))
                    try await join(try token(open, secret: secret), again)
                    #expect(try StateDirectory(again.path).identity().certificate.der == first.der)
                }
            }
        }
    }

    @Test("a token is one word that says all, and a damaged one is told apart")
    func tokens() throws {
        let member = try #require(MemberID("d"))
        let token = JoinToken(
            member: member, endpoints: [HostPort(host: "2001:db8::1", port: 7443), HostPort(host: "a.example", port: 1)],
            fingerprint: [UInt8](0..<32), secret: [UInt8](100..<132))
        let text = try token.text()
        #expect(try JoinToken(text) == token)
        #expect(
            text.utf8.allSatisfy { (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95 })
        for damaged in [
            "", "ced-join-", String(text.dropLast(9)), text.uppercased(), "x" + text, text + String(repeating: "A", count: 5_000),
        ] {
            #expect(throws: ConfigurationError.self, "\(damaged)") { try JoinToken(damaged) }
        }
    }

    private func mode(_ path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return try #require(attributes[.posixPermissions] as? Int)
    }
}

extension ExclusiveOperation {
    fileprivate var isAdmission: Bool {
        guard case .command(let command) = self, case .admit = command else { return false }
        return true
    }
}
