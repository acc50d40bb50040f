// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A member without a leader: what it goes on with, what it says, and where it ends (architecture, rule 5).

import AgentLink
import Consensus
import CtrlExec
import Testing
import Transport

@testable import Coordinator

@Suite("Isolation")
struct IsolationTests {
    private func glance(isReady: Bool, milliseconds: UInt64?) throws -> MemberGlance {
        MemberGlance(
            member: try #require(MemberID("a")), leader: nil, term: Term(3), holdsLease: false, isReady: isReady,
            leaderContactMilliseconds: milliseconds)
    }
    private func isolation(_ milliseconds: UInt64) throws -> Isolation {
        try #require(Isolation(glance(isReady: false, milliseconds: milliseconds), hasServed: true))
    }

    @Test("is neither of a member that hears from a leader nor of one that has never been ready")
    func notIsolated() throws {
        #expect(Isolation(try glance(isReady: true, milliseconds: 3), hasServed: true) == nil)
        #expect(Isolation(try glance(isReady: false, milliseconds: 42_000), hasServed: false) == nil)
        #expect(Isolation(try glance(isReady: false, milliseconds: nil), hasServed: true) == nil)
        #expect(try isolation(42_999).seconds == 42)
    }

    @Test("tells when the member last knew what a leader knew")
    func headers() throws {
        #expect(
            try isolation(42_000).headers(now: 1_800_000_042).map { "\($0.name): \($0.value)" } == [
                "X-Ced-Isolated: 42", "X-Ced-As-Of: 2027-01-15T08:00:00Z",
            ])
    }

    @Test(
        "has a limit that is reached, not passed by, and may change",
        arguments: [(999, false), (1_000, true), (1_001, true)] as [(UInt64, Bool)])
    func limit(milliseconds: UInt64, isPassed: Bool) throws {
        let limit = IsolationLimit(seconds: 3_600)
        #expect(!limit.isPassed(by: try isolation(milliseconds)))
        limit.change(seconds: 1)
        #expect(limit.isPassed(by: try isolation(milliseconds)) == isPassed)
        limit.change(seconds: 0)
        #expect(limit.isPassed(by: try isolation(milliseconds)))
        limit.change(seconds: .max)
        #expect(!limit.isPassed(by: try isolation(milliseconds)))
    }

    @Test("is logged when it begins, when it passes the limit, and when it ends, each once")
    func watch() throws {
        var watch = IsolationWatch()
        #expect(watch.look(nil, isPastLimit: false) == nil)
        #expect(watch.look(try isolation(700), isPastLimit: false) == nil, "an election")
        #expect(watch.look(try isolation(2_100), isPastLimit: false) == .begun(try isolation(2_100)))
        #expect(watch.look(try isolation(3_100), isPastLimit: false) == nil)
        #expect(watch.look(try isolation(4_100), isPastLimit: true) == .limitPassed(try isolation(4_100)))
        #expect(watch.look(try isolation(5_100), isPastLimit: true) == nil)
        #expect(watch.look(nil, isPastLimit: false) == .ended(seconds: 5))
        #expect(watch.look(nil, isPastLimit: false) == nil)
    }

    @Test("leaves work on agents and stale reads, which say so, and nothing that must happen once")
    func goesOn() async throws {
        try await OpenPorts.with { open in
            try await open.pair("web-1")
            let hosts = JSONValue.record(["hosts": .array([.text("web-1")])])
            let before = try await open.askPlainly("POST", "/v1/ping", on: open.socket, hosts)
            #expect(before.status == 200 && before.header("x-ced-isolated") == nil && before.header("x-ced-as-of") == nil)
            await open.front.isolate(milliseconds: 42_000)
            let ping = try await open.askPlainly("POST", "/v1/ping", on: open.socket, hosts)
            #expect(ping.status == 200 && ping.header("x-ced-isolated") == "42" && ping.header("x-ced-as-of") != nil)
            let stale = try await open.askPlainly(
                "GET", "/v1/agents", on: open.socket, headers: [(name: "X-Ced-Consistency", value: "stale")])
            #expect(stale.status == 200 && stale.json["agents"]?.count == 1 && stale.header("x-ced-isolated") == "42")
            #expect(try await open.askPlainly("GET", "/v1/agents", on: open.socket).status == 503)
            let exclusive = try await open.askPlainly("DELETE", "/v1/agents/web-1", on: open.socket)
            #expect(exclusive.status == 503 && exclusive.json["error"] == .text("no leader") && exclusive.header("x-ced-isolated") == "42")
            #expect(try await open.askPlainly("GET", "/ready", on: open.api).header("x-ced-isolated") == "42")
        }
    }

    @Test("ends shared operations at the limit, on every port, but not the status; and is over when there is a leader")
    func ends() async throws {
        try await OpenPorts.with(OpenPorts.Wishes(policy: HookPolicy(allowsApiWithoutHook: true))) { open in
            try await open.pair("web-1")
            let hosts = JSONValue.record(["hosts": .array([.text("web-1")])])
            #expect(try await open.askPlainly("POST", "/v1/ping", on: open.socket, hosts).status == 200)
            await open.front.isolate(milliseconds: 3_600_000)
            let stale = [(name: "X-Ced-Consistency", value: "stale")]
            for refused in [
                try await open.askPlainly("POST", "/v1/ping", on: open.socket, hosts),
                try await open.askPlainly("GET", "/v1/agents", on: open.socket, headers: stale),
                try await open.askPlainly("POST", "/ping", on: open.api, hosts),
            ] {
                #expect(refused.status == 503 && refused.json["error"] == .text("isolated") && refused.header("retry-after") == "1")
                #expect(refused.header("x-ced-isolated") == "3600")
            }
            #expect(try await open.askPlainly("GET", "/v1/status", on: open.socket).status == 200)
            #expect(try await open.askPlainly("GET", "/health", on: open.api).status == 200)
            open.ports.isolationLimit.change(seconds: 7_200)
            #expect(try await open.askPlainly("POST", "/v1/ping", on: open.socket, hosts).status == 200)
            open.ports.isolationLimit.change(seconds: 60)
            await open.front.rejoin()
            let back = try await open.askPlainly("POST", "/v1/ping", on: open.socket, hosts)
            #expect(back.status == 200 && back.header("x-ced-isolated") == nil)
        }
    }

    @Test("is said on standard error and nowhere else; a read shows what there is only if that is asked for")
    func command() async throws {
        try await OpenPorts.with { open in
            try await open.pair("web-1")
            let connection = ["--socket", open.socketPath]
            let impatient = connection + ["--timeout", "0.3"]
            #expect(try await ced(["list-agents"] + connection).error.isEmpty)
            await open.front.isolate(milliseconds: 42_000)
            let warning = /ced: no leader for 42 s; registry as of 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n/
            let ping = try await ced(["ping", "web-1", "--json"] + connection)
            #expect(ping.json["results"]?.count == 1 && ping.error.wholeMatch(of: warning) != nil, "\(ping)")
            let refused = try await ced(["list-agents"] + impatient)
            #expect(
                refused.code == 75 && refused.out.isEmpty
                    && refused.error.contains("; --consistency stale shows what a member without a leader has\n"))
            let stale = try await ced(["list-agents", "--consistency", "stale", "--json"] + connection)
            #expect(stale.code == 0 && stale.json.count == 1 && stale.error.wholeMatch(of: warning) != nil, "\(stale)")
            open.ports.isolationLimit.change(seconds: 30)
            let ended = try await ced(["ping", "web-1"] + impatient)
            #expect(ended.code == 75 && ended.out.isEmpty && ended.error.contains("longer than its isolation_limit of 30 s"), "\(ended)")
            await open.front.rejoin()
            let back = try await ced(["list-agents", "--json"] + connection)
            #expect(back.code == 0 && back.error.isEmpty)
        }
    }
}
