// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The whole member as a value. SEAM: this file fixes the outward face; the room's builder fills it.

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct Member: Sendable {
    package private(set) var state: DispatcherState
    package private(set) var raft: LeaseRaft

    package init(
        genesis: GenesisState, configuration: Configuration, recovered: Recovered, settings: MemberSettings, seed: UInt64, now: Moment
    ) {
        fatalError("seam")
    }
    package mutating func handle(_ event: Event, at now: Moment, into effects: inout [Effect]) { fatalError("seam") }
    /// When `.tick` is due next.
    package var nextDeadline: Instant { fatalError("seam") }
    /// `/leader`: an established leader under its lease.
    package func holdsLease(at now: Instant) -> Bool { fatalError("seam") }
    /// `/ready`: has applied the commit that it first heard of, and heard from a leader within two promises.
    package func isReady(at now: Instant) -> Bool { fatalError("seam") }
    package func report(at now: Instant) -> MemberReport { fatalError("seam") }
}
