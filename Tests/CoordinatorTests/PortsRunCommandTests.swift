// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced status`, `wait`, `discovery`, `list-agents --tags` and the pairing session in the foreground, as the built command does them.

import AgentLink
import Consensus
import Coordinator
import CtrlExec
import DispatcherState
import Foundation
import PKI
import Testing
import Transport

@Suite("Commands about runs, tags and sessions")
struct PortsRunCommandTests {
    /// Answers a run with 202, and its result by what the test has written into `state`.
    private func agent(_ open: OpenPorts, _ name: String) async throws -> PlayedAgent {
        try await PlayedAgent(open, name: name) { request in
            if request.method == "GET" {
                switch open.text("state") {
                case "done": (200, .record(["status": .text("done"), "exit": .integer(0), "stdout": .text("fine\n"), "stderr": .text("")]))
                case "failed": (200, .record(["status": .text("done"), "exit": .integer(3), "stderr": .text("no luck\n")]))
                default: (200, .record(["status": .text("running")]))
                }
            } else {
                (202, .record(["status": .text("accepted")]))
            }
        }
    }

    @Test("an asynchronous run is followed to its end, and the exit code says how it went")
    func wait() async throws {
        try await OpenPorts.with { open in
            let agent = try await agent(open, "web-1")
            let connection = ["--socket", open.socketPath]
            let submitted = try await ced(["run", "web-1", "hello", "--async", "--json"] + connection)
            #expect(submitted.code == 0 && submitted.error.isEmpty)
            let reqid = try #require(submitted.json["reqid"]?.scalarText)

            let running = try await ced(["status", reqid] + connection)
            #expect(running.code == 0 && running.out == "Request \(reqid)  (script: hello)  [PENDING]\n==> web-1  [running]\n")
            let late = try await ced(["wait", reqid, "--timeout", "0.1", "--json"] + connection)
            #expect(late.code == 2 && late.json["complete"] == .boolean(false))
            #expect(late.error == "ced: run \(reqid) has not ended within the time\n")

            try open.write("state", "done")
            let done = try await ced(["wait", reqid] + connection)
            #expect(done.code == 0 && done.out == "Request \(reqid)  (script: hello)  [COMPLETE]\n==> web-1  [OK  exit:0]\nfine\n")
            try open.write("state", "failed")
            let second = try await ced(["run", "web-1", "hello", "--async", "--json"] + connection)
            let failed = try await ced(["wait", try #require(second.json["reqid"]?.scalarText)] + connection)
            #expect(failed.code == 1 && failed.out.hasSuffix("==> web-1  [FAIL  exit:3]\n    STDERR: no luck\n"))
            #expect(try await ced(["status", reqid, "--json"] + connection).json["complete"] == .boolean(true))
            await agent.stop()
        }
    }

    @Test("a run that nobody knows is 1, one that may be known to a member that does not answer is 69")
    func unknown() async throws {
        try await OpenPorts.with { open in
            let connection = ["--socket", open.socketPath]
            for command in ["status", "wait"] {
                let unknown = try await ced([command, "0123456789abcdef", "--json"] + connection)
                #expect(unknown.code == 1 && unknown.json["error"] == .text("not found"))
                #expect(unknown.error.contains("no member has a record of run 0123456789abcdef"))
            }
        }
        try await OpenPorts.with(.init(elsewhere: .unanswered([try #require(MemberID("b"))]))) { open in
            let status = try await ced(["status", "0123456789abcdef", "--socket", open.socketPath])
            #expect(status.code == 69 && status.error.contains("these did not: b"))
            // It may come back within the time.
            let wait = try await ced(["wait", "0123456789abcdef", "--timeout", "0.1", "--socket", open.socketPath])
            #expect(wait.code == 2 && wait.error.contains("these did not: b"))
        }
    }

    @Test("a hook's denial is said as ctrl-exec says it")
    func denied() async throws {
        try await OpenPorts.with(.init(hook: "exit 2")) { open in
            try await open.pair("web-1")
            let connection = ["--socket", open.socketPath]
            for command in [["run", "web-1", "hello"], ["ping", "web-1"], ["discovery"]] {
                let denied = try await ced(command + connection)
                #expect(denied.code == 1 && denied.out.isEmpty && denied.error == "ced: Denied: bad credentials\n")
            }
            let json = try await ced(["ping", "web-1", "--json"] + connection)
            #expect(json.code == 1 && json.json["code"] == .integer(2) && json.json["ok"] == .boolean(false))
        }
    }

    @Test("the hook is told who asks and with which token, whatever is asked of agents")
    func callers() async throws {
        try await OpenPorts.with(.init(hook: #"echo "$ENVEXEC_ACTION $ENVEXEC_USERNAME $ENVEXEC_TOKEN" >> asked"#)) { open in
            try await open.pair("web-1", port: 1)
            let environment = ["CED_SOCKET": open.socketPath, "ENVEXEC_TOKEN": "t0k"]
            for command in [["run", "web-1", "x"], ["ping", "web-1"], ["capabilities", "web-1"], ["discovery"]] {
                #expect(try await ced(command, environment: environment).code == 1)
                #expect(try await ced(command + ["--username", "ann", "--token", "other"], environment: environment).code == 1)
            }
            let told = ["run", "ping", "ping", "ping"].map { "\($0) tester t0k\n\($0) ann other\n" }
            #expect(open.text("asked") == told.joined())
        }
    }

    @Test("what discovery finds out, list-agents chooses by; nothing found is an empty array")
    func tags() async throws {
        try await OpenPorts.with { open in
            let connection = ["--socket", open.socketPath]
            let none = try await ced(["discovery"] + connection)
            #expect(none.code == 0 && none.out == "No registered agents.\n")
            let agent = try await PlayedAgent(open, name: "web-1") { _ in
                .record([
                    "status": .text("ok"), "version": .text("0.12.2"), "tags": .record(["role": .text("web"), "zone": .text("eu west")]),
                    "scripts": .array([.record(["name": .text("hello"), "path": .text("/x/hello"), "executable": .boolean(true)])]),
                ])
            }
            try await open.pair("db-1", port: 1)
            let found = try await ced(["discovery", "web-1"] + connection)
            #expect(found.code == 0 && found.out.hasSuffix("    tags: role=web, zone=eu west\n    hello  /x/hello\n"))
            let all = try await ced(["discovery", "--json"] + connection)
            #expect(all.code == 1 && all.json["hosts"]?["db-1"]?["status"] == .text("error"))
            try await eventually("the registry has the tags") {
                await open.front.appliedState().agents.contains { $0.tags["role"] == "web" }
            }
            func list(_ tags: String) async throws -> [JSONValue] {
                let listed = try await ced(["list-agents", "--tags", tags, "--json"] + connection)
                guard listed.code == 0, listed.error.isEmpty, case .array(let agents) = listed.json else {
                    throw Surprise("\(listed)")
                }
                return agents.compactMap { $0["hostname"] }
            }
            #expect(try await list("role=web") == [.text("web-1")])
            #expect(try await list("zone=eu west, role=web") == [.text("web-1")])
            #expect(try await list("role=web,zone=us").isEmpty)
            #expect(try await list("role=").isEmpty)
            let sentence = try await ced(["list-agents", "--tags", "role=db"] + connection)
            #expect(sentence.code == 0 && sentence.out == "No registered agents with these tags.\n")
            for wrong in ["role", "=web", ""] {
                #expect(try await ced(["list-agents", "--tags", wrong] + connection).code == 64, "\(wrong)")
            }
            await agent.stop()
        }
    }

    @Test("a session in the foreground shows who asks until it is over; what it has not opened it does not close")
    func session() async throws {
        try await OpenPorts.with { open in
            let connection = ["--socket", open.socketPath]
            func submit(_ name: String, _ reqid: UInt64) async throws {
                let der = try CertificateRequest.make(key: .generateP256(), commonName: name).der
                let submission = PairingSubmission(
                    reqid: Reqid(reqid), hostname: try #require(AgentName(name)), signingRequest: SigningRequest(der: der), nonce: "",
                    code: "947210", sourceAddress: "127.0.0.1", suggested: Reachability())
                await open.front.apply(.submitPairing(submission), by: .pairingHost(address: "127.0.0.1"), .client("submit-\(name)"))
            }
            await open.front.apply(.openPairing(milliseconds: 60_000), .client("open"))
            try await submit("web-1", 1)
            async let watched = ced(["pairing-mode"] + connection)
            async let told = ced(["pairing-mode", "--no-open", "--json"] + connection)
            // Both have looked once they have asked a second time.
            try await eventually("they have begun") { await open.front.reads >= 6 }
            try await submit("web-2", 2)
            await open.front.apply(.denyPairing(Reqid(1)), .client("deny"))
            try await eventually("they have seen it") { await open.front.reads >= 12 }
            await open.front.apply(.closePairing, .client("close"))
            let people = try await watched
            #expect(people.code == 0 && people.error == "A pairing session is open already, and stays open when you leave.\n")
            // What the resolver of this machine says about its own address is its business.
            #expect(
                people.out.replacing(/, reverse DNS [^ ]+ \((not )?confirmed\)/, with: "") == """
                    [1] web-1  code 947210  from 127.0.0.1  0000000000000001
                    [1] web-1 waits no more: decided through another session, or too old.
                    [2] web-2  code 947210  from 127.0.0.1  0000000000000002
                    The pairing session has ended.

                    """, "\(people.out)")
            let events = try await told.out.split(separator: "\n").compactMap { JSONValue(bytes: Array($0.utf8)) }
            #expect(events.map { $0["event"] } == ["request", "gone", "request", "ended"].map { .text($0) })
            #expect(events[0]["code"] == .text("947210") && events[0]["number"] == .integer(1))
            let opened = await open.front.performed
            #expect(opened.isEmpty)
        }
    }
}
