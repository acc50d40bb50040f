// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Host arguments to agents that can be dialled (protocol page, 15.1). Only registered agents are: a name that is not in the registry fails
// the whole call before any connection.

import CtrlExec
import DispatcherState

/// One agent, with where to dial it and what to present.
package struct AgentTarget: Hashable, Sendable {
    /// The registry's name, by which results are keyed.
    package let name: AgentName
    /// A host name or an address.
    package let address: String
    package let port: UInt16
    /// Serials of dispatcher identities in the order in which they are presented: the newest that this agent has confirmed, then the
    /// others, newest first, each only after the agent has proved that nothing ran.
    package let identities: [SerialNumber]
    /// As which the state knows it; nil: what it accepts is of no interest.
    package let key: AgentKey?
    /// Its certificate is: it is not dialled.
    package let isRevoked: Bool

    package init(
        name: AgentName, address: String, port: UInt16, identities: [SerialNumber], key: AgentKey? = nil, isRevoked: Bool = false
    ) {
        self.key = key
        self.isRevoked = isRevoked
        self.name = name
        self.address = address
        self.port = port
        self.identities = identities
    }

    package struct UnknownAgents: Error, Hashable, Sendable {
        /// As they were given.
        package let names: [String]
    }

    /// `NAME` or `NAME:PORT`, in the order given, no agent twice.
    package static func resolve(_ hosts: [String], in state: DispatcherState) -> Result<[AgentTarget], UnknownAgents> {
        var targets: [AgentTarget] = []
        var unknown: [String] = []
        for host in hosts {
            let parts = host.utf8.split(separator: 58, omittingEmptySubsequences: false).map { String(decoding: Array($0), as: UTF8.self) }
            let explicitPort = parts.count == 2 ? UInt16(parts[1]) : nil
            guard parts.count == 1 || (parts.count == 2 && explicitPort ?? 0 > 0), let name = AgentName(parts[0]),
                let agent = state.agent(named: name)
            else {
                unknown.append(host)
                continue
            }
            guard !targets.contains(where: { $0.name == name }) else { continue }
            targets.append(
                AgentTarget(agent, identities: state.presentation(to: agent), port: explicitPort, isRevoked: state.isRevoked(agent)))
        }
        return unknown.isEmpty ? .success(targets) : .failure(UnknownAgents(names: unknown))
    }

    package init(_ agent: AgentRecord, identities: [SerialNumber], port: UInt16? = nil, isRevoked: Bool = false) {
        self.init(
            name: agent.name, address: agent.lookup == .ip && !agent.address.isEmpty ? agent.address : agent.name.text,
            port: port ?? agent.port, identities: identities, key: agent.key, isRevoked: isRevoked)
    }
}
