// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// From the applied state to files in ctrl-exec's field names and value forms (protocol page, 7.9, 14.3, 16.2): pure, and the same bytes for
// the same state on every member. JSON has its keys sorted.
//
// What follows an entry is derived from the entry (`projectionChange`), so that a registry of ten thousand agents is not walked when one of
// them confirms a certificate. Nothing of it is kept in the state: a log of changes would have to be bounded, and snapshots would have to
// agree on it.

import Consensus
import CtrlExec

extension DispatcherState {
    /// Every file, in order of path.
    /// - Parameter now: an agent that trusts nothing but certificates that are over is stale.
    package func projection(now: WallClock) -> [ProjectedFile] {
        let parts: [ProjectedPart] = [.certificates, .rotation, .everyAgent] + pairings.map { .pairing($0.submission.reqid) }
        let files = parts.flatMap { projection(of: $0, now: now) }.compactMap { state -> ProjectedFile? in
            if case .file(let file) = state { file } else { nil }
        }
        return files.sorted { $0.path < $1.path }
    }

    package func projection(of part: ProjectedPart, now: WallClock) -> [ProjectedPartState] {
        switch part {
        case .certificates:
            let authority = ProjectedPath(.configuration, "ca.crt")
            let dispatcher = ProjectedPath(.configuration, "dispatcher.crt")
            return [
                .file(ProjectedFile(path: authority, content: pem(genesis.fleetCA.certificate), mode: 0o644)),
                currentIdentity.map { .file(ProjectedFile(path: dispatcher, content: pem($0.certificate), mode: 0o644)) }
                    ?? .absent(dispatcher),
            ]
        case .rotation:
            let path = ProjectedPath(.data, "rotation.json")
            return [lastRotation.map { .file(file(path, rotationFile($0), mode: 0o640)) } ?? .absent(path)]
        case .agent(let name):
            return [agent(named: name).map { .file(agentFile($0, now: now)) } ?? .absent(agentPath(name))]
        case .everyAgent: return agents.map { .file(agentFile($0, now: now)) }
        case .pairing(let reqid):
            let path = ProjectedPath(.data, "pairing/\(reqid).json")
            return [pairing.find(reqid).map { .file(file(path, queueFile($0), mode: 0o640)) } ?? .absent(path)]
        }
    }

    /// The registry record (14.3).
    package func registryRecord(of agent: AgentRecord, now: WallClock) -> JSONValue {
        .object(members: [
            JSONValue.Member("hostname", .text(agent.name.text)), JSONValue.Member("ip", .text(agent.address)),
            JSONValue.Member("paired", .text(ISO8601Time.text(unixSeconds: agent.paired.secondsSince1970))),
            JSONValue.Member("expiry", .text(OpenSSLTime.text(unixSeconds: agent.certificateNotAfter.secondsSince1970))),
            JSONValue.Member("reqid", .text(agent.reqid.description)), JSONValue.Member("lookup_by", .text(agent.lookup.rawValue)),
            JSONValue.Member("port", .integer(Int64(agent.port))), JSONValue.Member("tags", agent.tags.json),
            JSONValue.Member("dispatcher_serial", .text(agent.confirmedIdentities.last?.hexadecimal ?? "")),
            JSONValue.Member("serial_status", .text(serialStatus(of: agent, now: now).rawValue)),
            JSONValue.Member("serial_broadcast", .text(broadcast(to: agent).map(isoText) ?? "")),
            JSONValue.Member("serial_confirmed", .text(agent.confirmedAt.map(isoText) ?? "")),
        ])
    }

    /// When the rotation began of whose certificate this agent is, or was, told; nil if it has known no other since it was paired.
    private func broadcast(to agent: AgentRecord) -> WallClock? {
        var began = lastRotation?.startedAt
        if let rotation, case .prepared = rotation.stage { began = rotation.startedAt }
        return began.flatMap { agent.paired <= $0 ? $0 : nil }
    }

    // MARK: Files

    private func agentPath(_ name: AgentName) -> ProjectedPath { ProjectedPath(.data, "agents/\(name).json") }

    private func agentFile(_ agent: AgentRecord, now: WallClock) -> ProjectedFile {
        file(agentPath(agent.name), registryRecord(of: agent, now: now), mode: 0o644)
    }

    /// `rotation.json` (16.2): the last rotation whose certificate became current.
    private func rotationFile(_ rotation: RotationRecord) -> JSONValue {
        let overlapSeconds = Int64(clamping: rotation.overlapMilliseconds / 1_000)
        let end = rotation.activatedAt.secondsSince1970.addingReportingOverflow(overlapSeconds)
        var members = [
            JSONValue.Member("current_serial", .text(rotation.serial.hexadecimal)),
            JSONValue.Member("rotated_at", .text(isoText(rotation.activatedAt))),
            JSONValue.Member(
                "overlap_expires", .text(isoText(end.overflow ? rotation.activatedAt : WallClock(secondsSince1970: end.partialValue)))),
            // Whole days, the last one begun.
            JSONValue.Member("overlap_days", .integer((overlapSeconds + 86_399) / 86_400)),
        ]
        if let retired = rotation.previousRetiredAt {
            members.append(JSONValue.Member("previous_retired", .text(isoText(retired))))
        } else {
            members.append(JSONValue.Member("previous_serial", .text(rotation.previous?.hexadecimal ?? "")))
        }
        return .object(members: members)
    }

    /// A request in the queue (7.9). Names of addresses are not looked up: the fields that would hold them say so.
    private func queueFile(_ queued: QueuedPairing) -> JSONValue {
        let submission = queued.submission
        let suggested = submission.suggested
        return .object(members: [
            JSONValue.Member("id", .text(submission.reqid.description)), JSONValue.Member("hostname", .text(submission.hostname.text)),
            JSONValue.Member("ip", .text(suggested.address.flatMap { $0.isEmpty ? nil : $0 } ?? submission.sourceAddress)),
            JSONValue.Member("source_ip", .text(submission.sourceAddress)),
            JSONValue.Member("csr", .text(PEM.certificateRequest(submission.signingRequest.der))),
            JSONValue.Member("nonce", .text(submission.nonce)),
            JSONValue.Member("lookup_by", suggested.lookup.map { .text($0.rawValue) } ?? .null),
            JSONValue.Member("port", suggested.port.map { .integer(Int64($0)) } ?? .null),
            JSONValue.Member("received", .text(isoText(queued.received))), JSONValue.Member("code", .text(submission.code)),
            JSONValue.Member("reverse_dns", .null), JSONValue.Member("reverse_confirmed", .integer(0)),
        ])
    }

    private func file(_ path: ProjectedPath, _ json: JSONValue, mode: UInt32) -> ProjectedFile {
        ProjectedFile(path: path, content: Array((json.canonicalText + "\n").utf8), mode: mode)
    }

    private func pem(_ certificate: [UInt8]) -> [UInt8] { Array(PEM.certificate(certificate).utf8) }
}

private func isoText(_ time: WallClock) -> String { ISO8601Time.text(unixSeconds: time.secondsSince1970) }
