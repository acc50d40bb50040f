// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How the cluster is, as one member sees it who has asked the others: their reports beside what the replicated state says of them. A value;
// `ClusterAdvice.swift` says what follows from it.

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct ClusterView: Sendable {
    /// One configured member.
    package struct MemberView: Sendable {
        package enum Standing: String, Hashable, Sendable {
            case voter
            /// It receives the log, and votes once it has caught up.
            case learner
            /// It has its certificate; the leader has not taken it in yet.
            case joining
            /// It goes as soon as the others are enough without it.
            case leaving
        }
        package let record: KnownMember
        package let standing: Standing
        /// Whether it counts towards the quorum; one on its way out does until it is gone.
        package let isVoter: Bool
        /// Nil: it did not answer in time.
        package let report: MemberReport?
        /// Entries that it lacks of the leader's log, as the leader sees it; failing a leader, of the longest commit; nil: not known.
        package let lag: UInt64?
        /// Milliseconds since it last answered the leader, or, of the leader, since a quorum last answered it; nil: not known.
        package let contactMilliseconds: UInt64?
        /// How many seconds its calendar is ahead of the middle of all; nil: not known.
        package let calendarAheadSeconds: Int64?
        /// Of the dispatcher's identities that are in use.
        package let holds: [SerialNumber]
        package let lacks: [SerialNumber]
        package var id: MemberID { record.id }
    }

    package struct Authority: Sendable {
        /// `the fleet CA`.
        package let name: String
        package let notAfter: WallClock
        package init(name: String, notAfter: WallClock) {
            self.name = name
            self.notAfter = notAfter
        }
    }

    package let state: DispatcherState
    /// Sorted by id.
    package let members: [MemberView]
    package let leader: MemberID?
    package let authorities: [Authority]
    package let now: WallClock

    /// - Parameters:
    ///   - state: what the member that was asked has applied.
    ///   - now: its calendar, by which certificates end.
    package init(state: DispatcherState, reports: [MemberReport], authorities: [Authority], now: WallClock) {
        self.state = state
        self.authorities = authorities
        self.now = now
        // A deposed leader may not know it yet.
        let leading = reports.filter { $0.role == .leader }.max { $0.term < $1.term }
        leader = leading?.member
        let commit = reports.map(\.commitIndex).max() ?? .zero
        let middle = ClusterView.middle(of: reports.compactMap { $0.calendar.map { ClusterView.difference($0, now) } })
        members = state.members.map { record in
            let report = reports.first { $0.member == record.id }
            let contact = leading?.peers.first { $0.member == record.id }
            var lag = contact.map { ClusterView.behind($0.match, leading?.lastLogIndex ?? .zero) }
            if let report, contact == nil { lag = ClusterView.behind(report.lastLogIndex, commit) }
            let isLeader = record.id == leading?.member
            let identities = state.identities.filter { !$0.isFinished }.map(\.serial)
            let isVoter = state.voters.contains(record.id)
            let isLearner = state.learners.contains(record.id)
            return MemberView(
                record: record, standing: record.phase == .leaving ? .leaving : isVoter ? .voter : isLearner ? .learner : .joining,
                isVoter: isVoter, report: report, lag: lag,
                contactMilliseconds: isLeader || leading == nil ? report?.leaderContactMilliseconds : contact?.lastAnswerMilliseconds,
                calendarAheadSeconds: report?.calendar.flatMap { calendar in
                    middle.map { ClusterView.difference($0, ClusterView.difference(calendar, now)) }
                }, holds: identities.filter { state.holds(record.id, $0) }, lacks: identities.filter { !state.holds(record.id, $0) })
        }
    }

    package var reachable: [MemberView] { members.filter { $0.report != nil } }
    package var voters: [MemberView] { members.filter(\.isVoter) }
    package var reachableVoters: [MemberView] { reachable.filter(\.isVoter) }
    package var quorum: Int { voters.count / 2 + 1 }
    /// How many more members may fail.
    package var failuresSurvived: Int { max(0, reachableVoters.count - quorum) }

    /// Of an even number the lower of the two: which half is right nobody knows.
    private static func middle(of leads: [Int64]) -> Int64? {
        leads.isEmpty ? nil : leads.sorted()[(leads.count - 1) / 2]
    }

    private static func behind(_ index: LogIndex, _ end: LogIndex) -> UInt64 { end.position - min(index.position, end.position) }

    /// Sticks at the ends: a calendar comes from another machine and may say anything.
    private static func difference(_ left: WallClock, _ right: WallClock) -> Int64 {
        difference(right.secondsSince1970, left.secondsSince1970)
    }

    /// From the first to the second.
    private static func difference(_ from: Int64, _ to: Int64) -> Int64 {
        let (difference, overflow) = to.subtractingReportingOverflow(from)
        return overflow ? (to < from ? .min : .max) : difference
    }
}
