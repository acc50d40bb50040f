// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// From a command to the cluster: over the control socket, or to the first of a list of members that serves. Exclusive operations go on to
// the next member under the same request id, under which they happen at most once. Work on agents goes on only while nothing can have been
// sent to an agent. The server must show a member's certificate of the operator's own cluster.

import AgentLink
import ArgumentParser
import CtrlExec
import Glibc
import NIOCore
import NIOPosix
import PKI
import Platform
import Transport

struct Client {
    private let doors: [Door]
    private let timeoutSeconds: Double
    /// The one that the caller asked for; nil: the default.
    private let givenTimeoutSeconds: Double?
    private let group: MultiThreadedEventLoopGroup
    private let tls: TLSClient?
    /// Why members may not let us in, as far as our own certificate says it.
    private let doubt: String

    /// One way in.
    private struct Door {
        let name: String
        let endpoint: Transport.Endpoint
    }

    init(_ options: ConnectionOptions) throws(ClientFailure) {
        switch try options.way() {
        case .socket(let path):
            doors = [Door(name: path, endpoint: .unix(path: path))]
            tls = nil
            doubt = ""
        case .endpoints(let endpoints, let directory):
            doors = endpoints.map { Door(name: $0.description, endpoint: .tcp(host: $0.host, port: $0.port)) }
            let (client, certificate) = try Self.identity(in: directory)
            tls = client
            doubt = Self.doubt(certificate, "\(directory)/operator.crt")
        }
        givenTimeoutSeconds = options.timeout
        timeoutSeconds = options.timeout ?? ConnectionOptions.defaultTimeoutSeconds
        // One thread is enough for one request; it ends with the process.
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    }

    /// By this host's clock, which may be wrong: so it is only said when the members let us in nowhere.
    private static func doubt(_ certificate: Certificate, _ path: String) -> String {
        let now = wallClockSeconds()
        if certificate.notAfter < now {
            return "your certificate \(path) expired \(OpenSSLTime.text(unixSeconds: certificate.notAfter)): make another with "
                + "ced issue-operator NAME --out DIR, on a member's host"
        }
        if certificate.notBefore > now {
            return
                "your certificate \(path) is not valid before \(OpenSSLTime.text(unixSeconds: certificate.notBefore)): is the clock right?"
        }
        return "is your certificate revoked or expired, or of another cluster?"
    }

    private static func identity(in directory: String) throws(ClientFailure) -> (TLSClient, Certificate) {
        func read(_ name: String) throws(ClientFailure) -> [UInt8] {
            do throws(FileProblem) { return try DurableFile.read("\(directory)/\(name)") } catch {
                throw ClientFailure(error.isPermission ? .permission : .usage, "cannot read your identity: \(error.description)")
            }
        }
        let (certificate, key, authority) = (try read("operator.crt"), try read("operator.key"), try read("ca.crt"))
        do {
            let chain = try Certificate.all(inPEM: certificate)
            guard !chain.isEmpty else { throw ClientFailure(.usage, "there is no certificate in \(directory)/operator.crt") }
            let identity = try TLSIdentity(chain: chain, key: PrivateKey(pem: key))
            guard case .operator(let cluster, _) = identity.certificate.role else {
                throw ClientFailure(
                    .usage, "\(directory)/operator.crt is not an operator's certificate (make one with: ced issue-operator NAME --out DIR)")
            }
            let roots = try Certificate.all(inPEM: authority)
            return (TLSClient(identity: identity, policy: .members(of: cluster, roots: roots)), identity.certificate)
        } catch let failure as ClientFailure {
            throw failure
        } catch {
            throw ClientFailure(.usage, "cannot use the identity in \(directory): \(error)")
        }
    }

    // MARK: The three kinds of call

    /// A read of the cluster's state: any member will do, and asking twice does no harm. Says on standard error how old a stale one is.
    ///
    /// - Parameter options: nil: the command offers no choice.
    func read(_ path: String, _ options: ReadOptions? = nil) async throws(ClientFailure) -> JSONValue {
        let wanted = options?.consistency ?? .linearizable
        let consistency = wanted == .linearizable ? [] : [(name: "X-Ced-Consistency", value: wanted.rawValue)]
        var attempts = Attempts(seconds: timeoutSeconds, doors: doors.count, doubt: doubt)
        while true {
            for door in doors {
                switch await ask(door, "GET", path, nil, headers: [attempts.header] + consistency, seconds: attempts.secondsForOne) {
                case .answer(let status, let answer) where isPassing(status, answer): attempts.unavailable(door.name, answer)
                case .answer(let status, let answer):
                    let accepted = try accepted(status, answer)
                    // The warning that it has no leader says as much.
                    if wanted == .stale, answer.isolation == nil { Output.note(answer.age.note) }
                    return accepted
                case .failed(let failure): attempts.failed(door.name, failure)
                }
            }
            guard await attempts.again() else {
                let failure = attempts.failure(isSocket: isSocket)
                guard options != nil, wanted != .stale, failure.code == .noLeaderInTime else { throw failure }
                throw ClientFailure(failure.code, failure.description + "; --consistency stale shows what a member without a leader has")
            }
        }
    }

    /// Work on agents. Goes on to the next member only while nothing can have been sent to an agent, unless repeating it does no harm.
    ///
    /// A given `--timeout` bounds the whole of it; without one the members' own `read_timeout` bounds the agents, and this waits for them.
    func onAgents(_ path: String, _ body: JSONValue, isRepeatable: Bool, unknown: String) async throws(ClientFailure) -> JSONValue {
        try await patiently("POST", path, body, isRepeatable: isRepeatable, unknown: unknown)
    }

    /// The record of a run, for which agents may be asked again.
    func runRecord(_ reqid: String) async throws(ClientFailure) -> JSONValue {
        try await patiently("GET", "/v1/runs/\(reqid)", nil, isRepeatable: true, unknown: "")
    }

    private func patiently(
        _ method: String, _ path: String, _ body: JSONValue?, isRepeatable: Bool, unknown: String
    ) async throws(ClientFailure) -> JSONValue {
        var attempts = Attempts(seconds: timeoutSeconds, doors: doors.count, doubt: doubt)
        while true {
            for door in doors {
                let patience = givenTimeoutSeconds.map { _ in attempts.secondsLeft } ?? 3_600
                switch await ask(door, method, path, body, headers: [], seconds: patience, connectSeconds: attempts.secondsForOne) {
                // The member says so before it dials anybody.
                case .answer(let status, let answer) where isPassing(status, answer): attempts.unavailable(door.name, answer)
                case .answer(let status, let answer): return try accepted(status, answer)
                case .failed(let failure) where failure.requestSent && !isRepeatable:
                    throw ClientFailure(.failed, "outcome unknown: \(door.name): \(failure.description); \(unknown)")
                case .failed(let failure): attempts.failed(door.name, failure)
                }
            }
            guard await attempts.again() else { throw attempts.failure(isSocket: isSocket) }
        }
    }

    /// What happens once in the cluster, however often it is asked for under one request id.
    ///
    /// - Parameter isProtected: false for what does not pass through the log and so knows no request id: it is asked for once only.
    func exclusive(
        _ method: String, _ path: String, _ body: JSONValue, _ options: RequestOptions, madeID: String? = nil, isProtected: Bool = true
    ) async throws(ClientFailure) -> JSONValue {
        let id: String
        if let known = options.requestID ?? madeID { id = known } else { id = try Self.newRequestID() }
        var attempts = Attempts(seconds: timeoutSeconds, doors: doors.count, doubt: doubt)
        while true {
            for door in doors {
                let headers = [attempts.header, (name: "Idempotency-Key", value: id)]
                switch await ask(door, method, path, body, headers: headers, seconds: attempts.secondsForOne) {
                case .answer(let status, let answer) where isPassing(status, answer): attempts.unavailable(door.name, answer)
                // No decision of the log: an earlier attempt may have brought one about.
                case .answer(let status, let answer) where attempts.mayHaveHappened && (status == 429 || status >= 500):
                    attempts.unavailable(door.name, answer)
                    throw Self.unknown(attempts.failure(isSocket: isSocket), code: .failed, id)
                case .answer(let status, let answer): return try accepted(status, answer)
                case .failed(let failure): attempts.failed(door.name, failure)
                }
                if !isProtected, attempts.mayHaveHappened {
                    let failure = attempts.failure(isSocket: isSocket)
                    throw ClientFailure(
                        failure.code,
                        "\(failure.description); whether it happened is not known, and it was not asked for again\n"
                            + "To see who leads: ced cluster status", mayHaveHappened: true)
                }
            }
            guard await attempts.again() else {
                let failure = attempts.failure(isSocket: isSocket)
                guard attempts.mayHaveHappened else { throw failure }
                throw Self.unknown(failure, code: failure.code, id)
            }
        }
    }

    private static func unknown(_ failure: ClientFailure, code: CtrlExec.ExitCode, _ id: String) -> ClientFailure {
        ClientFailure(
            code,
            "\(failure.description); whether it happened is not known\n"
                + "To find out, repeat it under its request id, under which it happens at most once:\n  \(command(repeating: id))",
            answer: .record(["ok": .boolean(false), "error": .text(failure.description), "request_id": .text(id)]), mayHaveHappened: true)
    }

    static func newRequestID() throws(ClientFailure) -> String {
        do { return "cli-\(Reqid(try SystemRandom.number()))" } catch { throw ClientFailure(.failed, "\(error)") }
    }

    /// The command as it was typed, with the request id.
    private static func command(repeating id: String) -> String {
        var words = CommandLine.arguments
        let isGiven = words.contains { $0 == "--request-id" || $0.hasPrefix("--request-id=") }
        if !isGiven { words += ["--request-id", id] }
        return words.map(shellQuoted).joined(separator: " ")
    }

    private var isSocket: Bool { tls == nil }

    // MARK: One attempt

    private enum Result {
        case answer(Int, Answer)
        case failed(ExchangeFailure)
    }

    private func ask(
        _ door: Door, _ method: String, _ path: String, _ body: JSONValue?, headers: [HTTPHeader], seconds: Double,
        connectSeconds: Double? = nil
    ) async -> Result {
        var settings = OneRequestClient.Settings()
        let opening = TimeAmount.milliseconds(Int64(1_000 * min(connectSeconds ?? seconds, 10)))
        settings.connectTimeout = opening
        settings.handshakeTimeout = opening
        // The member answers in time; a little later it is given up.
        settings.readTimeout = .milliseconds(Int64(1_000 * seconds) + 250)
        settings.responseLimit = 512 << 20
        // A member's host that died says nothing, and a run may be awaited for long.
        settings.keepalive = .seconds(15)
        let client = OneRequestClient(group: group, tls: tls, settings: settings)
        do throws(ExchangeFailure) {
            let reply = try await client.exchange(
                OutgoingRequest(method: method, path: path, headers: headers, body: body?.bytes), with: door.endpoint)
            return .answer(
                reply.status,
                Answer(body: JSONValue(bytes: reply.body) ?? .object([]), isolation: IsolationNotice(reply), age: ReadAge(reply)))
        } catch {
            return .failed(error)
        }
    }

    /// Another member, or the same one a little later, may say otherwise.
    private func isPassing(_ status: Int, _ answer: Answer) -> Bool {
        switch (status, answer.body.text("error")) {
        case (503, "no leader"), (503, "not ready"), (503, "isolated"), (503, "not finished yet"), (429, "overloaded"): true
        default: false
        }
    }

    private func accepted(_ status: Int, _ given: Answer) throws(ClientFailure) -> JSONValue {
        let answer = given.body
        if (200...299).contains(status) {
            given.isolation?.warn()
            return answer
        }
        let error = answer["error"]?.scalarText ?? "the member answered \(status)"
        let detail = answer["detail"]?.scalarText
        // Of these two the detail says it all.
        let text = detail.map { ["bad request", "unknown agent"].contains(error) ? $0 : "\(error): \($0)" } ?? error
        // The auth hook's word, as ctrl-exec says it (protocol page, 17).
        if status == 403, answer["code"] != nil { throw ClientFailure(.failed, "Denied: \(error)", answer: answer) }
        let code: CtrlExec.ExitCode =
            switch status {
            case 401, 403: .permission
            case 400: .usage
            case 503 where answer["members"] != nil: .noMemberReachable
            case 503: .noLeaderInTime
            default: .failed
            }
        throw ClientFailure(code, text, answer: answer)
    }
}

/// What a member said, and whether it was without a leader when it did.
private struct Answer {
    let body: JSONValue
    let isolation: IsolationNotice?
    let age: ReadAge
}

/// The clock and the memory of one call over several members.
private struct Attempts {
    private let clock = ContinuousClock()
    private let deadline: ContinuousClock.Instant
    private let total: Double
    private let doors: Int
    private let doubt: String
    private var reasons: [String] = []
    private(set) var mayHaveHappened = false
    private var wasReached = false
    private var isRefusedEverywhere = true

    init(seconds: Double, doors: Int, doubt: String) {
        total = seconds
        self.doubt = doubt
        self.doors = max(1, doors)
        deadline = clock.now.advanced(by: .milliseconds(Int64(seconds * 1_000)))
    }

    var secondsLeft: Double {
        let left = clock.now.duration(to: deadline).components
        return max(0.05, Double(left.seconds) + Double(left.attoseconds) / 1e18)
    }
    /// One member that hangs must not use up the time of all.
    var secondsForOne: Double { doors == 1 ? secondsLeft : min(secondsLeft, max(1, total / Double(doors))) }
    /// How long the member may take.
    var header: HTTPHeader { (name: "X-Ced-Timeout-Ms", value: String(max(1, min(60_000, Int(secondsForOne * 1_000))))) }

    mutating func failed(_ name: String, _ failure: ExchangeFailure) {
        if failure.requestSent {
            mayHaveHappened = true
            wasReached = true
        }
        switch failure {
        case .denied, .wrongPeer, .handshake: break
        default: isRefusedEverywhere = false
        }
        note("\(name): \(failure.description)")
    }

    /// 503 and its like.
    mutating func unavailable(_ name: String, _ given: Answer) {
        let answer = given.body
        wasReached = true
        isRefusedEverywhere = false
        let error = answer["error"]?.scalarText ?? "unavailable"
        // A member that is not ready, was alone for too long, or has too many callers waiting, has passed nothing on.
        if !["not ready", "isolated", "overloaded"].contains(error) { mayHaveHappened = true }
        note("\(name): \(error == "isolated" ? answer.text("detail") : error)")
    }

    private mutating func note(_ reason: String) {
        if !reasons.contains(reason) { reasons.append(reason) }
    }

    /// Whether to go round once more: as long as there is time, if any member was reached at all.
    mutating func again() async -> Bool {
        guard wasReached, clock.now < deadline else { return false }
        // A cancelled sleep only means that the next round comes at once.
        try? await Task.sleep(for: .milliseconds(50))
        return clock.now < deadline
    }

    func failure(isSocket: Bool) -> ClientFailure {
        let what = reasons.joined(separator: "; ")
        if wasReached { return ClientFailure(.noLeaderInTime, "no answer within \(secondsText) s: \(what)") }
        if isRefusedEverywhere {
            return ClientFailure(.permission, isSocket ? socketText(what) : "not admitted (\(doubt)): \(what)")
        }
        return ClientFailure(.noMemberReachable, isSocket ? socketText(what) : "cannot reach a member: \(what)")
    }

    private var secondsText: String { total == total.rounded() ? String(Int(total)) : String(total) }

    /// Why a socket that cannot be used cannot be used, as far as the file says.
    private func socketText(_ what: String) -> String {
        let parts = what.split(separator: ": ", maxSplits: 1).map(String.init)
        let path = parts.first ?? what
        if access(path, F_OK) != 0, errno == ENOENT {
            return "cannot reach a member: \(path) does not exist (is ced running here? or give --endpoints and --identity)"
        }
        if access(path, W_OK) != 0, errno == EACCES {
            return
                "cannot reach a member: \(path): permission denied (use root or the user as whom ced runs, or give --endpoints and --identity)"
        }
        return "cannot reach a member: \(what) (is ced running here? or give --endpoints and --identity)"
    }
}
