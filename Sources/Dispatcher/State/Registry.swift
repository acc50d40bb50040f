// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agents, and how each is reached.

import Consensus
import CtrlExec

/// An agent of the registry (protocol page, 14.3).
package struct AgentRecord: Hashable, Sendable {
    package var name: AgentName
    package var lookup: Reachability.Lookup
    package var address: String
    package var port: UInt16
    package var paired: WallClock
    package var reqid: Reqid
    package var certificateSerial: SerialNumber
    package var certificateNotAfter: WallClock
    /// Dispatcher serials that this agent has confirmed, oldest first.
    package var confirmedIdentities: [SerialNumber]
    /// When it last confirmed one, for people.
    package var confirmedAt: WallClock?
    /// Of the identities that are being retired: those that it was told to forget.
    package var forgottenIdentities: [SerialNumber]
    /// How it is told which serials to trust; nil: not found out yet.
    package var dialect: AgentDialect?
    /// What it said of itself when it was last asked for its capabilities.
    package var tags: AgentTags
    package init(
        name: AgentName, lookup: Reachability.Lookup, address: String, port: UInt16, paired: WallClock, reqid: Reqid,
        certificateSerial: SerialNumber, certificateNotAfter: WallClock, confirmedIdentities: [SerialNumber],
        confirmedAt: WallClock? = nil, forgottenIdentities: [SerialNumber] = [], dialect: AgentDialect? = nil, tags: AgentTags = .none
    ) {
        self.name = name
        self.lookup = lookup
        self.address = address
        self.port = port
        self.paired = paired
        self.reqid = reqid
        self.certificateSerial = certificateSerial
        self.certificateNotAfter = certificateNotAfter
        self.confirmedIdentities = confirmedIdentities
        self.confirmedAt = confirmedAt
        self.forgottenIdentities = forgottenIdentities
        self.dialect = dialect
        self.tags = tags
    }
}

struct Registry: Hashable, Sendable {
    static let limit = 10_000
    static let defaultPort: UInt16 = 7443

    private(set) var agents = SortedArrayMap<AgentName, AgentRecord>()

    init() {}
    init(agents: SortedArrayMap<AgentName, AgentRecord>) { self.agents = agents }

    func isFull(for name: AgentName) -> Bool { agents.count >= Registry.limit && agents[name] == nil }

    /// Pairing again under a name overwrites its record (protocol page, 7.10).
    mutating func record(_ agent: AgentRecord) { agents[agent.name] = agent }
    mutating func remove(_ name: AgentName) { agents[name] = nil }
    mutating func update(_ name: AgentName, _ body: (inout AgentRecord) -> Void) { _ = agents.update(name, body) }
    mutating func updateAll(_ body: (inout AgentRecord) -> Void) {
        for name in agents.keys { _ = agents.update(name, body) }
    }

    /// What the record would become, or why it cannot.
    func edited(_ name: AgentName, _ edit: AgentEdit) -> Result<AgentRecord, Refusal> {
        guard var agent = agents[name] else { return .failure(.unknownAgent(name)) }
        if let problem = edit.reachability.problem { return .failure(.invalid(problem)) }
        if let rename = edit.rename, rename != name {
            guard agents[rename] == nil else { return .failure(.agentNameTaken(rename)) }
            agent.name = rename
        }
        agent.lookup = edit.reachability.lookup ?? agent.lookup
        agent.address = edit.reachability.address ?? agent.address
        agent.port = edit.reachability.port ?? agent.port
        if agent.lookup == .ip, agent.address.isEmpty {
            return .failure(.invalid("agent \(name) has no address to be looked up by; give one with the edit"))
        }
        return .success(agent)
    }

    mutating func edit(_ name: AgentName, into agent: AgentRecord) {
        if agent.name != name { agents[name] = nil }
        agents[agent.name] = agent
    }
}

/// A failure as `Result` wants it.
extension Refusal: Error {}

extension Reachability {
    static let addressLimit = 45

    /// What is wrong with it, in words; nil if it can be used. An empty address means "none".
    var problem: String? {
        if let address, !address.isEmpty, !Reachability.isLiteral(address) {
            return "the address of an agent must be an IP literal of at most \(Reachability.addressLimit) bytes"
        }
        if port == 0 { return "port 0 cannot be dialled; use 1 to 65535" }
        return nil
    }

    /// Hexadecimal digits, dots and colons. Whether it can be dialled shows when it is dialled.
    static func isLiteral(_ text: String) -> Bool {
        guard (1...addressLimit).contains(text.utf8.count) else { return false }
        return text.utf8.allSatisfy {
            switch $0 {
            case 48...57, 65...70, 97...102, 46, 58: true
            default: false
            }
        }
    }

    /// Operator's value, then the submission's, then the default; who is looked up by address and gave none is reached where it came from.
    static func resolve(granted: Reachability, submission: PairingSubmission) -> (lookup: Lookup, address: String, port: UInt16) {
        func given(_ address: String?) -> String? { address.flatMap { $0.isEmpty ? nil : $0 } }
        let lookup = granted.lookup ?? submission.suggested.lookup ?? .hostname
        let address = given(granted.address) ?? given(submission.suggested.address) ?? (lookup == .ip ? submission.sourceAddress : "")
        return (lookup, address, granted.port ?? submission.suggested.port ?? Registry.defaultPort)
    }
}
