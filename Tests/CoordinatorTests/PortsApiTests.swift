// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// ctrl-exec's HTTP API on 7445 over real sockets, behind real hooks: who is let in, what is answered, in which words (protocol page, 12, 18).

import AgentLink
import Consensus
import CtrlExec
import DispatcherState
import Hooks
import NIOPosix
import PKI
import Testing
import Transport

@testable import Coordinator

@Suite("7445")
struct PortsApiTests {
    private func body(_ reply: HTTPReply) -> String { String(decoding: reply.body, as: UTF8.self) }
    private let hello = JSONValue.record([
        "hosts": .array([.text("web-1")]), "script": .text("hello"), "args": .array([.text("a b")]), "username": .text("ann"),
        "token": .text("t0k"),
    ])

    // MARK: The hook

    @Test(
        "the hook's exit code is the answer's code; one that is killed, or hangs, denies",
        arguments: [
            ("exit 1", #"{"code":1,"error":"denied","ok":false}"#), ("exit 2", #"{"code":2,"error":"bad credentials","ok":false}"#),
            ("exit 3", #"{"code":3,"error":"insufficient privilege","ok":false}"#),
            ("exit 42", #"{"code":42,"error":"hook exited 42","ok":false}"#),
            ("kill -9 $$", #"{"code":1,"error":"hook killed by signal 9","ok":false}"#),
            ("sleep 600", #"{"code":1,"error":"hook timed out","ok":false}"#),
        ])
    func denials(_ script: String, _ expected: String) async throws {
        try await OpenPorts.with(.init(hook: script, hookSeconds: script.hasPrefix("sleep") ? 1 : 30)) { open in
            for (method, path) in [("GET", "/"), ("GET", "/no/such/path")] {
                let reply = try await open.askPlainly(method, path, on: open.api)
                #expect(reply.status == 403 && body(reply) == expected + "\n")
            }
            for path in ["/health", "/ready", "/leader"] {
                #expect(try await open.askPlainly("GET", path, on: open.api).status == 200)
            }
        }
    }

    @Test("a hook that is not there denies, and says which")
    func missing() async throws {
        let policy = HookPolicy(hook: AuthHook(path: "/no/such/hook", timeoutSeconds: 5), allowsApiWithoutHook: true)
        try await OpenPorts.with(.init(policy: policy)) { open in
            let reply = try await open.askPlainly("GET", "/", on: open.api)
            #expect(body(reply) == #"{"code":1,"error":"auth hook not found or not executable: /no/such/hook","ok":false}"# + "\n")
        }
    }

    @Test("without a hook all is denied, unless the configuration says otherwise; generic denials say nothing")
    func withoutHook() async throws {
        try await OpenPorts.with { open in
            let reply = try await open.askPlainly("GET", "/", on: open.api)
            #expect(body(reply) == #"{"code":1,"error":"no auth hook configured","ok":false}"# + "\n")
            // Said before the body is read, in the same words.
            let early = try await open.askPlainly("POST", "/run", on: open.api, hello)
            #expect(early.status == 403 && early.body == reply.body)
        }
        try await OpenPorts.with(.init(policy: HookPolicy(allowsApiWithoutHook: true))) { open in
            #expect(try await open.askPlainly("GET", "/", on: open.api).status == 200)
            let unknown = try await open.askPlainly("GET", "/v1/agents", on: open.api)
            #expect(
                unknown.status == 404 && body(unknown) == #"{"detail":"no route for GET /v1/agents","error":"not found","ok":false}"# + "\n"
            )
        }
        try await OpenPorts.with(.init(policy: HookPolicy(deniesGenerically: true))) { open in
            for (method, sent) in [("GET", nil), ("POST", hello)] {
                let reply = try await open.askPlainly(method, "/", on: open.api, sent)
                #expect(reply.status == 403 && body(reply) == #"{"error":"forbidden","ok":false}"# + "\n")
            }
        }
    }

    @Test("it is asked for every request, and again for what the request does, with the token of body or header")
    func questions() async throws {
        let note =
            #"echo "$ENVEXEC_ACTION|$ENVEXEC_SCRIPT|$ENVEXEC_HOSTS|$ENVEXEC_ARGS_JSON|$ENVEXEC_USERNAME|$ENVEXEC_TOKEN|$ENVEXEC_SOURCE_IP" >> asked"#
        try await OpenPorts.with(.init(hook: note)) { open in
            let agent = try await PlayedAgent(open, name: "web-1") { request in
                let token = tokenOf(request)
                return .record(["exit": .integer(0), "stdout": .text(token), "status": .text("ok")])
            }
            #expect(try await open.askPlainly("POST", "/run", on: open.api, hello).status == 200)
            let ping = JSONValue.record(["hosts": .array([.text("web-1:\(agent.port)")])])
            let bearer = [(name: "Authorization", value: "bearer  t1 ")]
            #expect(try await open.askPlainly("POST", "/ping", on: open.api, ping, headers: bearer).status == 200)
            #expect(try await open.askPlainly("GET", "/discovery", on: open.api).status == 200)
            let withHeader = JSONValue.record(["hosts": .array([.text("web-1")]), "script": .text("hello")])
            let run = try await open.askPlainly("POST", "/run", on: open.api, withHeader, headers: bearer)
            #expect(run.json["results"]?.first?["stdout"] == .text("t1"))
            #expect(try await open.askPlainly("GET", "/nowhere", on: open.api).status == 404)
            #expect(
                open.text("asked") == """
                    api|||[]|ann|t0k|127.0.0.1
                    run|hello|web-1|["a b"]|ann|t0k|127.0.0.1
                    api|||[]||t1|127.0.0.1
                    ping||web-1:\(agent.port)|[]||t1|127.0.0.1
                    api|||[]|||127.0.0.1
                    ping|||[]|||127.0.0.1
                    api|||[]||t1|127.0.0.1
                    run|hello|web-1|[]||t1|127.0.0.1
                    api|||[]|||127.0.0.1

                    """)
            await agent.stop()
        }
    }

    @Test("a hook that denies the run lets nothing reach the agent, here and on the control socket, where none is needed")
    func deniesRun() async throws {
        try await OpenPorts.with(.init(hook: #"test "$ENVEXEC_ACTION" = api"#)) { open in
            let agent = try await PlayedAgent(open, name: "web-1") { _ in .record(["exit": .integer(0), "stdout": .text("it ran")]) }
            for (path, endpoint) in [("/run", open.api), ("/v1/run", open.socket)] {
                let reply = try await open.askPlainly("POST", path, on: endpoint, hello)
                #expect(reply.status == 403 && body(reply) == #"{"code":1,"error":"denied","ok":false}"# + "\n")
            }
            for path in ["/v1/ping", "/v1/capabilities", "/v1/discovery"] {
                let reply = try await open.askPlainly("POST", path, on: open.socket, .record(["hosts": .array([.text("web-1")])]))
                #expect(reply.status == 403 && reply.json["code"] == .integer(1), "\(path)")
            }
            // What is no work on agents asks no hook there.
            #expect(try await open.askPlainly("GET", "/v1/agents", on: open.socket).status == 200)
            await agent.stop()
        }
        try await OpenPorts.with { open in
            let agent = try await PlayedAgent(open, name: "web-1") { _ in .record(["exit": .integer(0), "stdout": .text("it ran")]) }
            let reply = try await open.askPlainly("POST", "/v1/run", on: open.socket, hello)
            #expect(reply.json["results"]?.first?["stdout"] == .text("it ran"))
            await agent.stop()
        }
    }

    @Test("more requests at once than are allowed are turned away; health is not")
    func overload() async throws {
        try await OpenPorts.with(.init(hook: "touch begun; while [ ! -e go ]; do sleep 0.05; done", apiRequests: 1)) { open in
            async let first = open.askPlainly("GET", "/", on: open.api)
            try await eventually("the hook runs") { open.text("begun") != nil }
            for (method, sent) in [("GET", nil), ("POST", hello)] {
                let second = try await open.askPlainly(method, "/", on: open.api, sent)
                #expect(second.status == 503)
                #expect(
                    body(second) == #"{"detail":"too many concurrent requests","error":"service unavailable","ok":false}"# + "\n")
            }
            #expect(try await open.askPlainly("GET", "/health", on: open.api).status == 200)
            try open.write("go", "")
            #expect(try await first.status == 200)
            #expect(try await open.askPlainly("GET", "/", on: open.api).status == 200)
        }
    }

    // MARK: Answers

    private static let open = OpenPorts.Wishes(policy: HookPolicy(allowsApiWithoutHook: true))

    @Test(
        "what cannot be meant is answered in ctrl-exec's words",
        arguments: [
            ("/run", "", "request body required"), ("/run", "{", "invalid JSON body"), ("/run", "[]", "invalid JSON body"),
            ("/run", "{}", "hosts must be a non-empty array"), ("/run", #"{"hosts":[]}"#, "hosts must be a non-empty array"),
            ("/run", #"{"hosts":["a"]}"#, "script name required (alphanumeric and hyphens only)"),
            ("/run", #"{"hosts":["a"],"script":"a/b"}"#, "script name required (alphanumeric and hyphens only)"),
            ("/run", #"{"hosts":["a"],"script":"x","args":"y"}"#, "args must be an array"),
            ("/ping", "", "request body required"), ("/ping", #"{"hosts":"a"}"#, "hosts must be a non-empty array"),
        ])
    func badRequests(path: String, text: String, detail: String) async throws {
        try await OpenPorts.with(Self.open) { open in
            let reply = try await OneRequestClientForTests.send("POST", path, Array(text.utf8), to: open.api)
            #expect(reply.status == 400)
            #expect(reply.json == .record(["ok": .boolean(false), "error": .text("bad request"), "detail": .text(detail)]))
        }
    }

    @Test("an unknown agent is a 404 before anything is dialled; more than 500 hosts are too many")
    func unknownAgents() async throws {
        try await OpenPorts.with(Self.open) { open in
            for path in ["/ping", "/discovery"] {
                let reply = try await open.askPlainly("POST", path, on: open.api, .record(["hosts": .array([.text("b"), .text("a:1")])]))
                #expect(reply.status == 404)
                #expect(body(reply) == #"{"detail":"not a registered agent: b, a:1","error":"unknown agent","ok":false}"# + "\n")
            }
            let many = JSONValue.record(["hosts": .array((0..<501).map { .text("h\($0)") })])
            #expect(try await open.askPlainly("POST", "/ping", on: open.api, many).status == 400)
        }
    }

    @Test("ping and run answer what the agents did; a run is found under its id, without its submitter")
    func runAndStatus() async throws {
        try await OpenPorts.with(Self.open) { open in
            let agent = try await PlayedAgent(open, name: "web-1") { request in
                let run = try? RunRequest(JSONValue(bytes: request.body) ?? .null)
                if request.path == "/ping" { return .record(["status": .text("ok"), "host": .text("web-1"), "version": .text("0.12.2")]) }
                return .record([
                    "script": .text(run?.script ?? ""), "exit": .integer(0), "stdout": .text("\(run?.username ?? "")\n"),
                    "stderr": .text(""), "reqid": .text(run?.reqid ?? ""),
                ])
            }
            let ping = try await open.askPlainly("POST", "/ping", on: open.api, .record(["hosts": .array([.text("web-1")])]))
            #expect(ping.status == 200 && ping.json["ok"] == .boolean(true) && ping.json["reqid"] == nil)
            #expect(ping.json["results"]?.first?["host"] == .text("web-1") && ping.json["results"]?.first?["status"] == .text("ok"))

            let asked = hello.with(["reqid": .text("00000000deadbeef")])
            let run = try await open.askPlainly("POST", "/run", on: open.api, asked)
            let reqid = try #require(run.json["reqid"]?.scalarText)
            // Whoever the hook lets in does not choose it.
            #expect(run.status == 200 && reqid != "00000000deadbeef" && Reqid(reqid) != nil)
            #expect(run.json["results"]?.first?["stdout"] == .text("ann\n") && run.json["results"]?.first?["reqid"] == .text(reqid))

            let status = try await open.askPlainly("GET", "/status/\(reqid)", on: open.api)
            #expect(status.status == 200)
            #expect(status.json["mode"] == .text("sync") && status.json["complete"] == .boolean(true) && status.json["submitter"] == nil)
            #expect(status.json["hosts"] == .array([.text("web-1")]) && status.json["results"] == run.json["results"])
            let kept = try #require(open.text("runs/\(reqid).json")).utf8
            #expect(
                JSONValue(bytes: Array(kept))?["submitter"]
                    == .record(["username": .text("ann"), "source_ip": .text("127.0.0.1")]))
            for path in ["/status/0123456789abcdef", "/status/12", "/status/xyz"] {
                let unknown = try await open.askPlainly("GET", path, on: open.api)
                #expect(unknown.status == 404 && unknown.json["error"] == .text("not found"))
            }
            await agent.stop()
        }
    }

    @Test("who may not see a run is answered as if there were none")
    func statusHook() async throws {
        let script = #"""
            [ "$ENVEXEC_ACTION" = status ] || exit 0
            echo "$ENVEXEC_REQID|$ENVEXEC_SUBMITTER|$ENVEXEC_SUBMITTER_IP|$ENVEXEC_TOKEN" >> asked
            [ "$ENVEXEC_TOKEN" = t0k ]
            """#
        try await OpenPorts.with(.init(hook: script)) { open in
            let agent = try await PlayedAgent(open, name: "web-1") { _ in .record(["exit": .integer(0)]) }
            let run = try await open.askPlainly("POST", "/run", on: open.api, hello)
            let reqid = try #require(run.json["reqid"]?.scalarText)
            let denied = try await open.askPlainly("GET", "/status/\(reqid)", on: open.api)
            let other = "fedcba9876543210"
            let unknown = try await open.askPlainly("GET", "/status/\(other)", on: open.api)
            #expect(denied.status == 404 && body(denied) == body(unknown).replacing(other, with: reqid))
            let headers = [(name: "Authorization", value: "Bearer t0k")]
            #expect(try await open.askPlainly("GET", "/status/\(reqid)", on: open.api, headers: headers).status == 200)
            // Nothing was asked about the run that there is not.
            #expect(open.text("asked") == "\(reqid)|ann|127.0.0.1|\n\(reqid)|ann|127.0.0.1|t0k\n")
            await agent.stop()
        }
    }

    @Test("an asynchronous run is answered 202, and its status follows the agents until all have ended")
    func asynchronous() async throws {
        try await OpenPorts.with(Self.open) { open in
            let first = try await PlayedAgent(open, name: "web-1") { request in
                if request.method == "GET" {
                    let isDone = open.text("done") != nil
                    return (
                        200,
                        isDone
                            ? .record(["status": .text("done"), "exit": .integer(3), "stdout": .text("out\n"), "stderr": .text("")])
                            : .record(["status": .text("running")])
                    )
                }
                return (202, .record(["status": .text("accepted"), "script": .text("hello")]))
            }
            let second = try await PlayedAgent(open, name: "web-2") { _ in
                (409, .record(["status": .text("busy"), "error": .text("script already running")]))
            }
            let third = try await PlayedAgent(open, name: "web-3") { request in
                request.method == "GET"
                    ? (404, .record(["status": .text("unknown")])) : (202, .record(["status": .text("accepted")]))
            }
            let asked = hello.with([
                "async": .boolean(true), "hosts": .array(["web-1:\(first.port)", "web-2", "web-3"].map { .text($0) }),
            ])
            let run = try await open.askPlainly("POST", "/run", on: open.api, asked)
            #expect(run.status == 202 && run.json["async"] == .boolean(true))
            let reqid = try #require(run.json["reqid"]?.scalarText)
            let kept = await open.records.record(of: try #require(Reqid(reqid)))
            let record = try #require(kept.flatMap { JSONValue(bytes: $0) })
            #expect(record["pending"] == .array([.text("web-1"), .text("web-3")]) && record["complete"] == .boolean(false))
            #expect(record["hosts"]?["web-2"]?["status"] == .text("busy"))

            let running = try await open.askPlainly("GET", "/status/\(reqid)", on: open.api).json
            #expect(running["hosts"]?["web-1"]?["status"] == .text("running"))
            #expect(running["hosts"]?["web-3"]?["status"] == .text("expired"))
            #expect(running["pending"] == .array([.text("web-1")]) && running["complete"] == .boolean(false))
            try open.write("done", "")
            let done = try await open.askPlainly("GET", "/v1/runs/\(reqid)", on: open.socket).json
            #expect(done["hosts"]?["web-1"]?["exit"] == .integer(3) && done["hosts"]?["web-1"]?["stdout"] == .text("out\n"))
            #expect(done["complete"] == .boolean(true) && done["pending"] == .array([]))
            // Nobody needs to be asked any more.
            for agent in [first, second, third] { await agent.stop() }
            #expect(try await open.askPlainly("GET", "/status/\(reqid)", on: open.api).json["complete"] == .boolean(true))
        }
    }

    @Test("an agent that was unpaired meanwhile stays pending, and the record says why")
    func unpaired() async throws {
        try await OpenPorts.with(Self.open) { open in
            let agent = try await PlayedAgent(open, name: "web-1") { _ in (202, .record(["status": .text("accepted")])) }
            let run = try await open.askPlainly("POST", "/run", on: open.api, hello.with(["async": .boolean(true)]))
            let reqid = try #require(run.json["reqid"]?.scalarText)
            await open.front.apply(.unpair(try #require(AgentName("web-1"))), .client("unpair"))
            let status = try await open.askPlainly("GET", "/status/\(reqid)", on: open.api).json
            #expect(status["pending"] == .array([.text("web-1")]) && status["complete"] == .boolean(false))
            #expect(status["hosts"]?["web-1"]?["fetch_error"] == .text("not a registered agent"))
            await agent.stop()
        }
    }

    @Test("a record that another member has is shown; when members that may have it do not answer, that is what is said")
    func elsewhere() async throws {
        let record = RunRecord.synchronous(
            "0123456789abcdef", script: "hello", results: [.record(["host": .text("x"), "exit": .integer(0)])], submitter: nil,
            completed: 1)
        var wishes = Self.open
        wishes.elsewhere = .found(record.json.bytes)
        try await OpenPorts.with(wishes) { open in
            let status = try await open.askPlainly("GET", "/status/0123456789abcdef", on: open.api)
            #expect(status.status == 200 && status.json == record.shown)
        }
        let silent = try ["b", "c"].map { try #require(MemberID($0)) }
        wishes.elsewhere = .unanswered(silent)
        try await OpenPorts.with(wishes) { open in
            for (path, endpoint) in [("/status/0123456789abcdef", open.api), ("/v1/runs/0123456789abcdef", open.socket)] {
                let status = try await open.askPlainly("GET", path, on: endpoint)
                #expect(status.status == 503 && status.json["members"] == .array([.text("b"), .text("c")]))
                #expect(status.json["error"] == .text("members did not answer"))
            }
        }
    }

    @Test("discovery asks all agents or those named, and the registry keeps their tags")
    func discovery() async throws {
        try await OpenPorts.with(Self.open) { open in
            #expect(body(try await open.askPlainly("GET", "/discovery", on: open.api)) == #"{"hosts":{},"ok":true}"# + "\n")
            let agent = try await PlayedAgent(open, name: "web-1") { _ in
                .record([
                    "status": .text("ok"), "host": .text("web-1"), "version": .text("0.12.2"), "tags": .record(["role": .text("web")]),
                    "scripts": .array([.record(["name": .text("hello"), "path": .text("/x"), "executable": .boolean(true)])]),
                ])
            }
            try await open.pair("web-2", port: 1)
            let all = try await open.askPlainly("GET", "/discovery", on: open.api).json["hosts"]
            #expect(all?["web-1"]?["tags"] == .record(["role": .text("web")]) && all?["web-1"]?["host"] == .text("web-1"))
            #expect(all?["web-2"]?["status"] == .text("error") && all?["web-2"]?["error"]?.scalarText?.contains("refused") == true)
            try await eventually("the tags are in the registry") {
                await open.front.appliedState().agents.first?.tags["role"] == "web"
            }
            let listed = try await open.askPlainly("GET", "/v1/agents", on: open.socket).json["agents"]
            #expect(listed?.first?["tags"] == .record(["role": .text("web")]))
            let one = JSONValue.record(["hosts": .array([.text("web-2")])])
            let named = try await open.askPlainly("POST", "/discovery", on: open.api, one).json["hosts"]
            #expect(named?["web-2"] != nil && named?["web-1"] == nil)
            let unparsable = try await OneRequestClientForTests.send("POST", "/discovery", Array("{".utf8), to: open.api)
            #expect(unparsable.status == 200 && unparsable.json["hosts"]?["web-1"] != nil)
            await agent.stop()
        }
    }

    // MARK: What it says of itself

    @Test("the index lists the routes of the table")
    func index() async throws {
        try await OpenPorts.with(Self.open) { open in
            let index = try await open.askPlainly("GET", "/", on: open.api).json
            #expect(index["name"] == .text("ctrl-exec-api") && index["version"] == .text("0.1.0"))
            #expect(index["spec"] == .text("/openapi.json") && index["live_spec"] == .text("/openapi-live.json"))
            guard case .array(let endpoints) = index["endpoints"] else { throw Surprise("no endpoints") }
            let listed = endpoints.map { "\($0["method"]?.scalarText ?? "") \($0["path"]?.scalarText ?? "")" }
            #expect(Set(listed) == Self.routes && listed.count == Self.routes.count)
        }
    }

    /// What 7445 serves, as the table says; HEAD goes without saying.
    private static let routes = Set(
        Routes.table.filter { $0.ports.contains(.api) && $0.method != "HEAD" }.map { "\($0.method) \($0.path)" })

    @Test("the OpenAPI document describes the routes of the table and no others, and every reference leads somewhere")
    func openAPI() async throws {
        try await OpenPorts.with(Self.open) { open in
            let document = try await open.askPlainly("GET", "/openapi.json", on: open.api).json
            guard case .object(let paths) = document["paths"] else { throw Surprise("no paths") }
            var described: Set<String> = []
            for path in paths {
                guard case .object(let methods) = path.value else { throw Surprise("no methods of \(path.key)") }
                for method in methods {
                    described.insert("\(method.key.uppercased()) \(path.key)")
                    #expect(method.value["responses"]?["200"] != nil, "\(method.key) \(path.key)")
                }
            }
            #expect(described == Self.routes)
            #expect(document["info"]?["version"] == .text("0.1.0") && document["openapi"] == .text("3.0.3"))
            for reference in document.references {
                var place: JSONValue? = document
                for step in reference.dropFirst(2).split(separator: "/") { place = place?[String(step)] }
                #expect(place != nil, "\(reference)")
            }
            #expect(document.references.count > 20)
        }
    }

    @Test("the live document names the hosts and scripts that there are, one entry for each version of a schema")
    func live() async throws {
        try await OpenPorts.with(Self.open) { open in
            let empty = try await open.askPlainly("GET", "/openapi-live.json", on: open.api).json
            #expect(empty["x-ctrl-exec-scripts"] == .object([]))
            #expect(empty["components"]?["schemas"]?["Script"]?["enum"] == nil)
            var agents: [PlayedAgent] = []
            for (name, version) in [("web-1", "1.2"), ("web-2", "1.2"), ("web-3", "1.3")] {
                agents.append(
                    try await PlayedAgent(open, name: name) { _ in
                        let schema = JSONValue.record(["version": .text(version)])
                        return .record([
                            "status": .text("ok"), "version": .text("0.12.2"),
                            "scripts": .array([
                                .record(["name": .text("hello"), "schema_version": .text(version), "schema": schema]),
                                .record(["name": .text("plain")]),
                            ]),
                        ])
                    })
            }
            let live = try await open.askPlainly("GET", "/openapi-live.json", on: open.api).json
            let schemas = live["components"]?["schemas"]
            #expect(schemas?["Host"]?["enum"] == .array(["web-1", "web-2", "web-3"].map { .text($0) }))
            #expect(schemas?["Script"]?["enum"] == .array([.text("hello"), .text("plain")]))
            #expect(schemas?["Run"] != nil && live["paths"]?["/run"] != nil)
            #expect(live["info"]?["version"]?.scalarText?.hasPrefix("0.1.0+") == true)
            let scripts = live["x-ctrl-exec-scripts"]
            #expect(scripts?["hello"]?.count == 2 && scripts?["plain"]?.count == 1)
            #expect(scripts?["hello"]?.first?["hosts"] == .array([.text("web-1"), .text("web-2")]))
            #expect(scripts?["hello"]?.first?["schema"] == .record(["version": .text("1.2")]))
            for agent in agents { await agent.stop() }
        }
    }

    @Test("with a certificate of its own it speaks TLS and nothing else, and asks nobody for one")
    func tls() async throws {
        let key = try PrivateKey.generateP256()
        let serial = try #require(SerialNumber(bytes: [1]))
        let web = try Authority.selfSigned(
            commonName: "web CA", key: .generateP256(), notBefore: longAgo, notAfter: farAhead, serial: serial)
        let certificate = try web.issue(
            CertificateRequest.make(key: key, commonName: "api.example.net"), subject: "api.example.net",
            serial: try #require(SerialNumber(bytes: [2])), role: nil, usage: .server, notBefore: longAgo, notAfter: farAhead)
        var wishes = Self.open
        wishes.apiIdentity = try TLSIdentity(chain: [certificate], key: key)
        try await OpenPorts.with(wishes) { open in
            let client = OneRequestClient(
                group: MultiThreadedEventLoopGroup.singleton, tls: TLSClient(identity: nil, policy: .agents(roots: [web.certificate])))
            let reply = try await client.exchange(OutgoingRequest(method: "GET", path: "/"), with: open.api)
            #expect(reply.status == 200 && reply.json["name"] == .text("ctrl-exec-api"))
            await #expect(throws: ExchangeFailure.self) { _ = try await open.askPlainly("GET", "/health", on: open.api) }
        }
    }
}

private func tokenOf(_ request: HTTPRequest) -> String { JSONValue(bytes: request.body)?["token"]?.scalarText ?? "" }

extension JSONValue {
    fileprivate var first: JSONValue? { if case .array(let elements) = self { elements.first } else { nil } }

    fileprivate var references: [String] {
        switch self {
        case .object(let members):
            members.flatMap { $0.key == "$ref" ? [$0.value.scalarText ?? ""] : $0.value.references }
        case .array(let elements): elements.flatMap(\.references)
        case .null, .boolean, .integer, .number, .text: []
        }
    }
}
