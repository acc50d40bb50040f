// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Every right to do something outside the log has a token, (incarnation, index), greater than all before it, also those of earlier
// incarnations; and what counts was done under the newest token of its obligation.

import Consensus
import CtrlExec
import DispatcherState

package struct FencingTokens: Sendable {
    package struct Token: Comparable, Hashable, Sendable, CustomStringConvertible {
        package let incarnation: UInt64
        package let index: LogIndex
        package init(incarnation: UInt64, index: LogIndex) {
            self.incarnation = incarnation
            self.index = index
        }
        package static func < (left: Token, right: Token) -> Bool {
            left.incarnation == right.incarnation ? left.index < right.index : left.incarnation < right.incarnation
        }
        package var description: String { "(\(incarnation), \(index))" }
    }
    private struct Grant: Sendable {
        let token: Token
        let serial: SerialNumber
    }
    private var newest: Token?
    private var grants: [ObligationID: Grant] = [:]
    package init() {}

    /// The right to sign `serial` for this obligation.
    package mutating func grants(_ token: Token, _ obligation: ObligationID, _ serial: SerialNumber) throws(Broken) {
        if let newest, token <= newest {
            throw Broken("FencingTokens", [], "the right to sign \(serial) has the token \(token), and \(newest) was given before")
        }
        newest = token
        grants[obligation] = Grant(token: token, serial: serial)
    }

    /// A result was applied and counts.
    package func counts(_ obligation: ObligationID, _ serial: SerialNumber) throws(Broken) {
        guard let grant = grants[obligation], grant.serial == serial else {
            let newest = grants[obligation].map { "the newest token, \($0.token), is for \($0.serial)" } ?? "it was never granted"
            throw Broken("FencingTokens", [], "\(serial) counts for obligation \(obligation.index): \(newest)")
        }
    }
}
