// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How agents are dialled, and what of it may change while they are: a call goes on with what held when it began.

import CtrlExec
import Synchronization

package struct AgentLinkConfiguration: Hashable, Sendable {
    /// Agents dialled at once by one call.
    package var maxParallel: Int
    /// How long an agent may be silent after a request.
    package var readTimeoutSeconds: Int64
    /// The source address of connections; nil: the system chooses. Fixed, because agents count connections by it.
    package let dialFrom: String?

    package init(
        maxParallel: Int = Limits.parallelHosts, readTimeoutSeconds: Int64 = Int64(Limits.readTimeoutSeconds), dialFrom: String? = nil
    ) {
        self.maxParallel = max(1, maxParallel)
        self.readTimeoutSeconds = readTimeoutSeconds
        self.dialFrom = dialFrom
    }
}

/// The configuration that is in force.
final class AgentLinkSettings: Sendable {
    private let value: Mutex<AgentLinkConfiguration>
    init(_ configuration: AgentLinkConfiguration) { value = Mutex(configuration) }
    var current: AgentLinkConfiguration { value.withLock { $0 } }
    func change(maxParallel: Int, readTimeoutSeconds: Int64) {
        value.withLock {
            $0 = AgentLinkConfiguration(maxParallel: maxParallel, readTimeoutSeconds: readTimeoutSeconds, dialFrom: $0.dialFrom)
        }
    }
}
