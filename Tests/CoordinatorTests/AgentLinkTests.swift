// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Work on agents: what is presented in which order, what is repeated and what never, how results and errors look.

import AgentLink
import CtrlExec
import DispatcherState
import NIOCore
import NIOPosix
import PKI
import Synchronization
import Testing
import Transport

/// Plays agents: answers each dial from a list, and remembers what was asked.
private final class Played: Sendable {
    private let state: Mutex<(answers: [DialOutcome], requests: [DialRequest])>
    init(_ answers: [DialOutcome]) { state = Mutex((answers, [])) }
    var requests: [DialRequest] { state.withLock { $0.requests } }
    var identities: [SerialNumber] { requests.map(\.identity) }

    func dial(_ request: DialRequest) -> DialOutcome {
        state.withLock { state in
            state.requests.append(request)
            return state.answers.count > 1 ? state.answers.removeFirst() : state.answers.first ?? .notSent("nothing to play")
        }
    }

    func caller(parallel: Int = 64) -> AgentCaller {
        AgentCaller(configuration: AgentLinkConfiguration(maxParallel: parallel), logger: quiet) { self.dial($0) }
    }
}

private func answer(_ status: Int, _ text: String) -> DialOutcome { .answered(status: status, body: Array(text.utf8)) }
private let mismatch = answer(403, #"{"error":"serial mismatch","status":"forbidden"}"#)
private func serial(_ number: UInt8) throws -> SerialNumber { try #require(SerialNumber(bytes: [0x5c, number])) }
private func target(_ name: String = "web", _ identities: [UInt8] = [1]) throws -> AgentTarget {
    AgentTarget(name: try #require(AgentName(name)), address: name, port: 7443, identities: try identities.map(serial))
}
private let reqid = "213e2fc12258b69f"
private func run(async: Bool? = nil) -> RunRequest { RunRequest(script: "hello", args: ["a", "b c", ""], reqid: reqid, detached: async) }

extension JSONValue {
    /// Without the time that it took.
    fileprivate var timeless: JSONValue {
        guard case .object(let members) = self else { return self }
        return .object(members: members.filter { $0.key != "rtt" })
    }
    fileprivate static func read(_ text: String) throws -> JSONValue { try #require(JSONValue(bytes: Array(text.utf8))) }
}

@Suite("Agent link")
struct AgentLinkTests {
    @Test("a run is asked for as ctrl-exec asks, and the agent's answer comes back with host, rtt and reqid")
    func runShape() async throws {
        let played = Played([answer(200, #"{"script":"hello","exit":3,"stdout":"out\n","stderr":"err\n","reqid":"\#(reqid)","hint":"x"}"#)])
        let results = await played.caller().run(run(), [try target()])
        let request = try #require(played.requests.first)
        #expect(request.method == "POST" && request.path == "/run" && request.address == "web" && request.port == 7443)
        #expect(
            try JSONValue(bytes: request.body ?? [])
                == .read(#"{"script":"hello","args":["a","b c",""],"reqid":"\#(reqid)","username":"","token":""}"#))
        let expected = #"{"script":"hello","exit":3,"stdout":"out\n","stderr":"err\n","reqid":"\#(reqid)","hint":"x","host":"web"}"#
        #expect(try results.map(\.timeless) == [.read(expected)])
        #expect(results[0]["rtt"]?.scalarText?.hasSuffix("ms") ?? false)
    }

    @Test(
        "failures of a run say in ctrl-exec's words what happened",
        arguments: [
            (mismatch, "forbidden: serial mismatch"), (answer(403, "nonsense"), "forbidden: 403 Forbidden"),
            (answer(413, #"{"error":"request too large"}"#), "request too large"),
            (answer(404, #"{"error":"not found"}"#), "404 Not Found"),
            (answer(200, "not JSON"), "invalid JSON response"), (answer(200, "[]"), "invalid JSON response"),
            (.readTimeout, "read timeout after 60s"), (.notConnected("connection refused on port 7443"), "connection refused on port 7443"),
            (
                .sentWithoutAnswer("the agent closed the connection without an answer"),
                "outcome unknown: the agent closed the connection without an answer; the script may be running"
            ),
        ])
    func runFailures(outcome: DialOutcome, text: String) async throws {
        let results = await Played([outcome]).caller().run(run(), [try target()])
        #expect(
            results.map(\.timeless) == [
                .record([
                    "host": .text("web"), "script": .text("hello"), "exit": .integer(-1), "error": .text(text), "reqid": .text(reqid),
                ])
            ])
    }

    @Test("ping keeps the name that the agent reports beside the registry's")
    func ping() async throws {
        let played = Played([answer(200, #"{"status":"ok","host":"web.example.net","version":"0.9.3","expiry":"unknown","reqid":"r"}"#)])
        let results = await played.caller().ping(reqid: reqid, [try target()])
        #expect(results[0]["host"] == .text("web") && results[0]["reported_hostname"] == .text("web.example.net"))
        #expect(results[0]["version"] == .text("0.9.3"))
        let failed = await Played([.notSent("x")]).caller().ping(reqid: reqid, [try target()])
        #expect(failed.map(\.timeless) == [.record(["host": .text("web"), "status": .text("error"), "error": .text("x")])])
        let strange = await Played([answer(200, "?")]).caller().ping(reqid: reqid, [try target()])
        #expect(strange[0]["error"] == .text("invalid JSON"))
    }

    @Test("capabilities are asked for without a body")
    func capabilities() async throws {
        let played = Played([answer(200, #"{"status":"ok","host":"web","version":"0.9.3","scripts":[],"tags":{}}"#)])
        let results = await played.caller().capabilities(reqid: reqid, [try target()])
        #expect(played.requests.map(\.method) == ["GET"] && played.requests.map(\.body) == [nil])
        #expect(results[0]["reported_hostname"] == nil && results[0]["tags"] == .object([]))
    }

    @Test("an asynchronous run: accepted, busy, refused")
    func async() async throws {
        let accepted = await Played([answer(202, #"{"script":"hello","status":"accepted","reqid":"\#(reqid)"}"#)]).caller()
            .run(run(async: true), [try target()])
        #expect(accepted[0]["status"] == .text("accepted") && accepted[0]["host"] == .text("web"))
        let busy = await Played([answer(409, #"{"status":"busy","error":"script already running"}"#)]).caller()
            .run(run(async: true), [try target()])
        #expect(
            busy.map(\.timeless) == [
                .record([
                    "host": .text("web"), "script": .text("hello"), "status": .text("busy"), "error": .text("script already running"),
                    "reqid": .text(reqid),
                ])
            ])
        let failed = await Played([.notSent("x")]).caller().run(run(async: true), [try target()])
        #expect(failed[0]["status"] == .text("error") && failed[0]["exit"] == nil)
    }

    @Test("a result that the agent does not know is unknown, not an error")
    func result() async throws {
        let played = Played([answer(404, #"{"status":"unknown","reqid":"r"}"#)])
        let results = await played.caller().result(of: reqid, [try target()])
        #expect(played.requests.map(\.path) == ["/result/\(reqid)"])
        #expect(results.map(\.timeless) == [.record(["host": .text("web"), "status": .text("unknown"), "reqid": .text(reqid)])])
    }

    @Test("403 serial mismatch proves that nothing ran: the other identities are tried once each")
    func otherIdentities() async throws {
        let played = Played([mismatch, mismatch, answer(200, #"{"exit":0}"#)])
        let results = await played.caller().run(run(), [try target("web", [3, 1, 2])])
        #expect(try played.identities == [serial(3), serial(1), serial(2)])
        #expect(results[0]["exit"] == .integer(0))
        let hopeless = Played([mismatch])
        let failed = await hopeless.caller().run(run(), [try target("web", [3, 1])])
        #expect(hopeless.requests.count == 2)
        #expect(failed[0]["error"] == .text("forbidden: serial mismatch"))
    }

    @Test(
        "after anything else no second attempt is made",
        arguments: [
            DialOutcome.sentWithoutAnswer("gone"), .readTimeout, .notSent("refused"), answer(500, "{}"),
            answer(403, #"{"error":"certificate revoked"}"#),
        ])
    func neverTwice(outcome: DialOutcome) async throws {
        let played = Played([outcome])
        _ = await played.caller().run(run(), [try target("web", [3, 1])])
        #expect(played.requests.count == 1)
    }

    @Test("an agent of an old or unknown version is dialled eight times a minute and no more")
    func budget() async throws {
        let played = Played([answer(200, #"{"status":"ok","host":"web","version":"0.9.3"}"#)])
        let caller = played.caller()
        var errors: [JSONValue?] = []
        for _ in 0..<10 { errors.append(await caller.ping(reqid: reqid, [try target()])[0]["error"]) }
        #expect(errors.prefix(8).allSatisfy { $0 == nil } && errors.suffix(2).allSatisfy { $0 != nil })
        #expect(played.requests.count == 8)
        // Another agent has a budget of its own.
        let other = await caller.ping(reqid: reqid, [try target("other")])
        #expect(other[0]["error"] == nil)
    }

    @Test("an agent that was off has its whole budget when it is back: what did not connect is not counted")
    func refusedIsNotCounted() async throws {
        let refused = [DialOutcome](repeating: .notConnected("connection refused on port 7443"), count: 20)
        let played = Played(refused + [answer(200, #"{"status":"ok","host":"web","version":"0.9.3"}"#)])
        let caller = played.caller()
        for _ in 0..<20 {
            let error = await caller.ping(reqid: reqid, [try target()])[0]["error"]
            #expect(error == .text("connection refused on port 7443"))
        }
        for _ in 0..<8 { #expect(await caller.ping(reqid: reqid, [try target()])[0]["error"] == nil) }
        #expect(await caller.ping(reqid: reqid, [try target()])[0]["error"] != nil)
        #expect(played.requests.count == 28)
    }

    @Test("cea is not counted: an agent of unknown version is asked for it before the budget ends")
    func noBudgetForCea() async throws {
        let played = Played([answer(200, #"{"status":"ok","exit":0,"host":"web","version":"cea-0.1.0"}"#)])
        let caller = played.caller()
        for _ in 0..<30 {
            let results = await caller.run(run(), [try target()])
            #expect(results[0]["error"] == nil)
        }
        #expect(played.requests.count == 31)
        #expect(played.requests.filter { $0.path == "/ping" }.count == 1)
    }

    @Test("what was learned of an agent is not believed of another that was paired under its name")
    func versionOfTheCertificate() async throws {
        let played = Played([answer(200, #"{"status":"ok","exit":0,"host":"web","version":"cea-0.1.0"}"#)])
        let caller = played.caller()
        func errors(pairing: UInt64) async throws -> [JSONValue] {
            let name = try #require(AgentName("web"))
            let target = AgentTarget(
                name: name, address: "web", port: 7443, identities: [try serial(1)], key: AgentKey(name: name, pairing: Reqid(pairing)))
            var errors: [JSONValue] = []
            for _ in 0..<10 { errors += await caller.run(run(), [target]).compactMap { $0["error"] } }
            return errors
        }
        #expect(try await errors(pairing: 1).isEmpty)
        // The new one counts as old, with what was dialled under its name before: four runs and the question.
        #expect(try await errors(pairing: 2).count == 10 - (Limits.connectionsPerAgent - 5))
    }

    @Test("a version without end is no version")
    func longVersion() async throws {
        let version = "cea" + String(repeating: "x", count: 62)
        let played = Played([answer(200, #"{"status":"ok","exit":0,"host":"web","version":"\#(version)"}"#)])
        let caller = played.caller()
        for _ in 0..<9 { _ = await caller.run(run(), [try target()]) }
        #expect(played.requests.count == Limits.connectionsPerAgent)
    }

    @Test("each kind of work has its limit, and the answers to one call have one together")
    func answerLimits() async throws {
        let played = Played([answer(200, "{}")])
        let caller = played.caller()
        _ = await caller.run(run(), [try target("a"), try target("b")])
        _ = await caller.ping(reqid: reqid, [try target("c")])
        let requests = played.requests
        #expect(requests.map(\.answerLimit) == [Limits.runAnswerBytes, Limits.runAnswerBytes, Limits.pingAnswerBytes])
        let budgets = try requests.map { try #require($0.budget) }
        #expect(budgets[0] === budgets[1] && budgets[1] !== budgets[2])
        #expect(budgets[0].take(Limits.callAnswerBytes))
        #expect(!budgets[1].take(1))
    }

    @Test("results stand in the order of the hosts, and no more than max_parallel are under way")
    func fanOut() async throws {
        let underway = Mutex((now: 0, most: 0))
        let caller = AgentCaller(configuration: AgentLinkConfiguration(maxParallel: 4), logger: quiet) { request in
            underway.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            for _ in 0..<20 { await Task.yield() }
            underway.withLock { $0.now -= 1 }
            return answer(200, #"{"status":"ok","host":"\#(request.address)"}"#)
        }
        let results = await caller.ping(reqid: reqid, try (0..<40).map { try target("h\($0)") })
        #expect(results.compactMap { $0["host"]?.scalarText } == (0..<40).map { "h\($0)" })
        let most = underway.withLock { $0.most }
        #expect(most <= 4 && most > 1)
    }

    @Test("a change holds for the calls that begin after it")
    func change() async throws {
        let played = Played([answer(200, #"{"status":"ok"}"#)])
        let caller = played.caller()
        _ = await caller.ping(reqid: reqid, [try target("a")])
        caller.change(maxParallel: 1, readTimeoutSeconds: 7)
        _ = await caller.ping(reqid: reqid, [try target("b")])
        #expect(played.requests.map(\.readTimeoutSeconds) == [Int64(Limits.readTimeoutSeconds), 7])
    }

    // MARK: Over real connections

    /// An agent's port: mTLS with a certificate of the fleet CA.
    private func withAgent<Value>(
        _ pki: SmallPKI, as kind: SmallPKI.Kind = .agent, handler: @escaping HTTPListener.Handler,
        _ body: (Int) async throws -> Value
    ) async throws -> Value {
        let identity = try pki.identity(kind, "web")
        let policy = TrustPolicy.fleet(roots: [pki.fleetCA.certificate])
        let configuration = HTTPListenerConfiguration(
            address: .tcp(host: "127.0.0.1", port: 0), tls: { TLSServer(identity: identity, clients: .optional(policy)) })
        let listener = try await HTTPListener.start(configuration, on: MultiThreadedEventLoopGroup.singleton, handler: handler)
        do {
            let value = try await body(try #require(listener.port))
            await listener.stop(drain: .zero)
            return value
        } catch {
            await listener.stop(drain: .zero)
            throw error
        }
    }

    private func caller(_ pki: SmallPKI, readTimeout: Int64 = 5) throws -> AgentCaller {
        let configuration = AgentLinkConfiguration(readTimeoutSeconds: readTimeout)
        let identity = try pki.identity(.dispatcher, "ctrl-exec-dispatcher")
        return AgentCaller(
            configuration: configuration, logger: quiet,
            dial: agentDial(
                configuration: configuration, fleetRoots: [pki.fleetCA.certificate], group: MultiThreadedEventLoopGroup.singleton,
                identity: { _ in identity }))
    }

    private func local(_ port: Int) throws -> AgentTarget {
        AgentTarget(
            name: try #require(AgentName("web")), address: "127.0.0.1", port: try #require(UInt16(exactly: port)),
            identities: [try serial(9)])
    }

    @Test("over mutual TLS: the agent sees the dispatcher's certificate and one request a connection")
    func overTLS() async throws {
        let pki = try SmallPKI()
        let handler: HTTPListener.Handler = { request, writer in
            let seen = "\(request.method) \(request.path) \(request.peer?.role.map(\.description) ?? "nobody")"
            let body = JSONValue.record(["exit": .integer(0), "stdout": .text(seen), "stderr": .text("")])
            await writer.send(HTTPResponse(status: 200, json: body.bytes))
        }
        try await withAgent(pki, handler: handler) { port in
            let results = try await caller(pki).run(run(), [try local(port)])
            #expect(results[0]["stdout"] == .text("POST /run dispatcher"))
        }
    }

    @Test("whoever is no agent is not believed to be one, and is sent nothing", arguments: [SmallPKI.Kind.dispatcher, .member, .operator])
    func wrongServer(kind: SmallPKI.Kind) async throws {
        let pki = try SmallPKI()
        let wasAsked = Mutex(false)
        let handler: HTTPListener.Handler = { _, writer in
            wasAsked.withLock { $0 = true }
            writer.close()
        }
        try await withAgent(pki, as: kind, handler: handler) { port in
            let results = try await caller(pki).run(run(), [try local(port)])
            #expect(results[0]["error"]?.scalarText?.hasPrefix("TLS handshake failed") ?? false, "\(results[0].canonicalText)")
        }
        #expect(!wasAsked.withLock { $0 })
    }

    @Test("a connection that ends after the request was sent is an unknown outcome, and is not repeated")
    func closedAfterSending() async throws {
        let pki = try SmallPKI()
        let asked = Mutex(0)
        let handler: HTTPListener.Handler = { _, writer in
            asked.withLock { $0 += 1 }
            writer.close()
        }
        try await withAgent(pki, handler: handler) { port in
            let results = try await caller(pki).run(run(), [try local(port)])
            #expect(results[0]["error"]?.scalarText?.hasPrefix("outcome unknown: ") ?? false, "\(results[0].canonicalText)")
        }
        #expect(asked.withLock { $0 } == 1)
    }

    @Test("nobody listens: connection refused on port")
    func refused() async throws {
        let pki = try SmallPKI()
        let port = try await withAgent(pki, handler: { _, writer in writer.close() }) { $0 }
        let results = try await caller(pki).run(run(), [try local(port)])
        #expect(results[0]["error"] == .text("connection refused on port \(port)"))
    }

    @Test("an agent that does not answer in time: read timeout")
    func readTimeout() async throws {
        let pki = try SmallPKI()
        let handler: HTTPListener.Handler = { _, writer in await writer.closed }
        try await withAgent(pki, handler: handler) { port in
            let results = try await caller(pki, readTimeout: 1).run(run(), [try local(port)])
            #expect(results[0]["error"] == .text("read timeout after 1s"))
        }
    }
}

@Suite("Agent targets")
struct AgentTargetTests {
    @Test("by name or by stored address, with the agent's port or a given one; unknown names are all said")
    func resolve() async throws {
        let front = try SmallFront(SmallPKI())
        await front.apply(.openPairing(milliseconds: 600_000), .client("open"))
        for (number, name) in ["one", "two"].enumerated() {
            let key = try PrivateKey.generateP256()
            let submission = PairingSubmission(
                reqid: Reqid(UInt64(number)), hostname: try #require(AgentName(name)),
                signingRequest: SigningRequest(der: try CertificateRequest.make(key: key, commonName: name).der), nonce: "", code: "000000",
                sourceAddress: "192.0.2.1",
                suggested: Reachability(lookup: number == 0 ? .hostname : .ip, address: "192.0.2.5", port: 17443))
            await front.apply(.submitPairing(submission), by: .pairingHost(address: "192.0.2.1"), .client("submit-\(number)"))
            await front.apply(.approvePairing(Reqid(UInt64(number)), Reachability()), .client("approve-\(number)"))
        }
        let state = await front.appliedState()
        let targets = try AgentTarget.resolve(["two", "one:99", "two"], in: state).get()
        #expect(targets.map(\.address) == ["192.0.2.5", "one"] && targets.map(\.port) == [17443, 99])
        #expect(targets.allSatisfy { $0.identities == [front.dispatcher.certificate.serial] })
        guard case .failure(let unknown) = AgentTarget.resolve(["one", "three", "one:0", "one:x", "a b"], in: state) else {
            throw Surprise("unknown agents were resolved")
        }
        #expect(unknown.names == ["three", "one:0", "one:x", "a b"])
    }
}
