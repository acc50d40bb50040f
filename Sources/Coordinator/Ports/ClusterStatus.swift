// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `GET /v1/status`: every member as it reports itself and as the leader sees it, what the cluster still survives, and what is to be done.
// Needs no leader: it is asked most when there is none.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import PKI
import Transport
import Wire

extension PortFront {
    /// How long members are waited for; one that is down must not make the table slow.
    private static let reportWait: TimeSpan = .milliseconds(500)

    func status(timeout: TimeSpan) async -> PortResponse { .ok(statusShape(await view(timeout: timeout))) }

    func view(timeout: TimeSpan) async -> ClusterView {
        let reports = await member.reports(timeout: min(timeout, Self.reportWait))
        let state = await member.appliedState()
        return ClusterView(
            state: state, reports: reports, authorities: authorities(of: state.genesis),
            now: WallClock(secondsSince1970: wallClockSeconds()))
    }

    private func authorities(of genesis: GenesisState) -> [ClusterView.Authority] {
        [("the fleet CA", genesis.fleetCA), ("the cluster CA", genesis.clusterCA)].compactMap { name, authority in
            // Read once already, when the member opened its keys.
            guard let certificate = try? Certificate(der: authority.certificate) else { return nil }
            return ClusterView.Authority(name: name, notAfter: WallClock(secondsSince1970: certificate.notAfter))
        }
    }
}

func statusShape(_ view: ClusterView) -> JSONValue {
    let identity = view.state.currentIdentity.map { ClusterView.Authority(name: "the dispatcher", notAfter: $0.notAfter) }
    let advice = view.advice.map { advice in
        JSONValue.record([
            "level": .text(advice.level.rawValue), "member": advice.member.map { .text($0.name) } ?? .null, "text": .text(advice.text),
        ])
    }
    return .record([
        "cluster": .text(view.state.genesis.cluster.description), "dispatcher_id": .text(view.state.genesis.dispatcherID.text),
        "members": .array(view.members.map(memberShape)), "leader": view.leader.map { .text($0.name) } ?? .null,
        "voters": .count(view.voters.count), "quorum": .count(view.quorum), "reachable": .count(view.reachableVoters.count),
        "failures_survived": .count(view.failuresSurvived), "agents": .count(view.state.agents.count),
        "certificates": .array((view.authorities + (identity.map { [$0] } ?? [])).map(authorityShape)),
        "invitations": .array(invitationShapes(view.state)), "former_members": .array(view.state.formerMembers.map(formerShape)),
        "machine_version": .count(UInt64(view.state.machineVersion.number)), "advice": .array(advice),
    ])
}

private func authorityShape(_ authority: ClusterView.Authority) -> JSONValue {
    .record([
        "name": .text(authority.name), "expiry": .text(OpenSSLTime.text(unixSeconds: authority.notAfter.secondsSince1970)),
    ])
}

/// One member's line; of one that did not answer in time there is what the state and the leader know of it.
private func memberShape(_ member: ClusterView.MemberView) -> JSONValue {
    let known: JSONValue = .record([
        "member": .text(member.id.name), "address": .text(member.record.address), "standing": .text(member.standing.rawValue),
        "reachable": .boolean(member.report != nil),
        "lag": member.lag.map { .count($0) } ?? .null, "contact_ms": member.contactMilliseconds.map { .count($0) } ?? .null,
        "holds": .array(member.holds.map { .text($0.hexadecimal) }), "lacks": .array(member.lacks.map { .text($0.hexadecimal) }),
    ])
    guard let report = member.report else { return known }
    return known.with([
        "role": .text(roleText(report.role)), "term": .count(report.term.number), "leader": report.leader.map { .text($0.name) } ?? .null,
        "last": .count(report.lastLogIndex.position), "commit": .count(report.commitIndex.position),
        "applied": .count(report.appliedIndex.position), "state_hash": .text(String(report.stateHash, radix: 16)),
        "ready": .boolean(report.isReady), "leader_contact_ms": report.leaderContactMilliseconds.map { .count($0) } ?? .null,
        "version": .text(report.version), "knows_version": report.knows.map { .count(UInt64($0.number)) } ?? .null,
        "clock_ahead_seconds": member.calendarAheadSeconds.map { .integer($0) } ?? .null,
        "certificate_expiry": report.facts.certificateNotAfter.map { .text(OpenSSLTime.text(unixSeconds: $0.secondsSince1970)) } ?? .null,
        "disk_free_bytes": report.facts.disk.map { .count($0.freeBytes) } ?? .null,
        "disk_bytes": report.facts.disk.map { .count($0.totalBytes) } ?? .null, "projection": projectionShape(report.facts),
    ])
}

private func projectionShape(_ facts: MemberFacts) -> JSONValue {
    let (state, problem): (String, String?) =
        switch facts.projection {
        case .off: ("off", nil)
        case .waiting: ("waiting", nil)
        case .following: ("following", nil)
        case .failing(let problem): ("failing", problem)
        }
    return .record([
        "state": .text(state), "problem": problem.map { .text($0) } ?? .null, "kept_aside": .count(Int(facts.keptAside)),
        "kept_aside_example": facts.keptAside == 0 ? .null : .text(facts.keptAsideExample),
    ])
}

private func roleText(_ role: Role) -> String {
    switch role {
    case .follower: "follower"
    case .preCandidate: "pre-candidate"
    case .candidate: "candidate"
    case .leader: "leader"
    }
}
