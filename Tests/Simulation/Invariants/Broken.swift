// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What an invariant says when it does not hold. Each invariant is a value in a file of its own, fed with plain facts, so that a test can feed
// it a history that must be refused.

import Consensus

package struct Broken: Error, Hashable, Sendable, CustomStringConvertible {
    /// The invariant's name: that of its type.
    package let invariant: String
    package let members: [MemberID]
    package let what: String
    package init(_ invariant: String, _ members: [MemberID], _ what: String) {
        self.invariant = invariant
        self.members = members
        self.what = what
    }
    package var description: String {
        "\(invariant) does not hold" + (members.isEmpty ? "" : " at \(members.map(\.name).joined(separator: ", "))") + ": \(what)"
    }
}

/// One life of a member: from a start of its process to the next.
package struct Life: Hashable, Sendable, CustomStringConvertible {
    package let member: MemberID
    package let number: Int
    package init(_ member: MemberID, _ number: Int) {
        self.member = member
        self.number = number
    }
    package var description: String { "\(member)#\(number)" }
}
