// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a new cluster is made of, and the bundle on its way to a member.

import Consensus
import CtrlExec
import DispatcherState
import FoundationEssentials
import PKI
import Testing
import Wire

@testable import Coordinator

@Suite("A cluster's birth")
struct ClusterInitTests {
    private static let now: Int64 = 1_800_000_000

    private func mint() throws -> [Bundle] {
        let dispatcher = try #require(DispatcherID("disp-one"))
        return try ClusterInit.mint(
            members: ClusterInit.members("b=192.0.2.2:7446,a=192.0.2.1:7446,c=[2001:db8::3]:7446"), dispatcherID: dispatcher,
            now: WallClock(secondsSince1970: Self.now))
    }

    private func genesis(_ bundle: Bundle) throws -> GenesisState {
        try GenesisState(decoding: Array(#require(Data(base64Encoded: bundle.genesis))))
    }

    @Test("Every member begins with the same state")
    func sameGenesis() throws {
        let bundles = try mint()
        #expect(bundles.map(\.member) == ["b", "a", "c"])
        #expect(Set(bundles.map(\.genesis)).count == 1)
        #expect(bundles.allSatisfy { $0.voters == ["a", "b", "c"] })
        let state = try genesis(bundles[0])
        #expect(state.members.map(\.id.name) == ["a", "b", "c"])
        #expect(state.members.map(\.address) == ["192.0.2.1:7446", "192.0.2.2:7446", "[2001:db8::3]:7446"])
        #expect(state.dispatcherID.text == "disp-one")
    }

    @Test("Serials come from the incarnation's counter, from 1 on, and the next one is recorded")
    func serials() throws {
        let bundles = try mint()
        let state = try genesis(bundles[0])
        let members = try bundles.map { try Certificate(pem: Array($0.certificate.utf8)).serial }
        #expect(members == (1...3).map { serialNumber(incarnation: state.incarnation, counter: $0) })
        #expect(state.identity.serial == serialNumber(incarnation: state.incarnation, counter: 4))
        #expect(state.nextSerialCounter == 5)
        let authorities = try [state.clusterCA, state.fleetCA].map { try Certificate(der: $0.certificate).serial }
        #expect(Set(members + authorities + [state.identity.serial]).count == 6)
        #expect(authorities.allSatisfy { $0.bytes.count == 16 && $0.bytes[0] != 0x5c })
    }

    @Test("A member's certificate states its role, by the cluster CA alone")
    func memberCertificate() throws {
        let bundle = try mint()[0]
        let state = try genesis(bundle)
        let certificate = try Certificate(pem: Array(bundle.certificate.utf8))
        #expect(certificate.role == .member(cluster: "\(state.cluster)", id: "b"))
        #expect(certificate.commonName == "b")
        #expect(try PrivateKey(pem: Array(bundle.key.utf8)).matches(certificate))
        let clusterCA = try Certificate(der: state.clusterCA.certificate)
        let fleetCA = try Certificate(der: state.fleetCA.certificate)
        try verify(chain: [certificate], roots: [clusterCA], at: Self.now)
        #expect(throws: PKIFailure.self) { try verify(chain: [certificate], roots: [fleetCA], at: Self.now) }
    }

    @Test("The dispatcher's identity is of the fleet CA and named as ctrl-exec names it")
    func identity() throws {
        let state = try genesis(mint()[0])
        let certificate = try Certificate(der: state.identity.certificate)
        #expect(certificate.commonName == "ctrl-exec-dispatcher")
        #expect(certificate.role == .dispatcher(cluster: "\(state.cluster)"))
        try verify(chain: [certificate], roots: [Certificate(der: state.fleetCA.certificate)], at: Self.now)
    }

    @Test("The cluster key opens what it sealed, and another one does not")
    func custody() throws {
        let bundle = try mint()[0]
        let state = try genesis(bundle)
        let key = try ClusterKey(bytes: Array(#require(Data(base64Encoded: bundle.clusterKey.key))), version: bundle.clusterKey.version)
        try KeyVault(genesis: state, key: key).check()
        #expect(throws: PKIFailure.self) { try KeyVault(genesis: state, key: ClusterKey.generate()).check() }
        #expect(throws: KeyVault.UnknownIdentity.self) {
            try KeyVault(genesis: state, key: key).identity(serialNumber(incarnation: state.incarnation, counter: 99))
        }
    }

    @Test("A bundle reads back as it was written")
    func bundle() throws {
        let bundle = try mint()[0]
        #expect(try Bundle(decoding: bundle.encoded(), path: "b.bundle") == bundle)
    }

    @Test(
        "What is no bundle is refused with its name",
        arguments: [
            ("", "x.bundle: this is not a bundle of 'ced cluster init'"), ("{}", "x.bundle: this is not a bundle"),
            (#"{"format":2}"#, "x.bundle: this bundle has format 2"), (#"{"format":1}"#, "x.bundle: this is a damaged bundle"),
        ])
    func damagedBundle(text: String, message: String) {
        let error = #expect(throws: ConfigurationError.self) { try Bundle(decoding: Array(text.utf8), path: "x.bundle") }
        #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "no error")")
    }

    @Test(
        "A list of members that cannot be is refused",
        arguments: [
            "", "a", "a=host", "a=h:1,a=h:2", "a=h:1,b=h:1", "A=h:1", "a=h:0", "a=h:1,", "a=h:1,b=h:2,c=h:3,d=h:4,e=h:5,f=h:6",
        ])
    func badMembers(text: String) {
        #expect(throws: ConfigurationError.self) { try ClusterInit.members(text) }
    }
}
