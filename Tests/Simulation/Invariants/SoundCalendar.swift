// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A leader whose calendar is off the middle of those that it knows dates nothing. What it can know takes a while to reach it, so that nothing
// is judged shortly after a calendar was changed.

import Consensus

package struct SoundCalendar: Sendable {
    /// Samples are used for 5 s, and are under way for at most 2.
    private static let patience = TimeSpan.seconds(8)
    private static let tolerance: Int64 = 10
    /// Calendars are read in whole seconds, at different moments.
    private static let grain: Int64 = 3
    private var lastChange = TrueTime.zero
    package init() {}

    package mutating func changed(at now: TrueTime) { lastChange = max(lastChange, now) }

    /// - Parameters:
    ///   - own: by how many seconds the signer's calendar is off the true one.
    ///   - others: the same of the members that answered it a moment ago.
    package func dates(_ life: Life, own: Int64, others: [Int64], at now: TrueTime) throws(Broken) {
        guard now.since(lastChange) > SoundCalendar.patience else { return }
        let leads = (others.map { $0 - own } + [0]).sorted()
        var middle = leads[leads.count / 2]
        if leads.count % 2 == 0, leads[leads.count / 2 - 1].magnitude <= middle.magnitude { middle = leads[leads.count / 2 - 1] }
        guard middle.magnitude > UInt64(SoundCalendar.tolerance + SoundCalendar.grain) else { return }
        throw Broken("SoundCalendar", [life.member], "it has something signed with a calendar that is \(middle) s off the others'")
    }
}
