// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When files are written: after the first word of the member, together, again after a failure, and never by whoever notes a change.

import Consensus
import CtrlExec
import DispatcherState
import Foundation
import NIOCore
import NIOPosix
import PKI
import Platform
import Synchronization
import Testing
import Transport

@testable import Coordinator

@Suite("The projector", .timeLimit(.minutes(1)))
struct ProjectorTests {
    private let place: ProjectionPlace
    init() throws { place = try ProjectionPlace() }

    /// A member of which only the applied state is there.
    private func with(
        _ body: (Projector, SmallFront, Reports) async throws -> Void, keys: Bool = false,
        afterLook: @escaping @Sendable (SmallFront) async -> Void = { _ in }
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let front = try SmallFront(SmallPKI())
        let reports = Reports()
        var intervals = Projector.Intervals()
        (intervals.coalescing, intervals.inspection) = (.milliseconds(5), .milliseconds(20))
        (intervals.firstPause, intervals.longestPause) = (.milliseconds(10), .milliseconds(40))
        var key: (@Sendable (SerialNumber) throws -> PrivateKey)?
        if keys { key = { try front.dispatcherIdentity($0).key } }
        let projector = Projector(
            writer: place.makeWriter(), loop: group.next(), intervals: intervals,
            state: {
                let state = await front.appliedState()
                await afterLook(front)
                return state
            },
            key: key, calendar: { BootClock.wallClock() }, report: { reports.add($0) })
        do {
            try await body(projector, front, reports)
        } catch {
            await projector.close()
            try await group.shutdownGracefully()
            throw error
        }
        await projector.close()
        try await group.shutdownGracefully()
    }

    private final class Reports: Sendable {
        private let all = Mutex<[Projector.Report]>([])
        func add(_ report: Projector.Report) { all.withLock { $0.append(report) } }
        var last: Projector.Report? { all.withLock { $0.last } }
        var failures: Int { all.withLock { $0.count { $0.problem != nil } } }
    }

    private func submission(_ reqid: UInt64) throws -> Command {
        .submitPairing(
            PairingSubmission(
                reqid: Reqid(reqid), hostname: try #require(AgentName("web-\(reqid)")), signingRequest: SigningRequest(der: [9]),
                nonce: "0123", code: "432319", sourceAddress: "192.0.2.7", suggested: Reachability()))
    }

    @Test("writes nothing before the member has said that it has caught up")
    func waits() async throws {
        try place.put("of the last run", "etc/ca.crt")
        try await with { projector, _, reports in
            #expect(try place.text("etc/ca.crt") == "of the last run")
            #expect(reports.last == nil)
            projector.note(.everything)
            try await eventually("the files are written") { place.names.contains("etc/dispatcher.crt") }
            #expect(try place.text("etc/ca.crt")?.hasPrefix("-----BEGIN CERTIFICATE-----") == true)
        }
    }

    @Test("follows a pairing from the queue to the registry")
    func follows() async throws {
        try await with { projector, front, _ in
            projector.note(.everything)
            try await eventually("the files are written") { place.names.contains("etc/ca.crt") }
            await front.apply(.openPairing(milliseconds: 600_000), .client("open"))
            await front.apply(try submission(1), by: .pairingHost(address: "192.0.2.7"), .client("submit"))
            projector.note(.parts([.pairing(Reqid(1))]))
            try await eventually("the request lies in the queue") { place.names.contains("var/pairing/0000000000000001.json") }
            await front.apply(.denyPairing(Reqid(1)), .client("deny"))
            projector.note(.parts([.pairing(Reqid(1))]))
            try await eventually("it is gone") { !place.names.contains("var/pairing/0000000000000001.json") }
        }
    }

    @Test("misses nothing that is noted between its look at the state and its writing")
    func newerThanTheState() async throws {
        let projector = Mutex<Projector?>(nil)
        let isDenied = Mutex(false)
        let file = "var/pairing/0000000000000001.json"
        try await with(
            { running, front, _ in
                projector.withLock { $0 = running }
                await front.apply(.openPairing(milliseconds: 600_000), .client("open"))
                await front.apply(try submission(1), by: .pairingHost(address: "192.0.2.7"), .client("submit"))
                running.note(.everything)
                // What the first look saw is written, and at once what came after it.
                try await eventually("the request has come and gone") { isDenied.withLock { $0 } && !place.names.contains(file) }
                try await eventually("the others are there") { place.names == ["etc/ca.crt", "etc/dispatcher.crt"] }
                projector.withLock { $0 = nil }
            },
            afterLook: { front in
                guard let running = projector.withLock({ $0 }), !isDenied.withLock({ $0 }) else { return }
                await front.apply(.denyPairing(Reqid(1)), .client("deny"))
                running.note(.parts([.pairing(Reqid(1))]))
                isDenied.withLock { $0 = true }
            })
    }

    @Test("puts right by itself what another hand has changed, and says so")
    func inspects() async throws {
        try await with { projector, _, reports in
            projector.note(.everything)
            try await eventually("the files are written") { place.names.contains("etc/dispatcher.crt") }
            let right = try place.text("etc/ca.crt")
            try place.put("mine", "etc/ca.crt")
            try await eventually("it is put right") { (try? place.text("etc/ca.crt")) == right && place.keptAside.count == 1 }
            try await eventually("it is reported") { reports.last?.kept.count == 1 }
            try FileManager.default.removeItem(atPath: place.path(place.keptAside[0]))
            try await eventually("it is reported that somebody has looked at it") { reports.last?.kept.isEmpty == true }
        }
    }

    @Test("tries again what failed until it goes through, and says what is wrong meanwhile")
    func retries() async throws {
        try FileManager.default.removeItem(atPath: place.path("etc"))
        try await with { projector, _, reports in
            projector.note(.everything)
            try await eventually("it has failed several times") { reports.failures > 3 }
            #expect(place.logged("projection-fail") == 1)
            try DurableFile.makeDirectory(place.path("etc"), mode: 0o755)
            try await eventually("all is well") { reports.last.map { $0.problem == nil } ?? false }
            #expect(place.names == ["etc/ca.crt", "etc/dispatcher.crt"])
        }
    }

    @Test("projects the current identity's key if it is told to, for its owner only, and takes it away when it no longer is")
    func keys() async throws {
        try await with(
            { projector, front, _ in
                projector.note(.everything)
                try await eventually("the key is there") { place.names.contains("etc/dispatcher.key") }
                #expect(try place.mark("etc/dispatcher.key")?.mode == 0o600)
                let key = try PrivateKey(pem: DurableFile.read(place.path("etc/dispatcher.key")))
                #expect(key.matches(try Certificate(pem: DurableFile.read(place.path("etc/dispatcher.crt")))))
            }, keys: true)
        try await with { projector, _, _ in
            projector.note(.everything)
            try await eventually("the key is gone") { place.names == ["etc/ca.crt", "etc/dispatcher.crt"] }
        }
    }
}
