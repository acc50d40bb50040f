// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How the members are, gathered by whichever of them is asked.

import Consensus
import CtrlExec
import DispatcherState
import Wire

struct Gathering: Hashable, Sendable {
    let ticket: Ticket
    let number: UInt64
    let deadline: Instant
    var reports: [MemberReport]
}

extension Member {
    package func report(at now: Moment) -> MemberReport {
        var peers: [PeerContact] = []
        for member in raft.configuration.members where member != settings.id {
            guard let progress = raft.progress(of: member) else { continue }
            peers.append(
                PeerContact(
                    member: member, match: progress.match,
                    lastAnswerMilliseconds: progress.lastAnswer.map { now.instant.since($0).milliseconds }))
        }
        return MemberReport(
            member: settings.id, version: settings.version, role: raft.role, term: raft.term, leader: raft.leader,
            lastLogIndex: raft.lastLogIndex, commitIndex: raft.commitIndex, appliedIndex: state.appliedIndex, stateHash: state.stateHash,
            isReady: isReady(at: now.instant),
            leaderContactMilliseconds: raft.lastLeaderContact.map { now.instant.since($0).milliseconds }, peers: peers,
            knows: settings.knows, calendar: now.wallClock, facts: facts)
    }

    mutating func gatherReports(deadline: Instant, _ ticket: Ticket, at now: Moment, into effects: inout [Effect]) {
        guard gatherings.count < Member.callLimit else {
            effects.append(Effect(.reply(.overloaded, ticket)))
            return
        }
        let number = takeNumber()
        gatherings.append(Gathering(ticket: ticket, number: number, deadline: deadline, reports: [report(at: now)]))
        for member in raft.configuration.members where member != settings.id {
            effects.append(Effect(.send(.reportRequest(number: number), to: member)))
        }
    }

    mutating func gathered(_ number: UInt64, _ report: MemberReport, from sender: MemberID) {
        guard report.member == sender, let position = gatherings.firstIndex(where: { $0.number == number }),
            !gatherings[position].reports.contains(where: { $0.member == sender })
        else { return }
        gatherings[position].reports.append(report)
    }

    mutating func advanceGatherings(at now: Moment, into effects: inout [Effect]) {
        let everybody = raft.configuration.members.count
        func isOver(_ gathering: Gathering) -> Bool { gathering.reports.count >= everybody || now.instant >= gathering.deadline }
        for gathering in gatherings where isOver(gathering) {
            effects.append(Effect(.reply(.reports(gathering.reports.sorted { $0.member < $1.member }), gathering.ticket)))
        }
        gatherings.removeAll(where: isOver)
    }
}
