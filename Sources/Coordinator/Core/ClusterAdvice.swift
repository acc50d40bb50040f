// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is not well, and what to do about it: one line each, for a person who was called out of bed. A pure function of the view, so that
// every line has a test; what is well says nothing.

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct ClusterAdvice: Hashable, Sendable {
    package enum Level: String, Hashable, Sendable {
        /// The cluster does not do its work, or does it wrongly.
        case alarm
        /// It works, and will not if nothing is done.
        case warning
        /// To be known.
        case note
    }
    package let level: Level
    /// Whom it concerns; nil: the cluster.
    package let member: MemberID?
    package let text: String
}

extension ClusterView {
    /// A file system with less room is nearly full.
    static let scarceBytes: UInt64 = 1 << 30
    /// A follower this far behind is not just a moment late.
    static let longLag: UInt64 = 1_000
    /// Silence of so long is no election.
    static let longSilenceMilliseconds: UInt64 = 3_000
    static let memberCertificateDays: Int64 = 30
    /// A rotation begins by itself 90 days before; if it has not come to its end by now, something keeps it.
    static let identityDays: Int64 = 60
    static let authorityDays: Int64 = 365
    static let daySeconds: Int64 = 86_400

    /// The worst first; of equal ones, members in their order.
    package var advice: [ClusterAdvice] {
        var all: [ClusterAdvice] = []
        func add(_ level: ClusterAdvice.Level, _ member: MemberID? = nil, _ text: String) {
            all.append(ClusterAdvice(level: level, member: member, text: text))
        }
        adviseOnWork(add)
        for member in members { advise(on: member, add) }
        adviseOnCalendars(add)
        adviseOnCertificates(add)
        adviseOnRotation(add)
        let levels: [ClusterAdvice.Level] = [.alarm, .warning, .note]
        return levels.flatMap { level in all.filter { $0.level == level } }
    }

    private typealias Add = (ClusterAdvice.Level, MemberID?, String) -> Void

    // MARK: The cluster

    private func adviseOnWork(_ add: Add) {
        let missing = voters.filter { $0.report == nil }.map(\.id.name)
        let count = reachableVoters.count
        if count < quorum {
            add(
                .alarm, nil,
                "\(count) of \(voters.count) members \(count == 1 ? "answers" : "answer") and \(quorum) are needed: "
                    + "pairing, rotation and all else that must happen once waits; start \(list(missing))")
        } else if leader == nil {
            add(
                .alarm, nil,
                "no member leads; an election takes less than a second, so if this stays, the members do not reach each other on their peer "
                    + "port (7446), or cannot write their journals: see their logs")
        }
        for group in differingStates() {
            add(
                .alarm, nil,
                "\(list(group.members)) have applied the same \(group.index) entries and differ: this must never happen; change nothing more, "
                    + "keep a copy of their state directories, and report it")
        }
        let versions = reachable.compactMap { $0.report?.version }
        if let first = versions.first, versions.contains(where: { $0 != first }) {
            let said = reachable.compactMap { member in member.report.map { "\(member.id) \($0.version)" } }
            add(.note, nil, "versions differ (\(said.joined(separator: ", "))): bring all members to the same one")
        }
        let next = state.machineVersion.next
        if reachable.contains(where: { $0.report?.knows.map { $0 >= next } ?? false }), let reason = whatHoldsBack(next) {
            add(.note, nil, "the cluster follows version \(state.machineVersion) of its rules and could follow \(next): \(reason)")
        }
    }

    /// Why the rules of this version are not in force, by member; nil: nobody is known who keeps them from it.
    package func whatHoldsBack(_ version: MachineVersion) -> String? {
        var reasons: [String] = []
        // Those that take part; whoever leaves or has not come yet is not asked.
        for member in members where state.voters.contains(member.id) || state.learners.contains(member.id) {
            guard let report = member.report else {
                reasons.append("member \(member.id) does not answer, and every member must say that it can")
                continue
            }
            guard let known = report.knows else {
                reasons.append("member \(member.id) does not say what it can follow, as older releases do not")
                continue
            }
            guard known < version else { continue }
            reasons.append("member \(member.id) follows version \(known) at most (an older release, or hold_version in its ced.conf)")
        }
        return reasons.isEmpty ? nil : reasons.joined(separator: "; ")
    }

    /// Members that stand at the same entry with different hashes.
    private func differingStates() -> [(index: LogIndex, members: [String])] {
        var found: [(index: LogIndex, members: [String])] = []
        for member in reachable {
            guard let report = member.report, !found.contains(where: { $0.index == report.appliedIndex }) else { continue }
            let same = reachable.filter { $0.report?.appliedIndex == report.appliedIndex }
            if same.contains(where: { $0.report?.stateHash != report.stateHash }) {
                found.append((report.appliedIndex, same.map(\.id.name)))
            }
        }
        return found
    }

    // MARK: A member

    private func advise(on member: MemberView, _ add: Add) {
        adviseOnStanding(of: member, add)
        guard let report = member.report else {
            let since =
                member.contactMilliseconds.map { ", last heard of \(Quantity.span(seconds: Int64(clamping: $0 / 1_000))) ago" } ?? ""
            return add(
                .warning, member.id,
                "member \(member.id) (\(member.record.address)) does not answer\(since): start ced there, or see why the address is not "
                    + "reached; if its disk is lost, it must not come back under its old id")
        }
        let silence = report.leaderContactMilliseconds
        if let leader, leader != member.id, silence.map({ $0 > Self.longSilenceMilliseconds }) ?? true {
            let since = silence.map { "for \(Quantity.span(seconds: Int64(clamping: $0 / 1_000)))" } ?? "since it started"
            add(
                .warning, member.id,
                "member \(member.id) has not heard from the leader \(leader) \(since), though it answers: what \(leader) sends to "
                    + "\(member.record.address) is lost on the way (a firewall that lets one direction through?)")
        } else if leader != nil, !report.isReady {
            add(.note, member.id, "member \(member.id) has not caught up since it started, and serves nothing until it has: wait")
        }
        if let lag = member.lag, lag > Self.longLag {
            add(
                .warning, member.id, "member \(member.id) is \(lag) entries behind: its disk or its network is slow, or it has just started"
            )
        }
        if let disk = report.facts.disk, disk.freeBytes < Self.scarceBytes {
            add(
                .warning, member.id,
                "member \(member.id) has \(Quantity.size(bytes: disk.freeBytes)) left on the disk with its state directory: make room; one "
                    + "that cannot write its journal stops")
        }
        if let end = report.facts.certificateNotAfter, let left = ending(end, within: Self.memberCertificateDays) {
            add(
                .warning, member.id,
                "member \(member.id)'s own certificate \(left): operators' commands will refuse it; put a new member in its place in time")
        }
        if case .failing(let problem) = report.facts.projection {
            add(.warning, member.id, "member \(member.id) does not keep its files up to date: \(problem)")
        }
        if report.facts.keptAside > 0 {
            let count = report.facts.keptAside
            add(
                .note, member.id,
                "member \(member.id) keeps \(count) \(count == 1 ? "file" : "files") that somebody had changed by hand, "
                    + "\(count == 1 ? "" : "the last ")\(report.facts.keptAsideExample): edits there have no effect; look at it, then remove it"
            )
        }
    }

    private func adviseOnStanding(of member: MemberView, _ add: Add) {
        switch member.standing {
        case .voter: break
        case .learner:
            add(.note, member.id, "member \(member.id) learns and does not vote yet: it will once it has caught up and is reached")
        case .joining:
            add(.note, member.id, "member \(member.id) has its certificate and is not taken in yet: that needs a leader")
        case .leaving:
            let others = voters.filter { $0.id != member.id }
            let silent = others.filter { $0.report == nil }.map(\.id.name)
            if member.isVoter, others.count - silent.count < others.count / 2 + 1 {
                add(
                    .warning, member.id,
                    "member \(member.id) is to leave, and stays because too few would answer without it: start \(list(silent))")
            } else {
                add(.note, member.id, "member \(member.id) is on its way out: that takes a moment")
            }
        }
    }

    private func adviseOnCalendars(_ add: Add) {
        let known = reachable.filter { $0.calendarAheadSeconds != nil }
        let off = known.filter { ($0.calendarAheadSeconds?.magnitude ?? 0) > UInt64(PeerClocks.tolerance) }
        if known.count == 2, let first = known.first, let second = known.last, let apart = (off.first?.calendarAheadSeconds)?.magnitude {
            return add(
                .warning, nil,
                "the clocks of \(first.id) and \(second.id) are \(Quantity.span(seconds: Int64(clamping: apart))) apart: set the wrong one "
                    + "(chronyc makestep, timedatectl set-time)")
        }
        for member in off {
            guard let ahead = member.calendarAheadSeconds else { continue }
            let span = Quantity.span(seconds: Int64(clamping: ahead.magnitude))
            add(
                .warning, member.id,
                "member \(member.id)'s clock is \(span) \(ahead > 0 ? "ahead of" : "behind") the others': set it (chronyc makestep, timedatectl "
                    + "set-time); until then it signs nothing and hands leadership on")
        }
    }

    // MARK: Certificates

    private func adviseOnCertificates(_ add: Add) {
        for authority in authorities {
            if let left = ending(authority.notAfter, within: Self.authorityDays) {
                add(
                    .warning, nil,
                    "\(authority.name) \(left), and no certificate outlives its CA: plan the cluster that takes over from this one")
            }
        }
        if let current = state.currentIdentity, let left = ending(current.notAfter, within: Self.identityDays) {
            let advice = state.rotation == nil ? "replace it: ced rotate-cert" : "its replacement is under way: ced serial-status"
            add(.warning, nil, "the dispatcher's certificate \(left): \(advice)")
        }
    }

    /// `ends in 20 days`, `ended 3 days ago`; nil: not within so many days.
    private func ending(_ end: WallClock, within days: Int64) -> String? {
        let (left, overflow) = end.secondsSince1970.subtractingReportingOverflow(now.secondsSince1970)
        guard !overflow, left < days * Self.daySeconds else { return nil }
        return left < 0 ? "ended \(Quantity.span(seconds: Int64(clamping: left.magnitude))) ago" : "ends in \(Quantity.span(seconds: left))"
    }

    // MARK: Rotation

    private func adviseOnRotation(_ add: Add) {
        for member in members {
            for serial in member.lacks {
                let serial = serial.hexadecimal
                if member.report == nil {
                    add(
                        .note, member.id,
                        "member \(member.id) does not hold the dispatcher's certificate \(serial): it gets it when it is back")
                } else {
                    add(
                        .note, member.id,
                        "member \(member.id) does not hold the dispatcher's certificate \(serial): if that stays so, its log says why "
                            + "(ACTION=identity-unusable)")
                }
            }
        }
        for identity in state.identities {
            guard let wait = state.retirementWait(of: identity), wait.milliseconds == 0 else { continue }
            var whom = wait.members.isEmpty ? [] : ["\(wait.members.count == 1 ? "member" : "members") \(list(wait.members.map(\.name)))"]
            if !wait.agents.isEmpty { whom.append("\(wait.agents.count) \(wait.agents.count == 1 ? "agent" : "agents")") }
            if whom.isEmpty { continue }
            add(
                .note, nil,
                "the end of the dispatcher's certificate \(identity.serial.hexadecimal) waits for \(list(whom)): bring them back, or unpair "
                    + "agents that are gone (ced serial-status names them)")
        }
        let stale = state.agents.count { state.serialStatus(of: $0, now: now) == .stale }
        if stale > 0 {
            add(
                .warning, nil,
                "\(stale) \(stale == 1 ? "agent trusts" : "agents trust") no certificate that can be presented any more: pair "
                    + "\(stale == 1 ? "it" : "them") again (ced serial-status names \(stale == 1 ? "it" : "them"))")
        }
    }

    /// `a`, `a and b`, `a, b and c`.
    private func list(_ names: [String]) -> String {
        guard let last = names.last, names.count > 1 else { return names.first ?? "" }
        return names.dropLast().joined(separator: ", ") + " and " + last
    }
}
