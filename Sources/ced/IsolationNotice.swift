// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member says of itself beside its answer when it has no leader: for people, on standard error, once in a command.

import CtrlExec
import Synchronization
import Transport

struct IsolationNotice {
    private let seconds: Int64
    /// When the member last heard from a leader, as its calendar says.
    private let asOf: String
    private static let isSaid = Atomic<Bool>(false)

    /// Nil: the member has a leader, or lost it less than a second ago, which is an election.
    init?(_ reply: HTTPReply) {
        guard let seconds = reply.header("X-Ced-Isolated").flatMap({ Int64($0) }), seconds > 0 else { return nil }
        self.seconds = seconds
        asOf = reply.header("X-Ced-As-Of") ?? "an unknown time"
    }

    func warn() {
        guard !Self.isSaid.exchange(true, ordering: .relaxed) else { return }
        Output.note("ced: no leader for \(Quantity.span(seconds: seconds)); registry as of \(asOf)")
    }
}
