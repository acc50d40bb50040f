// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a person wants to see of a run: who was what when, who said what to whom, who held a lease, what was broken. Kept only if somebody asks
// for it; nothing in a run depends on it.

import Consensus

package final class Picture {
    package struct Arrow: Sendable {
        package let from: Int
        package let to: Int
        package let sent: TrueTime
        /// Nil: lost.
        package let arrives: TrueTime?
        package let words: String
    }
    package struct Mark: Sendable {
        /// Nil: of nobody in particular.
        package let member: Int?
        package let time: TrueTime
        package let words: String
    }
    package struct Bar: Sendable {
        package let member: Int
        package let from: TrueTime
        package var to: TrueTime
        package let words: String
    }
    package let members: [String]
    package private(set) var arrows: [Arrow] = []
    package private(set) var marks: [Mark] = []
    /// Roles with their terms; gaps are times without a process.
    package private(set) var roles: [Bar] = []
    package private(set) var leases: [Bar] = []
    package private(set) var faults: [Bar] = []
    package private(set) var violation: Mark?
    /// The newest arrows and marks only, so that a browser can bear it.
    private static let limit = 20_000

    init(members: [String]) { self.members = members }

    func says(_ from: Int, to: Int, at sent: TrueTime, arrives: [TrueTime], _ words: String) {
        if arrows.count >= 2 * Picture.limit { arrows.removeFirst(Picture.limit) }
        if arrives.isEmpty { arrows.append(Arrow(from: from, to: to, sent: sent, arrives: nil, words: words)) }
        for arrival in arrives { arrows.append(Arrow(from: from, to: to, sent: sent, arrives: arrival, words: words)) }
    }

    func notes(_ member: Int?, at time: TrueTime, _ words: String) {
        if marks.count >= 2 * Picture.limit { marks.removeFirst(Picture.limit) }
        marks.append(Mark(member: member, time: time, words: words))
    }

    /// Nil: its process is gone.
    func becomes(_ member: Int, _ role: String?, at time: TrueTime) {
        let open = roles.lastIndex { $0.member == member && $0.to == .never }
        if let open, roles[open].words == role { return }
        if let open { roles[open].to = time }
        if let role { roles.append(Bar(member: member, from: time, to: .never, words: role)) }
    }

    /// Its lease reaches to `end`, or is over at `now`.
    func holds(_ member: Int, term: Term, to end: TrueTime?, at now: TrueTime) {
        let last = leases.lastIndex { $0.member == member }
        guard let end else {
            if let last, leases[last].to > now { leases[last].to = now }
            return
        }
        if let last, leases[last].to >= now, leases[last].words == "lease in term \(term)" {
            leases[last].to = end
        } else {
            leases.append(Bar(member: member, from: now, to: end, words: "lease in term \(term)"))
        }
    }

    func breaks(_ member: Int, at time: TrueTime, for span: TimeSpan, _ words: String) {
        faults.append(Bar(member: member, from: time, to: time + span, words: words))
    }

    func fails(at time: TrueTime, _ broken: Broken) {
        violation = Mark(member: broken.members.first.flatMap { members.firstIndex(of: $0.name) }, time: time, words: "\(broken)")
    }
}
