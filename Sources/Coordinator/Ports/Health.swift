// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `/health`, `/ready`, `/leader`: what a load balancer asks. They need no certificate and no quorum.

import AgentLink
import Consensus
import CtrlExec
import Synchronization

extension PortFront {
    /// - `/health`: the process answers.
    /// - `/ready`: it has applied the commit that it first heard of and has heard from a leader within two promises.
    /// - `/leader`: it leads, under its lease.
    func health(_ endpoint: RouteName, glance: MemberGlance) -> PortResponse {
        let good =
            switch endpoint {
            case .ready: glance.isReady
            case .leader: glance.holdsLease
            default: true
            }
        let error =
            switch endpoint {
            case .ready: "not ready"
            default: "not the leader"
            }
        return PortResponse(
            good ? 200 : 503,
            .record([
                "ok": .boolean(good), "error": good ? nil : .text(error), "member": .text(glance.member.name), "version": .text(version),
                "leader": endpoint == .health ? nil : glance.leader.map { .text($0.name) } ?? .null,
                "term": endpoint == .health ? nil : .count(glance.term.number),
            ]))
    }
}

/// Whether the member was ready at any time since the process began. Set once, never unset.
package final class ServedOnce: Sendable {
    private let flag = Atomic<Bool>(false)
    package init() {}
    package func mark() { flag.store(true, ordering: .relaxed) }
    package var isMarked: Bool { flag.load(ordering: .relaxed) }
}
