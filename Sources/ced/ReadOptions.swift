// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How fresh a read must be, and what is said of one that may be old.

import ArgumentParser
import CtrlExec
import Transport

/// Options of commands that only read the cluster's state.
struct ReadOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "linearizable: as of now, whichever member is asked. lease: from the leader's memory, under its lease. stale: what the member "
                + "has, with its age; also without a leader.", valueName: "how"))
    var consistency = Consistency.linearizable

    enum Consistency: String, Hashable, Sendable, ExpressibleByArgument, CaseIterable {
        case linearizable, lease, stale
    }
}

/// What a member said of the state from which it answered.
struct ReadAge: Hashable, Sendable {
    /// Who answered.
    let member: String
    /// Since it last heard from a leader; nil: not since it started.
    let milliseconds: UInt64?
    let appliedIndex: String

    init(_ reply: HTTPReply) {
        member = reply.header("X-Ced-Member") ?? "unknown"
        milliseconds = reply.header("X-Ced-Age-Ms").flatMap { UInt64($0) }
        appliedIndex = reply.header("X-Ced-Applied-Index") ?? "unknown"
    }

    var note: String {
        guard let milliseconds else { return "stale: member \(member) has not heard from a leader since it started" }
        let seconds = "\(milliseconds / 1_000).\(milliseconds % 1_000 / 100)"
        return "stale: as member \(member) knew it \(seconds) s ago (index \(appliedIndex))"
    }
}
