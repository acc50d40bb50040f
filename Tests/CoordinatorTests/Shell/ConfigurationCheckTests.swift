// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced config check`: every problem is named, none is invented, and nothing is changed.

import Consensus
import CtrlExec
import Foundation
import Glibc
import NIOCore
import NIOPosix
import PKI
import Platform
import Testing

@testable import Coordinator

/// A member that was installed a moment ago, in a directory of its own.
private final class Installed: Sendable {
    static let now: Int64 = 1_800_000_000
    let base: String
    var state: StateDirectory { StateDirectory(base + "/state") }
    var file: String { base + "/ced.conf" }

    init() throws {
        base = FileManager.default.temporaryDirectory.appending(path: "ced-check-\(UUID().uuidString.prefix(8))").path
        try DurableFile.makeDirectory(base, mode: 0o755)
        let member = (id: try #require(MemberID("a")), address: HostPort(host: "127.0.0.1", port: 7446))
        let bundles = try ClusterInit.mint(
            members: [member], dispatcherID: try #require(DispatcherID("fleet")), now: WallClock(secondsSince1970: Self.now))
        try state.install(try #require(bundles.first))
        for name in ["etc", "var"] { try DurableFile.makeDirectory("\(base)/\(name)", mode: 0o755) }
    }
    // A directory of the test's own below the temporary one; what is left of it does no harm.
    deinit { try? FileManager.default.removeItem(atPath: base) }

    /// Port 0 is free everywhere.
    func check(
        _ lines: String = "", now: Int64 = Installed.now, state: String? = nil, credentials: [String] = []
    ) throws -> ConfigurationCheck {
        let text = """
            cluster_directory = \(state ?? self.state.path)
            operations_listen = 127.0.0.1:0
            pairing_listen = 127.0.0.1:0
            api_listen = 127.0.0.1:0
            peer_listen = 127.0.0.1:0
            control_socket = \(base)/ced.sock
            projection_config_directory = \(base)/etc
            projection_data_directory = \(base)/var
            \(lines)

            """
        try DurableFile.write(Array(text.utf8), to: file, mode: 0o644)
        return ConfigurationCheck(path: file, mayBeMissing: false, credentials: credentials, now: now)
    }
}

@Suite("Checking a configuration")
struct ConfigurationCheckTests {
    private let place: Installed
    init() throws { place = try Installed() }

    @Test("of a member that is well finds nothing, says which member it is, and leaves everything as it was")
    func well() throws {
        let before = try FileManager.default.subpathsOfDirectory(atPath: place.state.path).sorted()
        let check = try place.check()
        #expect(check.problems == [])
        #expect(check.member == "a" && check.runningPID == nil)
        #expect(check.notes.count == 1)
        #expect(try FileManager.default.subpathsOfDirectory(atPath: place.state.path).sorted() == before)
    }

    @Test("names every line that is wrong, in their order, and those that mean nothing")
    func everyLine() throws {
        let check = try place.check(
            """
            peer_listn = 0.0.0.0:1
            pairing = sometimes
            cert_days = lots
            cert = /etc/ctrl-exec/dispatcher.crt
              timeout = 5
            nonsense
            max_parallel = 5
            max_parallel = 6
            read_timeout =
            """)
        let file = place.file
        #expect(
            check.problems.map(\.description) == [
                "\(file):9: 'peer_listn' is no key that I know; did you mean 'peer_listen'?",
                "\(file):10: 'pairing' must be 'session' or 'always', not 'sometimes'",
                "\(file):11: 'cert_days' must be a number from 1 to 3650, not 'lots'",
            ])
        #expect(
            check.notes.dropLast().map(\.description) == [
                "\(file):12: 'cert' means nothing to ced and is not used",
                "\(file):13: this line begins with white space and is therefore ignored, as in ctrl-exec",
                "\(file):14: this line is no 'key = value' and is ignored",
                "\(file):16: 'max_parallel' stands in line 15 as well; this line wins",
                "\(file):17: 'read_timeout' has no value and counts as not being there",
            ])
    }

    @Test("of a file that is not there is a problem, unless it is the default one")
    func missingFile() {
        let missing = ConfigurationCheck(path: "/nonexistent/ced.conf", mayBeMissing: false, now: 0)
        #expect(missing.problems.map(\.description) == ["cannot read /nonexistent/ced.conf: no such file or directory"])
        let ofDefault = ConfigurationCheck(path: "/nonexistent/ced.conf", mayBeMissing: true, now: 0)
        #expect(ofDefault.notes.contains { $0.description == "/nonexistent/ced.conf: does not exist; everything has its default" })
    }

    @Test("says who has a port: another program by its name")
    func portInUse() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let channel = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        let check = try place.check("peer_listen = 127.0.0.1:\(port)")
        let problem = try #require(check.problems.first?.description)
        #expect(check.problems.count == 1)
        #expect(
            problem.hasPrefix("peer_listen: 127.0.0.1:\(port) is in use by ") && problem.contains("(process \(getpid()))"), "\(problem)")
        try await channel.close()
        #expect(try place.check("peer_listen = 127.0.0.1:\(port)").problems == [])
        try await group.shutdownGracefully()
    }

    @Test("does not mind a member that runs and has its ports")
    func running() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let channel = try await ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        let lock = try DirectoryLock(directory: place.state.path)
        let check = try withExtendedLifetime(lock) { try place.check("peer_listen = 127.0.0.1:\(port)") }
        #expect(check.problems == [])
        #expect(check.runningPID == getpid())
        try await channel.close()
        try await group.shutdownGracefully()
    }

    @Test(
        "finds two listeners in one place",
        arguments: [
            ("127.0.0.1:9443", "127.0.0.1:9443"), ("0.0.0.0:9443", "127.0.0.1:9443"), ("127.0.0.1:9443", "[::]:9443"),
        ])
    func overlap(operations: String, pairing: String) throws {
        let check = try place.check("operations_listen = \(operations)\npairing_listen = \(pairing)")
        #expect(
            check.problems.map(\.description) == [
                "pairing_listen: \(pairing) is where operations_listen listens, too: give each a port of its own"
            ])
    }

    @Test("finds addresses that this host does not have", arguments: ["operations_listen = 203.0.113.9:9443", "dial_from = 203.0.113.9"])
    func foreignAddress(line: String) throws {
        let problem = try #require(try place.check(line).problems.first?.description)
        #expect(problem.contains("203.0.113.9") && problem.hasSuffix("cannot assign requested address"))
    }

    @Test("finds a state directory that is none, or has lost its journal")
    func noState() throws {
        let nowhere = place.base + "/nowhere"
        #expect(try place.check(state: nowhere).problems.map(\.subject) == [nowhere])
        try FileManager.default.removeItem(atPath: place.state.journal)
        let lost = try place.check()
        #expect(lost.problems.count == 1)
        #expect(lost.problems[0].text.contains("must not come back under its old id"))
    }

    @Test("finds keys that others may read, and says the command that mends it")
    func openKeys() throws {
        try SharedFile.setMode(0o640, of: place.state.clusterKey)
        try SharedFile.setMode(0o604, of: place.state.memberKey)
        #expect(
            try place.check().problems.map(\.description)
                == [
                    "\(place.state.memberKey): is open to others than its owner (mode 604): chmod 600 \(place.state.memberKey)",
                    "\(place.state.clusterKey): is open to others than its owner (mode 640): chmod 600 \(place.state.clusterKey)",
                ])
    }

    @Test("finds a key that belongs to another certificate, and files that are none")
    func damaged() throws {
        try DurableFile.write(try PrivateKey.generateP256().pem, to: place.state.memberKey, mode: 0o600)
        try DurableFile.write(Array("nonsense".utf8), to: place.state.fleetCA, mode: 0o644)
        let check = try place.check()
        #expect(check.problems.map(\.subject) == [place.state.memberKey, place.state.fleetCA])
        #expect(check.problems[0].text.contains("does not belong to"))
    }

    @Test("finds certificates that are over, or not valid yet, and notes those that end soon")
    func validity() throws {
        let end = Installed.now + 3_650 * 86_400
        let over = try place.check(now: end + 1)
        #expect(over.problems.map(\.subject) == [place.state.memberCertificate, place.state.clusterCA, place.state.fleetCA])
        #expect(over.problems.allSatisfy { $0.text.hasPrefix("ended at 20") })
        let soon = try place.check(now: end - 20 * 86_400)
        #expect(soon.problems == [] && soon.notes.count { $0.text.hasSuffix("in 20 days") } == 3)
        let early = try place.check(now: Installed.now - 86_400)
        #expect(early.problems.count == 3 && early.problems.allSatisfy { $0.text.hasSuffix("set the clock") })
    }

    @Test("finds what stands where the socket should be, and places for files that are not there")
    func places() throws {
        try DurableFile.write([], to: place.base + "/ced.sock", mode: 0o644)
        try FileManager.default.removeItem(atPath: place.base + "/var")
        #expect(
            try place.check().problems.map(\.description) == [
                "control_socket: \(place.base)/ced.sock is there and is no socket: remove it, or give another path",
                "projection_data_directory: \(place.base)/var does not exist, so that ctrl-exec's files are not kept there: install -d "
                    + "\(place.base)/var",
            ])
        let without = try place.check("projection = off\ncontrol_socket = \(place.base)/other.sock")
        #expect(without.problems == [])
    }

    @Test("finds what 7445 cannot present, and a hook that is not there yet")
    func api() throws {
        // The key of somebody else.
        let wrong = try place.check("api_cert = \(place.state.clusterCA)\napi_key = \(place.state.memberKey)")
        let (found, path) = (wrong.problems.map(\.description), place.state.clusterCA)
        #expect(found.count == 1 && found.allSatisfy { $0.hasPrefix("\(path): api_cert and api_key cannot be used: the key does not") })
        let own = try place.check("api_cert = \(place.state.memberCertificate)\napi_key = \(place.state.memberKey)")
        #expect(own.problems == [])
        let hook = try place.check("auth_hook = \(place.base)/hook")
        #expect(hook.problems == [])
        #expect(hook.notes.last?.description == "auth_hook: auth hook not found or not executable: \(place.base)/hook")
    }

    @Test("misses no cluster key that the service gets as a credential")
    func credential() throws {
        let sealed = place.base + "/sealed"
        try FileManager.default.moveItem(atPath: place.state.clusterKey, toPath: sealed)
        let without = try place.check(credentials: [place.base + "/elsewhere"])
        #expect(without.problems.count == 1 && without.problems.allSatisfy { $0.text.contains(place.state.clusterKey) })
        let with = try place.check(credentials: [place.base + "/elsewhere", sealed])
        #expect(with.problems == [])
        #expect(with.notes.contains { $0.subject == place.state.clusterKey && $0.text.contains(sealed) })
    }

    @Test("is a command that ends with 0 or 78 and can say it as JSON")
    func command() async throws {
        _ = try place.check()
        // By the calendar of today the certificates are not valid yet, or are: what counts is that text and code agree.
        let good = try await ced(["config", "check", "--json", place.file])
        let isGood = good.json["ok"] == .boolean(true)
        #expect(good.code == (isGood ? 0 : 78) && good.error.isEmpty)
        #expect(good.json["member"] == .text("a"))
        _ = try place.check("nonsense_key = 1")
        let bad = try await ced(["config", "check", place.file])
        #expect(bad.code == 78 && bad.error.isEmpty)
        #expect(bad.out.hasPrefix("problem: \(place.file):9: 'nonsense_key' is no key that I know\n"))
    }
}
