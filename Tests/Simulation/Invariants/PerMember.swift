// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One value for each member that there is one for. They are five at most, so that looking through them costs less than hashing a name, and
// some invariants ask after every step.

import Consensus

struct PerMember<Value: Sendable>: Sendable {
    private var members: [MemberID] = []
    private var values: [Value?] = []

    subscript(member: MemberID) -> Value? {
        get { members.firstIndex(of: member).flatMap { values[$0] } }
        _modify {
            let place = members.firstIndex(of: member) ?? members.count
            if place == members.count {
                members.append(member)
                values.append(nil)
            }
            yield &values[place]
        }
    }
}
