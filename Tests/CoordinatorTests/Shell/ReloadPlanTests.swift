// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a configuration that was read again changes, and what waits for a restart.

import Logging
import Testing

@testable import Coordinator

@Suite("A reload")
struct ReloadPlanTests {
    private func read(_ text: String) throws -> ServeConfiguration { try ServeConfiguration(file: text, path: "ced.conf") }

    @Test("of the same file changes nothing")
    func nothing() throws {
        let running = try read("max_parallel = 8\npairing = always\n")
        let plan = ReloadPlan(running: running, wanted: running)
        #expect(plan.live.isEmpty && plan.waiting.isEmpty)
        #expect(plan.result == running)
    }

    @Test("changes time-outs, parallel calls, the pairing mode and the log's level at once")
    func live() throws {
        let plan = ReloadPlan(
            running: ServeConfiguration(),
            wanted: try read("max_parallel = 8\nread_timeout = 7\npairing = always\nisolation_limit = 2h\nlog_level = debug\n"))
        #expect(plan.live.map(\.key) == ["pairing", "max_parallel", "read_timeout", "isolation_limit", "log_level"])
        #expect(plan.live.map(\.from) == ["session", "64", "60", "3600s", "info"])
        #expect(plan.live.map(\.to) == ["always", "8", "7", "7200s", "debug"])
        #expect(plan.waiting.isEmpty)
        #expect(plan.result.pairingAlways && plan.result.maxParallel == 8)
        #expect(plan.result.readTimeoutSeconds == 7 && plan.result.isolationLimitSeconds == 7_200 && plan.result.logLevel == .debug)
    }

    @Test("changes the auth hook and what holds without one at once")
    func hooks() throws {
        let text = "auth_hook = /hook\nauth_hook_timeout = 3\napi_auth_default = allow\nauth_deny_generic = yes\n"
        let wanted = try read(text)
        let plan = ReloadPlan(running: ServeConfiguration(), wanted: wanted)
        #expect(plan.live.map(\.key) == ReloadPlan.hookKeys && plan.waiting.isEmpty)
        #expect(plan.result == wanted)
    }

    @Test("leaves what needs a restart as it is, and says so again until there was one")
    func waiting() throws {
        let wanted = try read("peer_listen = 127.0.0.1:9446\ncluster_directory = /srv/ced\nmax_parallel = 8\n")
        let plan = ReloadPlan(running: ServeConfiguration(), wanted: wanted)
        #expect(plan.waiting.map(\.key) == ["cluster_directory", "peer_listen"])
        #expect(plan.result.peer == ServeConfiguration().peer && plan.result.directory == ServeConfiguration().directory)
        #expect(plan.result.maxParallel == 8)
        let again = ReloadPlan(running: plan.result, wanted: wanted)
        #expect(again.live.isEmpty)
        #expect(again.waiting == plan.waiting)
    }

    @Test("has every setting in its table, so that none is forgotten in silence")
    func complete() {
        let properties = Mirror(reflecting: ServeConfiguration()).children.compactMap(\.label)
        #expect(properties.count > 10)
        #expect(ReloadPlan.settings.map(\.property).sorted() == properties.sorted())
    }
}
