// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How agents of each release are told which serials to trust, and what counts as told.

import AgentLink
import CtrlExec
import DispatcherState
import Synchronization
import Testing

/// An agent of some release: a map of serials, and its way of changing it.
private final class ToldAgent: Sendable {
    struct State {
        var trusts: [SerialNumber]
        var paths: [String] = []
        var arguments: [[String]] = []
        var presented: [SerialNumber] = []
    }
    let dialect: AgentDialect
    let version: String
    /// Of a run or of `/rotate-serial`: it does what it is told, and its answer is lost.
    let losesAnswers: Bool
    /// Its script says that it is done, and does nothing.
    let isDeaf: Bool
    private let state: Mutex<State>

    init(_ dialect: AgentDialect, version: String, trusts: [SerialNumber], losesAnswers: Bool = false, isDeaf: Bool = false) {
        self.dialect = dialect
        self.version = version
        self.losesAnswers = losesAnswers
        self.isDeaf = isDeaf
        state = Mutex(State(trusts: trusts))
    }

    var now: State { state.withLock { $0 } }
    var caller: AgentCaller { AgentCaller(configuration: AgentLinkConfiguration(), logger: quiet) { self.dial($0) } }

    private func dial(_ request: DialRequest) -> DialOutcome {
        state.withLock { state in
            state.paths.append(request.path)
            state.presented.append(request.identity)
            func answer(_ status: Int, _ text: String) -> DialOutcome { .answered(status: status, body: Array(text.utf8)) }
            if request.path == "/rotate-serial", dialect != .endpoint { return answer(404, #"{"error":"not found"}"#) }
            guard state.trusts.contains(request.identity) else {
                return answer(403, #"{"error":"serial mismatch","status":"forbidden"}"#)
            }
            let body = request.body.flatMap { JSONValue(bytes: $0) }
            switch request.path {
            case "/ping": return answer(200, #"{"status":"ok","version":"\#(version)"}"#)
            case "/rotate-serial":
                guard let serial = SerialNumber(hexadecimal: body?["serial"]?.scalarText ?? "") else {
                    return answer(200, #"{"status":"error","error":"serial required"}"#)
                }
                if body?["action"]?.scalarText == "remove" { state.trusts.removeAll { $0 == serial } } else { state.trusts.append(serial) }
                return losesAnswers ? .sentWithoutAnswer("gone") : answer(200, #"{"status":"ok"}"#)
            default:
                var arguments: [String] = []
                if case .array(let elements) = body?["args"] { arguments = elements.compactMap(\.scalarText) }
                state.arguments.append(arguments)
                guard arguments.count == (dialect == .single ? 1 : 2) else { return answer(200, #"{"exit":1,"stderr":"usage: …"}"#) }
                if !isDeaf {
                    let isRemoval = arguments[0] == "--remove"
                    guard let serial = SerialNumber(hexadecimal: isRemoval ? arguments[1] : arguments[0]) else {
                        return answer(200, #"{"exit":1}"#)
                    }
                    if dialect == .single { state.trusts = [] }
                    if isRemoval { state.trusts.removeAll { $0 == serial } } else { state.trusts.append(serial) }
                }
                return losesAnswers ? .sentWithoutAnswer("gone") : answer(200, #"{"exit":0}"#)
            }
        }
    }
}

@Suite("Telling agents of serials")
struct AgentTellingTests {
    private let old: SerialNumber
    private let new: SerialNumber
    private let dispatcher: DispatcherID
    init() throws {
        old = try #require(SerialNumber(hexadecimal: "5c00000000000001"))
        new = try #require(SerialNumber(hexadecimal: "5c00000000000002"))
        dispatcher = try #require(DispatcherID("fleet"))
    }

    private func tell(
        _ agent: ToldAgent, _ task: AgentTask, as dialect: AgentDialect?, over identities: [SerialNumber]
    ) async throws -> AgentTaskAnswer {
        let target = AgentTarget(name: try #require(AgentName("web")), address: "web", port: 7443, identities: identities)
        return await agent.caller.carryOut(task, dialect: dialect, dispatcher: dispatcher, on: target, reqid: "213e2fc12258b69f")
    }

    @Test(
        "the release says how an agent is told, and so does the route if there is no release",
        arguments: [
            (AgentDialect.single, "0.8.4"), (.script, "0.9.4"), (.endpoint, "0.12.3"), (.endpoint, "cea-0.1.0"),
            (.single, "UNINSTALLED"), (.endpoint, "UNINSTALLED"),
        ])
    func learns(_ dialect: AgentDialect, _ version: String) async throws {
        let agent = ToldAgent(dialect, version: version, trusts: [old])
        let answer = try await tell(agent, .learn, as: nil, over: [new, old])
        #expect(answer == AgentTaskAnswer(.learned(dialect), accepted: old, refused: [new]))
        #expect(agent.now.trusts == [old])
    }

    @Test("what the three are told, and what they trust then", arguments: AgentDialect.allCases, [false, true])
    func announces(_ dialect: AgentDialect, _ losesAnswers: Bool) async throws {
        let agent = ToldAgent(dialect, version: "", trusts: [old], losesAnswers: losesAnswers)
        let answer = try await tell(agent, .announce(new), as: dialect, over: [old, new])
        #expect(agent.now.trusts == (dialect == .single ? [new] : [old, new]))
        // A script's effect is seen by a ping; `/rotate-serial` is simply asked once more.
        if dialect == .endpoint, losesAnswers {
            guard case .unreachable = answer.result else { throw Unexpected(answer) }
        } else {
            #expect(answer.result == .done)
        }
        switch dialect {
        case .single: #expect(agent.now.arguments == [[new.hexadecimal]])
        case .script: #expect(agent.now.arguments == [[new.hexadecimal, "fleet"]])
        case .endpoint: #expect(agent.now.arguments.isEmpty)
        }
        if dialect != .endpoint { #expect(agent.now.presented.last == new && agent.now.paths.last == "/ping") }
    }

    @Test("an old identity is removed over the new one and no other", arguments: [AgentDialect.script, .endpoint])
    func removes(_ dialect: AgentDialect) async throws {
        let agent = ToldAgent(dialect, version: "", trusts: [old, new])
        #expect(try await tell(agent, .remove(old), as: dialect, over: [new]).result == .done)
        #expect(agent.now.trusts == [new])
        let other = ToldAgent(dialect, version: "", trusts: [old])
        let answer = try await tell(other, .remove(old), as: dialect, over: [new])
        guard case .refused = answer.result else { throw Unexpected(answer) }
        #expect(other.now.trusts == [old] && answer.refused == [new] && answer.accepted == nil)
    }

    @Test("a script that says it is done and is not does not count")
    func deafScript() async throws {
        let agent = ToldAgent(.script, version: "", trusts: [old], isDeaf: true)
        let answer = try await tell(agent, .announce(new), as: .script, over: [old])
        guard case .refused = answer.result else { throw Unexpected(answer) }
    }

    @Test("the usage of the script of 0.9 gives away an agent that was taken for an 0.8")
    func usage() async throws {
        let agent = ToldAgent(.script, version: "UNINSTALLED", trusts: [old])
        #expect(try await tell(agent, .announce(new), as: .single, over: [old]).result == .learned(.script))
        #expect(agent.now.trusts == [old])
    }

    @Test("an agent without the route says no, and nothing is thought to be told")
    func wrongDialect() async throws {
        let agent = ToldAgent(.script, version: "", trusts: [old])
        let answer = try await tell(agent, .announce(new), as: .endpoint, over: [old])
        guard case .refused = answer.result else { throw Unexpected(answer) }
        #expect(answer.accepted == nil)
    }
}

private struct Unexpected: Error {
    let answer: AgentTaskAnswer
    init(_ answer: AgentTaskAnswer) { self.answer = answer }
}
