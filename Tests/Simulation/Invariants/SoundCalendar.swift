// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A leader whose calendar is off the middle of those that it knows dates nothing. What it can know takes a while to reach it, so that nothing
// is judged shortly after a calendar was changed. And what it has said itself binds it at once: from its line `clock-off` to `clock-agrees`, or to
// the end of its term, it wants nothing signed.

import Consensus

package struct SoundCalendar: Sendable {
    /// Samples are used for 5 s, and are under way for at most 2.
    private static let patience = TimeSpan.seconds(8)
    private static let tolerance: Int64 = 10
    /// Calendars are read in whole seconds, at different moments.
    private static let grain: Int64 = 3
    private var lastChange = TrueTime.zero
    /// The term in which a life has said that its calendar is off.
    private var off = PerMember<(life: Life, term: Term)>()
    package init() {}

    /// The leader of this term says that its calendar is off, or that it agrees again.
    package mutating func says(_ life: Life, in term: Term, isOff: Bool) { off[life.member] = isOff ? (life, term) : nil }

    /// It wants something signed.
    package func wantsSigned(_ life: Life, in term: Term) throws(Broken) {
        guard let said = off[life.member], said.life == life, said.term == term else { return }
        throw Broken("SoundCalendar", [life.member], "\(life) has something signed while it says that its calendar is off")
    }

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
