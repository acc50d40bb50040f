// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Members come and go. What is wanted stands in the state; the leader brings the configuration after it, one change at a time, and any later
// leader goes on. A newcomer learns first and votes once it has caught up. No change is proposed after which fewer voters would be reached
// than the new quorum needs: the cluster would stop at the very entry that it could then not take back.
//
// Who was removed is told, by whomever it still talks to, and leaves; what it says counts for nothing with those who know of it.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension Member {
    /// A learner that lacks no more entries than this has caught up: what is under way to everybody at a busy moment.
    package static let promotionLag: UInt64 = 64
    /// How often is looked whether a newcomer has caught up, or a member is reached again.
    private static let membershipInterval = TimeSpan.milliseconds(50)
    /// How often one that hears of no leader asks whether it is still a member.
    private static let standingInterval = TimeSpan.seconds(1)

    // MARK: What the leader does

    mutating func tendMembership(_ duties: inout Leadership, at now: Moment, consensus: inout [ConsensusEffect]) {
        if let index = duties.proposedChange, index <= state.appliedIndex { duties.proposedChange = nil }
        guard duties.proposedChange == nil, state.members.contains(where: { $0.phase != .staying }) else { return }
        // What is wanted is known as of the applied entries, so that the change must be one of them, too.
        if raft.configurationIndex <= state.appliedIndex, let next = nextConfiguration(at: now.instant) {
            duties.proposedChange = propose(.reconfigure(next), changing: next, at: now, consensus: &consensus)
        }
        if duties.proposedChange == nil { duties.nextDeadline = min(duties.nextDeadline, now.instant + Member.membershipInterval) }
    }

    /// The next step towards what is wanted; nil: there is none, or none now.
    private func nextConfiguration(at now: Instant) -> Configuration? {
        let current = raft.configuration
        // This member last, if it is among them: then somebody else leads.
        let leaving = state.members.filter { $0.phase == .leaving }.map(\.id)
        for id in leaving.filter({ $0 != settings.id }) + leaving.filter({ $0 == settings.id }) where current.members.contains(id) {
            guard let next = current.without(id) else { continue }
            if !current.isVoter(id) || isQuorumReached(of: next, at: now) { return next }
        }
        // One that was not in it yet, or no more: said once more, so that the state knows.
        if leaving.contains(where: { !current.members.contains($0) }) { return current }
        let joining = state.members.filter { $0.phase == .joining }.map(\.id)
        for id in joining where !current.members.contains(id) {
            if let next = Configuration(voters: current.voters, learners: current.learners + [id]) { return next }
        }
        for id in joining where current.learners.contains(id) && hasCaughtUp(id, at: now) {
            guard let next = Configuration(voters: current.voters + [id], learners: current.learners.filter { $0 != id }) else { continue }
            if isQuorumReached(of: next, at: now) { return next }
        }
        return nil
    }

    private func hasCaughtUp(_ learner: MemberID, at now: Instant) -> Bool {
        guard let match = raft.progress(of: learner)?.match, isReached(learner, at: now) else { return false }
        return match.position + Member.promotionLag >= raft.lastLogIndex.position
    }

    private func isQuorumReached(of configuration: Configuration, at now: Instant) -> Bool {
        configuration.voters.count { isReached($0, at: now) } >= configuration.quorum
    }

    /// Why this member may not be removed now; nil: it may, as far as can be seen from here.
    func removalProblem(_ id: MemberID, at now: Instant) -> String? {
        guard raft.configuration.isVoter(id), let next = raft.configuration.without(id), !isQuorumReached(of: next, at: now) else {
            return nil
        }
        let silent = next.voters.filter { !isReached($0, at: now) }.map(\.name)
        return
            "without \(id), \(next.voters.count - silent.count) of \(next.voters.count) voting members would answer and \(next.quorum) would "
            + "be needed: the cluster would stop; start \(silent.joined(separator: " and ")) first, or remove "
            + "\(silent.count == 1 ? "it" : "one of them") instead"
    }

    // MARK: Those who were removed

    /// An entry was applied that changed the configuration.
    mutating func configurationApplied(into effects: inout [Effect]) {
        for former in state.formerMembers where former.index == state.appliedIndex {
            if former.id == settings.id {
                leave(since: former.index, into: &effects)
            } else if raft.role == .leader {
                effects.append(Effect(.send(.removed(at: former.index), to: former.id)))
            }
        }
    }

    /// Somebody says that this member is none any more.
    mutating func toldRemoved(at index: LogIndex, into effects: inout [Effect]) {
        // What this member has applied itself it knows better.
        if state.appliedIndex >= index, state.formerMember(settings.id) == nil { return }
        leave(since: index, into: &effects)
    }

    private mutating func leave(since index: LogIndex, into effects: inout [Effect]) {
        guard !hasLeft else { return }
        hasLeft = true
        effects.append(Effect(.leave(since: index)))
    }

    /// One that does not vote is not asked for anything and asks for nothing: it would never hear that it was removed.
    mutating func askForStanding(at now: Moment, into effects: inout [Effect]) {
        guard isUncertain(at: now.instant), now.instant >= standingDue else { return }
        standingDue = now.instant + Member.standingInterval
        for member in acquaintances { effects.append(Effect(.send(.standingRequest, to: member))) }
    }

    /// When it asks, if nothing happens; nil: it has no reason to.
    var nextStandingRequest: Instant? {
        guard !raft.configuration.isVoter(settings.id), !hasLeft else { return nil }
        return raft.lastLeaderContact.map { max(standingDue, $0 + silenceSpan) } ?? standingDue
    }

    private func isUncertain(at now: Instant) -> Bool {
        guard let due = nextStandingRequest else { return false }
        return now >= due
    }

    private var silenceSpan: TimeSpan { settings.timing.promise + settings.timing.promise + settings.timing.promise }

    /// All others of whom this member knows, by whichever way; sorted.
    package var acquaintances: [MemberID] {
        var all: [MemberID] = []
        for id in raft.configuration.members + state.members.map(\.id) + settings.contacts where id != settings.id && !all.contains(id) {
            if state.formerMember(id) == nil { all.append(id) }
        }
        return all.sorted()
    }

    /// Whether a message counts with this member. One that was removed is told so, and is not listened to. A stranger is a member, as its
    /// certificate says, of whom this one has not heard yet: its log may be what this one lacks to hear of it.
    mutating func listens(to sender: MemberID, saying message: PeerMessage, into effects: inout [Effect]) -> Bool {
        guard sender != settings.id else { return false }
        if case .removed = message { return true }
        if let former = state.formerMember(sender) {
            effects.append(Effect(.send(.removed(at: former.index), to: sender)))
            return false
        }
        if raft.configuration.members.contains(sender) || state.member(sender) != nil || settings.contacts.contains(sender) { return true }
        switch message {
        case .consensus, .standingRequest: return true
        case .forward, .forwardAnswer, .reportRequest, .report, .holding, .observed, .tagsObserved, .removed: return false
        }
    }
}

extension Configuration {
    /// Nil if nobody would vote.
    fileprivate func without(_ id: MemberID) -> Configuration? {
        Configuration(voters: voters.filter { $0 != id }, learners: learners.filter { $0 != id })
    }
}
