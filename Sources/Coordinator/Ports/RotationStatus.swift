// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How the rotation stands, in JSON: the identities with who holds them and for whom their end waits, and every agent with what it trusts.

import AgentLink
import Consensus
import CtrlExec
import DispatcherState

/// Agents named in one answer; the count is always whole.
private let namedAgentsLimit = 100

func rotationShape(_ state: DispatcherState, now: Int64) -> JSONValue {
    let statuses = state.agents.map { state.serialStatus(of: $0, now: WallClock(secondsSince1970: now)) }
    return .record([
        "newest": state.newestIdentity.map { .text($0.serial.hexadecimal) } ?? .null,
        "current": state.currentIdentity.map { .text($0.serial.hexadecimal) } ?? .null,
        "rotation": state.rotation.map(shape) ?? .null, "identities": .array(state.identities.map { shape($0, state) }),
        "members": .array(
            state.members.map { member in
                .record([
                    "member": .text(member.id.name),
                    "holds": .array(
                        state.identities.filter { state.holds(member.id, $0.serial) }.map { .text($0.serial.hexadecimal) }),
                    "lacks": .array(
                        state.identities.filter { !$0.isFinished && !state.holds(member.id, $0.serial) }.map {
                            .text($0.serial.hexadecimal)
                        }),
                ])
            }),
        "counts": .object(
            members: SerialStatus.allCases.map { status in JSONValue.Member(status.rawValue, .count(statuses.count { $0 == status })) }),
        "agents": .array(
            zip(state.agents, statuses).map { agent, status in
                .record([
                    "hostname": .text(agent.name.text), "serial_status": .text(status.rawValue),
                    "dispatcher_serial": .text(state.presentation(to: agent).first?.hexadecimal ?? ""),
                    "trusts": .array(agent.confirmedIdentities.map { .text($0.hexadecimal) }),
                    "dialect": agent.dialect.map { .text($0.rawValue) } ?? .null,
                ])
            }),
    ])
}

private func shape(_ rotation: Rotation) -> JSONValue {
    var serial: SerialNumber?
    if case .prepared(let prepared) = rotation.stage { serial = prepared }
    return .record([
        "stage": .text(serial == nil ? "making" : "prepared"), "serial": serial.map { .text($0.hexadecimal) } ?? .null,
        "overlap_seconds": .count(rotation.overlapMilliseconds / 1_000), "compromised": .boolean(rotation.isCompromised),
        "started": .text(ISO8601Time.text(unixSeconds: rotation.startedAt.secondsSince1970)),
    ])
}

private func shape(_ identity: Identity, _ state: DispatcherState) -> JSONValue {
    .record([
        "serial": .text(identity.serial.hexadecimal), "phase": .text(identity.phase.rawValue),
        "expiry": .text(OpenSSLTime.text(unixSeconds: identity.notAfter.secondsSince1970)),
        "holders": .array((state.use(of: identity.serial)?.holders ?? []).map { .text($0.name) }),
        "waits": state.retirementWait(of: identity).map { wait in
            .record([
                "seconds": .count((wait.milliseconds + 999) / 1_000), "members": .array(wait.members.map { .text($0.name) }),
                "agents": .array(wait.agents.prefix(namedAgentsLimit).map { .text($0.text) }), "agents_count": .count(wait.agents.count),
            ])
        } ?? .null,
    ])
}
