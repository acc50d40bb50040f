// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A token lets one key in, whoever else shows it; an id is given to one key, and never again once its member was removed.

import Consensus
import CtrlExec
import DispatcherState

package struct TokenOnce: Sendable {
    private var keys: [MemberID: [UInt8]] = [:]
    private var removed: Set<MemberID> = []
    package init() {}

    /// An admission took effect, or was answered as one that did.
    package mutating func admits(_ member: MemberID, _ publicKey: [UInt8], at index: LogIndex) throws(Broken) {
        if let known = keys[member], known != publicKey {
            throw Broken("TokenOnce", [member], "entry \(index) lets a second key in as member \(member)")
        }
        keys[member] = publicKey
    }

    package mutating func invites(_ member: MemberID, at index: LogIndex) throws(Broken) {
        if keys[member] != nil || removed.contains(member) {
            throw Broken("TokenOnce", [member], "entry \(index) gives the id \(member) again")
        }
    }

    package mutating func removes(_ member: MemberID) { removed.insert(member) }
}
