// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the operations answer: shapes, status codes, headers, and what becomes of a request that is repeated or has no leader.

import AgentLink
import Consensus
import Coordinator
import CtrlExec
import DispatcherState
import PKI
import Testing
import Transport
import Wire

@Suite("Operations")
struct PortsOperationsTests {
    private func request(_ name: String) throws -> JSONValue {
        let pem = try CertificateRequest.make(key: .generateP256(), commonName: name).pem
        return .record(["name": .text(name), "csr": .text(String(decoding: pem, as: UTF8.self))])
    }

    @Test("the same request id gives the same operator, another request under it is a 409")
    func issueOperator() async throws {
        try await OpenPorts.with { open in
            let alice = try await open.makeOperator()
            let body = try request("bob")
            let headers = [(name: "Idempotency-Key", value: "bob-1")]
            let first = try await open.ask("POST", "/v1/operators", body, as: alice, headers: headers)
            let again = try await open.ask("POST", "/v1/operators", body, as: alice, headers: headers)
            #expect(first.status == 200 && again.status == 200)
            #expect(first.body == again.body)
            #expect(first.json["request_id"] == .text("bob-1") && first.json["name"] == .text("bob"))
            let certificate = try Certificate(pem: Array((first.json["certificate"]?.scalarText ?? "").utf8))
            #expect(certificate.serial.hexadecimal == first.json["serial"]?.scalarText)
            let ca = try Certificate.all(inPEM: Array((first.json["ca"]?.scalarText ?? "").utf8))
            try verify(chain: [certificate], roots: ca, at: 1_800_000_000)
            let other = try await open.ask("POST", "/v1/operators", try request("bob"), as: alice, headers: headers)
            #expect(other.status == 409)
            let operators = try await open.ask("GET", "/v1/operators", as: alice).json
            #expect(operators["operators"]?.count == 2)
        }
    }

    @Test("every answer says who answers, who leads and in which term")
    func headers() async throws {
        try await OpenPorts.with { open in
            for reply in [
                try await open.ask("GET", "/health", as: nil), try await open.ask("GET", "/v1/agents", as: nil),
                try await open.askPlainly("GET", "/ready", on: open.api), try await open.askPlainly("GET", "/v1/status", on: open.socket),
            ] {
                #expect(reply.header("x-ced-member") == "a" && reply.header("x-ced-leader") == "a" && reply.header("x-ced-term") == "3")
            }
            await open.front.loseLeader()
            #expect(try await open.ask("GET", "/health", as: nil).header("x-ced-leader") == "")
        }
    }

    @Test("health without a leader: alive, not the leader; not ready is a 503")
    func health() async throws {
        try await OpenPorts.with { open in
            let leader = try await open.askPlainly("GET", "/leader", on: open.api)
            #expect(leader.status == 200)
            await open.front.loseLeader()
            #expect(try await open.askPlainly("GET", "/leader", on: open.api).status == 503)
            #expect(try await open.askPlainly("GET", "/health", on: open.api).status == 200)
            await open.front.becomeUnready()
            #expect(try await open.askPlainly("GET", "/ready", on: open.api).status == 503)
            #expect(try await open.askPlainly("HEAD", "/ready", on: open.api).body.isEmpty)
        }
    }

    @Test("without a leader: 503, Retry-After, and the id under which to repeat")
    func noLeader() async throws {
        try await OpenPorts.with { open in
            await open.front.loseLeader()
            let reply = try await open.askPlainly("POST", "/v1/pairing/mode", on: open.socket, .record(["action": .text("start")]))
            #expect(reply.status == 503 && reply.header("retry-after") == "1")
            #expect(reply.json["ok"] == .boolean(false) && reply.json["error"] == .text("no leader"))
            #expect(RequestID(client: reply.json["request_id"]?.scalarText ?? "") != nil)
            #expect(try await open.askPlainly("GET", "/v1/agents", on: open.socket).status == 503)
        }
    }

    @Test("a read that need not be confirmed is answered without a leader")
    func staleRead() async throws {
        try await OpenPorts.with { open in
            let alice = try await open.makeOperator()
            await open.front.loseLeader()
            let headers = [(name: "X-Ced-Consistency", value: "stale")]
            let reply = try await open.ask("GET", "/v1/agents", as: alice, headers: headers)
            #expect(reply.status == 200 && reply.json["agents"] == .array([]))
            #expect(reply.header("x-ced-consistency") == "stale" && reply.header("x-ced-age-ms") == "3")
            #expect(reply.header("x-ced-applied-index").flatMap { UInt64($0) } ?? 0 > 0)
            let lease = try await open.ask("GET", "/v1/agents", as: alice, headers: [(name: "X-Ced-Consistency", value: "lease")])
            #expect(lease.status == 503 && lease.json["detail"]?.scalarText?.hasPrefix("only the leader under its lease") == true)
            let unknown = [(name: "X-Ced-Consistency", value: "eventual")]
            #expect(try await open.ask("GET", "/v1/agents", as: alice, headers: unknown).status == 400)
        }
    }

    @Test("a confirmed read says that it was one, and is of no age")
    func confirmedRead() async throws {
        try await OpenPorts.with { open in
            let alice = try await open.makeOperator()
            for (headers, consistency) in [([], "linearizable"), ([(name: "X-Ced-Consistency", value: "lease")], "lease")] {
                let reply = try await open.ask("GET", "/v1/agents", as: alice, headers: headers)
                #expect(reply.status == 200 && reply.header("x-ced-consistency") == consistency && reply.header("x-ced-age-ms") == nil)
            }
        }
    }

    @Test("the status counts how many failures are survived, and names members that do not answer")
    func status() async throws {
        try await OpenPorts.with { open in
            let status = try await open.askPlainly("GET", "/v1/status", on: open.socket).json
            #expect(status["leader"] == .text("a") && status["quorum"] == .integer(2) && status["voters"] == .integer(3))
            // Two of three answer.
            #expect(status["failures_survived"] == .integer(0))
            guard case .array(let members) = status["members"] else { throw Surprise("no members") }
            #expect(members.map { $0["reachable"] } == [.boolean(true), .boolean(true), .boolean(false)])
            #expect(members[0]["role"] == .text("leader") && members[2]["role"] == nil && members[2]["address"] == .text("127.0.0.1:7448"))
        }
    }

    @Test("leadership goes where it is told to")
    func transfer() async throws {
        try await OpenPorts.with { open in
            let reply = try await open.askPlainly("POST", "/v1/transfer", on: open.socket, .record(["to": .text("b")]))
            #expect(reply.json["leader"] == .text("b"))
            let failed = try await open.askPlainly("POST", "/v1/transfer", on: open.socket)
            #expect(failed.status == 500)
            let unknown = try await open.askPlainly("POST", "/v1/transfer", on: open.socket, .record(["to": .text("z")]))
            #expect(unknown.status == 404 && unknown.json["error"] == .text("no member is called z; there are a, b, c"))
            let performed = await open.front.performed
            #expect(performed == [.transfer(to: MemberID("b")), .transfer(to: nil)])
        }
    }

    @Test(
        "what cannot be meant is a 400 that says why",
        arguments: [
            ("POST", "/v1/operators", #"{"name":"a b","csr":""}"#, "name must be"),
            ("POST", "/v1/operators", #"{"name":"bob","csr":"-----BEGIN"}"#, "csr:"),
            ("POST", "/v1/pairing/mode", #"{"action":"pause"}"#, "start or stop"),
            ("POST", "/v1/pairing/mode", #"{"action":"start","seconds":601}"#, "1 to 600"),
            ("POST", "/v1/pairing/requests/xyz/approve", "{}", "16 lower-case"),
            ("POST", "/v1/agents/web", "{}", "nothing to change"),
            ("POST", "/v1/agents/web", #"{"ip":"not an address"}"#, "IPv4"),
            ("POST", "/v1/agents/web", #"{"port":70000}"#, "65535"),
            ("DELETE", "/v1/agents/-web", "", "not an agent's name"),
            ("POST", "/v1/transfer", #"{"to":"Not A Member"}"#, "not a member's name"),
            ("POST", "/v1/run", #"{"hosts":[],"script":"hello"}"#, "non-empty array"),
            ("POST", "/v1/run", #"{"hosts":["a"],"script":"no/path"}"#, "script name required"),
            ("POST", "/v1/run", #"{"hosts":["a"],"script":"hello","args":"x"}"#, "args must be an array"),
            ("POST", "/v1/ping", "[]", "not an object"),
            ("POST", "/v1/ping", "{", "invalid JSON"),
        ])
    func badRequests(method: String, path: String, body: String, expected: String) async throws {
        try await OpenPorts.with { open in
            let reply = try await OneRequestClientForTests.send(method, path, Array(body.utf8), to: open.socket)
            #expect(reply.status == 400)
            #expect(reply.json["detail"]?.scalarText?.contains(expected) ?? false, "\(reply.json.canonicalText)")
            #expect(await open.front.performed.isEmpty)
        }
    }

    @Test("an agent that nobody registered fails the whole call before anything is dialled")
    func unknownAgent() async throws {
        try await OpenPorts.with { open in
            let body = JSONValue.record(["hosts": .array([.text("b"), .text("a:7000")]), "script": .text("hello")])
            let reply = try await open.askPlainly("POST", "/v1/run", on: open.socket, body)
            #expect(reply.status == 404 && reply.json["detail"] == .text("not a registered agent: b, a:7000"))
            let many = JSONValue.record(["hosts": .array((0..<501).map { .text("h\($0)") })])
            let refused = try await open.askPlainly("POST", "/v1/ping", on: open.socket, many)
            #expect(refused.json["detail"] == .text("too many hosts (max 500)"))
        }
    }
}

extension JSONValue {
    var count: Int { if case .array(let elements) = self { elements.count } else { 0 } }
}
