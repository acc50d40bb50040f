// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Nothing that a revoked certificate asks for changes anything, from the entry on that revoked it: whichever member carried it, whatever that
// one knew, and for ever.

import Consensus
import CtrlExec
import DispatcherState

package struct RevokedStaysOut: Sendable {
    private var revoked: Set<SerialNumber> = []
    package init() {}

    package mutating func revokes(_ serial: SerialNumber) { revoked.insert(serial) }

    /// The entry at `index` was applied; `changed`: it left the state otherwise than an entry of nothing would have.
    package func applied(_ principal: Principal, at index: LogIndex, outcome: Outcome, changed: Bool) throws(Broken) {
        guard case .operatorCertificate(let name, let serial) = principal, revoked.contains(serial), changed else { return }
        guard outcome != .refused(.notAllowed) else { return }
        throw Broken("RevokedStaysOut", [], "\(name)'s certificate \(serial) is revoked, and entry \(index) does what it asks: \(outcome)")
    }
}
