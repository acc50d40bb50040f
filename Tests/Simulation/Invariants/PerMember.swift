// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One value for each member that there is one for. They are five at most, so that looking through them costs less than hashing a name, and
// some invariants ask after every step.

import Consensus

struct PerMember<Value: Sendable>: Sendable {
    private var names: [String] = []
    private var values: [Value?] = []

    subscript(member: MemberID) -> Value? {
        get { place(of: member.name).flatMap { values[$0] } }
        _modify {
            let place = place(of: member.name) ?? names.count
            if place == names.count {
                names.append(member.name)
                values.append(nil)
            }
            yield &values[place]
        }
    }

    /// Names are compared here, where the compiler sees through it; a member's own `==` is one call more for each.
    private func place(of name: String) -> Int? {
        for place in names.indices where names[place] == name { return place }
        return nil
    }
}
