// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Work on many agents at once: one request a connection, a bounded number of connections, and never a run whose bytes were sent a second
// time. How a connection is made is `AgentDial.swift`'s business.

import CtrlExec
import DispatcherState
import Logging
import Platform
import Synchronization

/// One request on one connection of its own.
package struct DialRequest: Sendable {
    package let address: String
    package let port: UInt16
    /// The dispatcher identity to present.
    package let identity: SerialNumber
    package let method: String
    package let path: String
    package let body: [UInt8]?
    /// Bytes of the answer's body that are read.
    package let answerLimit: Int
    /// How long the agent may be silent.
    package let readTimeoutSeconds: Int64
    /// What the answers of the whole call may bring; nil: no matter.
    package let budget: AnswerBudget?
}

/// Bytes that the answers to one call may bring together: many agents must not fill a member's memory.
package final class AnswerBudget: Sendable {
    private let left: Mutex<Int>
    package init(bytes: Int) { left = Mutex(bytes) }

    /// False: not so many are left, and none were taken.
    package func take(_ bytes: Int) -> Bool {
        left.withLock { left in
            guard bytes <= left else { return false }
            left -= bytes
            return true
        }
    }
}

package enum DialOutcome: Hashable, Sendable {
    case answered(status: Int, body: [UInt8])
    /// There was no connection: the agent has seen nothing of us.
    case notConnected(String)
    /// Not one byte of the request left.
    case notSent(String)
    /// Bytes of the request left, and no whole answer came back.
    case sentWithoutAnswer(String)
    /// Bytes of the request left, and nothing came for the read time-out.
    case readTimeout
}

package struct AgentCaller: Sendable {
    private let settings: AgentLinkSettings
    private let dial: @Sendable (DialRequest) async -> DialOutcome
    private let acquaintances: Acquaintances
    let logger: Logger
    private let observe: @Sendable (AgentKey, _ accepted: SerialNumber, _ refused: [SerialNumber]) -> Void
    private let observeTags: @Sendable (AgentKey, AgentTags) -> Void

    /// - Parameters:
    ///   - observe: told when an agent turned identities away and let another in.
    ///   - observeTags: told the tags of every agent that gave its capabilities.
    package init(
        configuration: AgentLinkConfiguration, logger: Logger,
        observe: @escaping @Sendable (AgentKey, _ accepted: SerialNumber, _ refused: [SerialNumber]) -> Void = { _, _, _ in },
        observeTags: @escaping @Sendable (AgentKey, AgentTags) -> Void = { _, _ in },
        dial: @escaping @Sendable (DialRequest) async -> DialOutcome
    ) {
        settings = AgentLinkSettings(configuration)
        self.logger = logger
        self.observe = observe
        self.observeTags = observeTags
        self.dial = dial
        acquaintances = Acquaintances(source: configuration.dialFrom ?? "")
    }

    /// For calls that begin from now on.
    package func change(maxParallel: Int, readTimeoutSeconds: Int64) {
        settings.change(maxParallel: maxParallel, readTimeoutSeconds: readTimeoutSeconds)
    }

    /// Synchronous, or asynchronous if the request says so. Results in the order of the targets.
    package func run(_ run: RunRequest, _ targets: [AgentTarget]) async -> [JSONValue] { await fanOut(.run(run), targets) }
    package func ping(reqid: String, _ targets: [AgentTarget]) async -> [JSONValue] { await fanOut(.ping(reqid: reqid), targets) }
    package func capabilities(reqid: String, _ targets: [AgentTarget]) async -> [JSONValue] {
        await fanOut(.capabilities(reqid: reqid), targets)
    }
    /// The results of an asynchronous run.
    package func result(of reqid: String, _ targets: [AgentTarget]) async -> [JSONValue] { await fanOut(.result(of: reqid), targets) }

    private func fanOut(_ work: Work, _ targets: [AgentTarget]) async -> [JSONValue] {
        if case .run(let run) = work {
            let hosts = targets.map(\.name.text).joined(separator: ",")
            logger.log(
                .info,
                LogLine(
                    "dispatch", ("SCRIPT", run.script), ("HOSTS", hosts), ("REQID", run.reqid),
                    ("MODE", run.detached == true ? "async" : "sync")))
        }
        let budget = AnswerBudget(bytes: Limits.callAnswerBytes)
        let maxParallel = settings.current.maxParallel
        return await withTaskGroup(of: (Int, JSONValue).self) { group in
            var results = [JSONValue?](repeating: nil, count: targets.count)
            var next = 0
            while next < min(maxParallel, targets.count) {
                let place = next
                group.addTask { (place, await one(work, targets[place], budget)) }
                next += 1
            }
            while let (place, result) = await group.next() {
                results[place] = result
                if next < targets.count {
                    let place = next
                    group.addTask { (place, await one(work, targets[place], budget)) }
                    next += 1
                }
            }
            return results.compactMap { $0 }
        }
    }

    private func one(_ work: Work, _ target: AgentTarget, _ budget: AnswerBudget) async -> JSONValue {
        if acquaintances.shouldAskVersion(of: target) {
            let ping = Work.ping(reqid: work.reqid)
            _ = await asked(ping, target, budget)
        }
        let clock = ContinuousClock()
        let begin = clock.now
        let exchange = await asked(work, target, budget).exchange
        let elapsed = clock.now - begin
        let milliseconds = UInt64(elapsed.components.seconds) * 1_000 + UInt64(elapsed.components.attoseconds / 1_000_000_000_000_000)
        let result = work.result(host: target.name, exchange, rttMilliseconds: milliseconds)
        log(work, target, result, milliseconds)
        return result
    }

    /// Presents the identities in their order. Only a 403 `serial mismatch` leads to the next: it proves that nothing ran.
    func asked(_ work: Work, _ target: AgentTarget, _ budget: AnswerBudget? = nil) async -> Asked {
        let asked = await exchange(work, target, budget)
        learn(from: asked.exchange, work, target)
        if !asked.refused.isEmpty, let accepted = asked.accepted, let key = target.key { observe(key, accepted, asked.refused) }
        return asked
    }

    /// One exchange, and what it proved.
    struct Asked: Hashable, Sendable {
        var exchange: Exchange
        /// The identity that the agent let in, if its answer proves that it did.
        var accepted: SerialNumber?
        /// Those that it turned away before anything ran.
        var refused: [SerialNumber] = []
    }

    private func exchange(_ work: Work, _ target: AgentTarget, _ budget: AnswerBudget?) async -> Asked {
        if target.isRevoked {
            return Asked(
                exchange: .failed(.notReached("the certificate of agent \(target.name) is revoked: it was not dialled (pair it anew)")))
        }
        let patience = settings.current.readTimeoutSeconds
        var refused: [SerialNumber] = []
        var last = Exchange.failed(.notReached("this cluster has no dispatcher identity that could be presented"))
        for identity in target.identities {
            let taken: UInt64
            switch acquaintances.take(target) {
            case .granted(let now): taken = now
            case .wait(let milliseconds):
                // A second identity that the budget forbids does not hide what the first was answered.
                if case .answered = last { return Asked(exchange: last, refused: refused) }
                return Asked(exchange: .failed(.budgetSpent(retryAfterSeconds: (milliseconds + 999) / 1_000)), refused: refused)
            }
            let request = DialRequest(
                address: target.address, port: target.port, identity: identity, method: work.method, path: work.path,
                body: work.body?.bytes,
                answerLimit: work.answerLimit, readTimeoutSeconds: patience, budget: budget)
            let dialled = await dial(request)
            if case .notConnected = dialled { acquaintances.giveBack(target, taken) }
            last = outcome(dialled, work, patience)
            guard isTurnedAway(last, work) else { return Asked(exchange: last, accepted: isLetIn(last) ? identity : nil, refused: refused) }
            refused.append(identity)
        }
        return Asked(exchange: last, refused: refused)
    }

    /// `/capabilities` says it in another word (protocol page, 6).
    private func isTurnedAway(_ exchange: Exchange, _ work: Work) -> Bool {
        guard case .answered(403, let body) = exchange, let error = JSONValue(bytes: body)?["error"]?.scalarText else { return false }
        if case .capabilities = work, error == AgentErrors.forbidden { return true }
        return error == AgentErrors.serialMismatch
    }

    /// An unknown route is answered before the map is asked, and proves nothing.
    private func isLetIn(_ exchange: Exchange) -> Bool {
        guard case .answered(let status, _) = exchange else { return false }
        return (200...299).contains(status) || status == 409
    }

    private func outcome(_ dialled: DialOutcome, _ work: Work, _ patience: Int64) -> Exchange {
        switch dialled {
        case .answered(let status, let body): .answered(status: status, body: body)
        case .notConnected(let reason), .notSent(let reason): .failed(.notReached(reason))
        case .sentWithoutAnswer(let reason):
            .failed(work.isIdempotent ? .notReached(reason) : .outcomeUnknown("\(reason); the script may be running"))
        case .readTimeout:
            if case .run = work {
                .failed(.readTimeout(seconds: patience))
            } else {
                .failed(.notReached("timed out"))
            }
        }
    }

    private func learn(from exchange: Exchange, _ work: Work, _ target: AgentTarget) {
        switch work {
        case .run, .result, .rotateSerial: return
        case .ping, .capabilities:
            guard case .answered(200, let body) = exchange, let json = JSONValue(bytes: body), json.isObject else { return }
            if let version = json["version"]?.scalarText, version.utf8.count <= Limits.versionBytes {
                acquaintances.learn(version: version, of: target)
            }
            if case .capabilities = work, let key = target.key { observeTags(key, AgentTags(keepingOf: json["tags"] ?? .null)) }
        }
    }

    private func log(_ work: Work, _ target: AgentTarget, _ result: JSONValue, _ milliseconds: UInt64) {
        let error = result["error"]?.scalarText
        let script: String? = if case .run(let run) = work { run.script } else { nil }
        let exit: String? = if case .run = work, error == nil { result["exit"]?.scalarText } else { nil }
        let status: String? =
            switch work {
            case .run(let run): run.detached == true && error == nil ? result["status"]?.scalarText : nil
            case .ping, .capabilities, .rotateSerial: nil
            case .result: error == nil ? result["status"]?.scalarText : nil
            }
        let ok: String? = if case .ping = work, error == nil { "ok" } else { nil }
        let line = LogLine(
            work.action, ("SCRIPT", script), ("TARGET", target.name.text), ("EXIT", exit), ("STATUS", status), ("RESULT", ok),
            ("ERROR", error), ("RTT", "\(milliseconds)ms"), ("REQID", work.reqid))
        logger.log(error == nil ? .info : .warning, line)
    }
}

/// What this process knows of agents: their versions, and how often it dialled them lately.
///
/// Old agents shut out an address that makes more than ten connections in 60 s (protocol page, 9.4). `cea` does not count a dispatcher
/// that is in its map. Which of the two an agent is, its version says, in the answers to ping and capabilities; until one was heard, an
/// agent counts as old, and after a few connections it is asked.
private final class Acquaintances: Sendable {
    private struct Known {
        var budget = ConnectionBudget()
        /// Of the agent that was paired then: another one may stand under the name tomorrow.
        var versions: [AgentName: (key: AgentKey?, text: String)] = [:]
        var dialsBeforeVersion: [AgentName: Int] = [:]

        func version(of target: AgentTarget) -> String? {
            guard let version = versions[target.name], version.key == target.key else { return nil }
            return version.text
        }
    }
    private static let dialsBeforeAsking = 4
    private let known = Mutex(Known())
    private let source: String
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant

    init(source: String) {
        self.source = source
        start = clock.now
    }

    enum Verdict {
        /// At this instant.
        case granted(milliseconds: UInt64)
        case wait(milliseconds: UInt64)
    }

    func take(_ target: AgentTarget) -> Verdict {
        let now = milliseconds()
        return known.withLock { known in
            if let version = known.version(of: target) {
                if isCea(version) { return .granted(milliseconds: now) }
            } else {
                known.dialsBeforeVersion[target.name, default: 0] += 1
            }
            if case .wait(let until) = known.budget.take(agent: target.name.text, source: source, nowMilliseconds: now) {
                return .wait(milliseconds: until > now ? until - now : 1)
            }
            known.budget.forgetOld(nowMilliseconds: now)
            return .granted(milliseconds: now)
        }
    }

    /// An agent that is off for a while must not be out of reach for another minute when it is back.
    func giveBack(_ target: AgentTarget, _ taken: UInt64) {
        known.withLock { known in
            known.budget.giveBack(agent: target.name.text, source: source, takenMilliseconds: taken)
            if let dials = known.dialsBeforeVersion[target.name] { known.dialsBeforeVersion[target.name] = max(0, dials - 1) }
        }
    }

    /// Whether enough connections were made to an agent of unknown version that one is worth spending on the question.
    func shouldAskVersion(of target: AgentTarget) -> Bool {
        known.withLock { known in
            guard known.version(of: target) == nil, known.dialsBeforeVersion[target.name, default: 0] >= Self.dialsBeforeAsking else {
                return false
            }
            known.dialsBeforeVersion[target.name] = 0
            return true
        }
    }

    func learn(version: String, of target: AgentTarget) {
        known.withLock {
            $0.versions[target.name] = (target.key, version)
            $0.dialsBeforeVersion[target.name] = nil
        }
    }

    private func milliseconds() -> UInt64 {
        let elapsed = clock.now - start
        return UInt64(elapsed.components.seconds) * 1_000 + UInt64(elapsed.components.attoseconds / 1_000_000_000_000_000)
    }
}

/// `cea` begins its version with its name; ctrl-exec's agents report a bare number.
func isCea(_ version: String) -> Bool { version.hasPrefix("cea") }
