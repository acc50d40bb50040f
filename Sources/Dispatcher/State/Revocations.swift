// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Certificates that count no more, whoever shows them: operators' and agents'. A revocation is for ever; whoever is trusted again gets
// another certificate. What it means at a port is the port's business; agents hear nothing of it.

import Consensus
import CtrlExec

/// What is revoked: one certificate, that of an agent, or all of an operator's.
package enum RevocationTarget: Hashable, Sendable {
    case serial(SerialNumber)
    case agent(AgentName)
    case operatorNamed(OperatorName)
}

package struct RevocationRecord: Hashable, Sendable {
    /// Whose certificate it was when it was revoked.
    package enum Subject: Hashable, Sendable {
        case agent(AgentName)
        case operatorNamed(OperatorName)
        /// Nobody's whom the state knows: of an agent that was unpaired or paired anew, or of another dispatcher's making.
        case unknown
    }
    package let serial: SerialNumber
    package let subject: Subject
    /// At most `Revocations.reasonLimit` bytes in one line.
    package let reason: String
    package let revokedAt: WallClock
    /// The entry that revoked it.
    package let index: LogIndex
    package init(serial: SerialNumber, subject: Subject, reason: String, revokedAt: WallClock, index: LogIndex) {
        self.serial = serial
        self.subject = subject
        self.reason = reason
        self.revokedAt = revokedAt
        self.index = index
    }
}

struct Revocations: Hashable, Sendable {
    static let limit = 100_000
    static let reasonLimit = 200

    private(set) var records = SortedArrayMap<SerialNumber, RevocationRecord>()
    /// The last entry that added one.
    private(set) var changed = LogIndex.zero

    init() {}
    init(records: SortedArrayMap<SerialNumber, RevocationRecord>, changed: LogIndex) {
        self.records = records
        self.changed = changed
    }

    subscript(serial: SerialNumber) -> RevocationRecord? { records[serial] }

    /// The first word about a certificate stands.
    mutating func add(_ record: RevocationRecord) {
        guard records[record.serial] == nil else { return }
        records[record.serial] = record
        changed = record.index
    }

    /// The newest revocation of somebody who has nothing left that could be revoked.
    func newest(of subject: RevocationRecord.Subject) -> RevocationRecord? {
        records.values.filter { $0.subject == subject }.max { $0.index < $1.index }
    }
}

extension DispatcherState {
    /// Sorted by serial.
    package var revocations: [RevocationRecord] { revocationBook.records.values }
    package func revocation(of serial: SerialNumber) -> RevocationRecord? { revocationBook[serial] }
    /// The last entry that revoked something; what is derived from the list is as old as this.
    package var revocationIndex: LogIndex { revocationBook.changed }
    package func isRevoked(_ agent: AgentRecord) -> Bool { revocationBook[agent.certificateSerial] != nil }

    func revocationRefusal(_ target: RevocationTarget, _ reason: String) -> Refusal? {
        guard (1...Revocations.reasonLimit).contains(reason.utf8.count), reason.utf8.allSatisfy({ $0 >= 32 && $0 != 127 }) else {
            return .invalid("a reason is one line of 1 to \(Revocations.reasonLimit) bytes")
        }
        switch target {
        case .serial(let serial):
            if let member = members.first(where: { $0.certificateSerial == serial }) {
                return .invalid("\(serial) is the certificate of member \(member.id); remove the member instead (ced cluster remove)")
            }
            if identityBook[serial] != nil {
                return .invalid("\(serial) is the dispatcher's own; replace it (ced rotate-cert --compromised)")
            }
        case .agent(let name):
            if registry.agents[name] == nil { return .unknownAgent(name) }
        case .operatorNamed(let name):
            if operatorBook.newest(named: name) == nil, revocationBook.newest(of: .operatorNamed(name)) == nil {
                return .unknownOperator(name)
            }
        }
        let count = revocationBook.records.count + standing(target).count
        return count > Revocations.limit ? .tooMany("\(Revocations.limit) certificates are revoked, and no more fit") : nil
    }

    /// What of the target is not revoked yet.
    private func standing(_ target: RevocationTarget) -> [(serial: SerialNumber, subject: RevocationRecord.Subject)] {
        let all: [(serial: SerialNumber, subject: RevocationRecord.Subject)]
        switch target {
        case .serial(let serial):
            if let record = operatorBook.records.values.first(where: { $0.serial == serial }) {
                all = [(serial, .operatorNamed(record.name))]
            } else if let agent = registry.agents.values.first(where: { $0.certificateSerial == serial }) {
                all = [(serial, .agent(agent.name))]
            } else {
                all = [(serial, .unknown)]
            }
        case .agent(let name): all = registry.agents[name].map { [($0.certificateSerial, .agent(name))] } ?? []
        case .operatorNamed(let name): all = operatorBook.all(named: name).map { ($0.serial, .operatorNamed(name)) }
        }
        return all.filter { revocationBook[$0.serial] == nil }
    }

    /// Its refusal was asked for before.
    mutating func revoke(_ target: RevocationTarget, _ reason: String, at calendar: WallClock, _ applied: inout Applied) -> Outcome {
        let revoked = standing(target)
        for (serial, subject) in revoked {
            revocationBook.add(
                RevocationRecord(serial: serial, subject: subject, reason: reason, revokedAt: calendar, index: appliedIndex))
            if case .operatorNamed(let name) = subject { operatorBook.remove(name, serial) }
        }
        // What is being made for the operator at this moment is part of what he has.
        if case .operatorNamed(let name) = target {
            for obligation in obligations where obligation.purpose == .operatorCertificate(name) {
                settle(obligation.id, .refused(.operatorRevoked(name)), &applied)
            }
        }
        if !revoked.isEmpty { return .revoked(at: appliedIndex) }
        let earlier: RevocationRecord? =
            switch target {
            case .serial(let serial): revocationBook[serial]
            case .agent(let name): registry.agents[name].flatMap { revocationBook[$0.certificateSerial] }
            case .operatorNamed(let name): revocationBook.newest(of: .operatorNamed(name))
            }
        return .revoked(at: earlier?.index ?? appliedIndex)
    }
}
