// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The dispatcher's identities. There may be several at a time; one is current. Which one an agent is shown depends on what it has confirmed.

import Consensus
import CtrlExec

/// A dispatcher certificate with its key.
package struct Identity: Hashable, Sendable {
    package enum Phase: String, Hashable, Sendable { case prepared, current, previous, retired, aborting, aborted }
    package let serial: SerialNumber
    package let certificate: [UInt8]
    package let key: SealedKey
    package let notAfter: WallClock
    package var phase: Phase
    package init(serial: SerialNumber, certificate: [UInt8], key: SealedKey, notAfter: WallClock, phase: Phase) {
        self.serial = serial
        self.certificate = certificate
        self.key = key
        self.notAfter = notAfter
        self.phase = phase
    }
}

/// The identities in the order in which they were made, oldest first.
struct Identities: Hashable, Sendable {
    private(set) var all: [Identity]

    init(genesis: Identity) { all = [genesis] }

    var current: Identity? { all.last { $0.phase == .current } }

    /// The newest identity that this agent has confirmed and that is still in use.
    func newest(confirmedBy agent: AgentRecord) -> Identity? {
        all.last { identity in
            switch identity.phase {
            case .prepared, .current, .previous: agent.confirmedIdentities.contains(identity.serial)
            case .retired, .aborting, .aborted: false
            }
        }
    }
}
