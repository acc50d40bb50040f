// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When all faults have ended, within a stated bound: a leader, all members with the same state, and no request without its outcome.

import Consensus

package struct Convergence: Sendable {
    package struct View: Hashable, Sendable {
        package let member: MemberID
        package let isLeader: Bool
        package let term: Term
        package let applied: LogIndex
        package let hash: UInt64
        package init(member: MemberID, isLeader: Bool, term: Term, applied: LogIndex, hash: UInt64) {
            self.member = member
            self.isLeader = isLeader
            self.term = term
            self.applied = applied
            self.hash = hash
        }
    }
    package init() {}

    /// All faults ended `after` ago.
    package func mustHaveLeader(_ views: [View], after span: TimeSpan) throws(Broken) {
        let newest = views.map(\.term).max() ?? .zero
        guard !views.contains(where: { $0.isLeader && $0.term == newest }) else { return }
        throw Broken("Convergence", views.map(\.member), "\(span.milliseconds) ms after the last fault nobody leads")
    }

    package func mustAgree(_ views: [View], openRequests: [String], after span: TimeSpan) throws(Broken) {
        guard openRequests.isEmpty else {
            throw Broken(
                "Convergence", [],
                "\(span.milliseconds) ms after the last fault these requests have no outcome: \(openRequests.joined(separator: ", "))")
        }
        for view in views where view.applied != views[0].applied || view.hash != views[0].hash {
            throw Broken(
                "Convergence", [views[0].member, view.member],
                "\(span.milliseconds) ms after the last fault their states differ: index \(views[0].applied) and \(view.applied)")
        }
    }
}
