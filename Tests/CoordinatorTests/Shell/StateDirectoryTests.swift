// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A bundle becomes a member's directory, once.

import Consensus
import CtrlExec
import Foundation
import PKI
import Platform
import Testing

@testable import Coordinator

@Suite("A member's state directory")
struct StateDirectoryTests {
    private func withDirectory(_ body: (StateDirectory, [Coordinator.Bundle]) throws -> Void) throws {
        let place = FileManager.default.temporaryDirectory.appending(path: "ced-state-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: place) }
        let dispatcher = try #require(DispatcherID("d"))
        let bundles = try ClusterInit.mint(
            members: ClusterInit.members("a=127.0.0.1:1,b=127.0.0.1:2"), dispatcherID: dispatcher,
            now: WallClock(secondsSince1970: 1_800_000_000))
        try body(StateDirectory(place.path), bundles)
    }

    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test("An installed member finds its keys and a journal that begins with the cluster's state")
    func install() throws {
        try withDirectory { directory, bundles in
            try directory.install(bundles[1])
            let secrets = try directory.secrets()
            #expect(secrets.certificate.commonName == "b")
            let opened = try Journal.open(on: FileDisk(directory: directory.journal))
            #expect(opened.genesis.member.name == "b")
            #expect(opened.genesis.configuration.voters.map(\.name) == ["a", "b"])
            #expect(opened.recovered == .nothing)
        }
    }

    @Test("Keys are for their owner alone")
    func modes() throws {
        try withDirectory { directory, bundles in
            try directory.install(bundles[0])
            #expect(try mode(directory.path) == 0o700)
            #expect(try mode(directory.memberKey) == 0o600)
            #expect(try mode(directory.clusterKey) == 0o600)
        }
    }

    @Test("A directory in which a member lives is not touched")
    func refusal() throws {
        try withDirectory { directory, bundles in
            try directory.install(bundles[0])
            let error = #expect(throws: ConfigurationError.self) { try directory.install(bundles[1]) }
            #expect(error?.description.contains("holds a journal already") == true)
            #expect(try directory.secrets().certificate.commonName == "a")
        }
    }

    @Test("An installation that was cut short can be repeated")
    func repeated() throws {
        try withDirectory { directory, bundles in
            try DurableFile.makeDirectory(directory.path, mode: 0o700)
            try DurableFile.makeDirectory(directory.journal + ".new", mode: 0o700)
            try DurableFile.write([1, 2, 3], to: directory.journal + ".new/segment-0000000000000001", mode: 0o600)
            try directory.install(bundles[0])
            #expect(try Journal.open(on: FileDisk(directory: directory.journal)).genesis.member.name == "a")
        }
    }

    @Test("A cluster key among the credentials goes before the file, and may be the only one")
    func credential() throws {
        try withDirectory { directory, bundles in
            try directory.install(bundles[0])
            let credentials = directory.path + "/credentials"
            try DurableFile.makeDirectory(credentials, mode: 0o700)
            #expect(try directory.secrets(credentials: credentials).clusterKeyPath == directory.clusterKey)
            try DurableFile.write(try DurableFile.read(directory.clusterKey), to: credentials + "/cluster.key", mode: 0o600)
            let both = try directory.secrets(credentials: credentials)
            #expect(both.clusterKeyPath == credentials + "/cluster.key" && both.hasSpareClusterKey)
            try DurableFile.remove(directory.clusterKey)
            let alone = try directory.secrets(credentials: credentials)
            #expect(alone.clusterKey.bytes == both.clusterKey.bytes && !alone.hasSpareClusterKey)
            let missing = #expect(throws: FileProblem.self) { try directory.secrets() }
            #expect(missing?.isMissing == true)
        }
    }

    @Test("A damaged file is named with what is wrong in it", arguments: ["member.crt", "member.key", "cluster.key"])
    func damaged(file: String) throws {
        try withDirectory { directory, bundles in
            try directory.install(bundles[0])
            try DurableFile.write(Array("nonsense".utf8), to: directory.path + "/" + file, mode: 0o600)
            let error = #expect(throws: ConfigurationError.self) { try directory.secrets() }
            #expect(error?.path == directory.path + "/" + file)
        }
    }

    @Test("A key of another member is found out")
    func wrongKey() throws {
        try withDirectory { directory, bundles in
            try directory.install(bundles[0])
            try DurableFile.write(Array(bundles[1].key.utf8), to: directory.memberKey, mode: 0o600)
            #expect(throws: ConfigurationError.self) { try directory.secrets() }
        }
    }
}
