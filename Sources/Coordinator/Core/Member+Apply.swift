// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Committed entries become state, on every member in the same order.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension Member {
    mutating func apply(through index: LogIndex, at now: Moment, into effects: inout [Effect]) {
        guard index > state.appliedIndex else { return }
        for entry in raft.committedEntries(after: state.appliedIndex, through: index) {
            guard knowsTheRules else { return }
            snapshots.bytes += entry.payload.count
            guard !entry.payload.isEmpty else {
                state.applyNothing(at: entry.index, term: entry.term)
                applied(Applied(outcome: .stepped), at: entry.index, term: entry.term, now: now, into: &effects)
                continue
            }
            do {
                let proposal = try Proposal(decoding: entry.payload)
                let change = state.apply(proposal, at: entry.index, term: entry.term)
                note(proposal, change, into: &effects)
                if hasCaughtUp, let projection = ProjectionChange(proposal.command, change) { effects.append(Effect(.project(projection))) }
                if let identity = change.prepared { effects.append(Effect(.hold(identity))) }
                if case .reconfigure = proposal.command { configurationApplied(into: &effects) }
                for decision in change.decided { effects.append(Effect(.announce(decision))) }
                applied(change, at: entry.index, term: entry.term, now: now, into: &effects)
                if !knowsTheRules { effects.append(Effect(.stop(.versionUnknown(state.machineVersion, known: settings.knows)))) }
            } catch {
                // Every member of this version passes over the entry at the same place; nobody acts on what he cannot read.
                state.applyNothing(at: entry.index, term: entry.term)
                effects.append(
                    Effect(.log(LogRecord(.error, "entry-unreadable", [("INDEX", "\(entry.index)"), ("ERROR", "\(error)")]))))
                applied(
                    Applied(outcome: .refused(.invalid("this version cannot read the entry"))), at: entry.index, term: entry.term,
                    now: now, into: &effects)
            }
        }
    }

    /// What was decided, in ctrl-exec's words, on the member that leads. What stood in the journal when this process began is not said
    /// again at every start; of the few entries at its end that were not known to be committed then, the line may be missing.
    private func note(_ proposal: Proposal, _ change: Applied, into effects: inout [Effect]) {
        guard raft.role == .leader, state.appliedIndex > historyEnd else { return }
        func log(_ action: String, _ fields: [(String, String)]) {
            effects.append(Effect(.log(LogRecord(.info, action, fields + [("INDEX", "\(state.appliedIndex)")]))))
        }
        for outcome in [change.outcome] + change.settled.map(\.outcome) {
            switch outcome {
            case .operatorIssued(let name, let serial): log("operator-issue", [("OPERATOR", name.text), ("SERIAL", serial.hexadecimal)])
            case .pairingQueued(let reqid):
                if case .submitPairing(let submission) = proposal.command {
                    log("pair-request", [("AGENT", submission.hostname.text), ("IP", submission.sourceAddress), ("REQID", "\(reqid)")])
                }
            case .pairingApproved(let reqid, let agent, let serial):
                log("pair-approve", [("AGENT", agent.text), ("REQID", "\(reqid)"), ("SERIAL", serial.hexadecimal)])
            case .pairingDenied(let reqid): log("pair-deny", [("REQID", "\(reqid)")])
            case .pairingOpened: log("pairing-mode-start", [])
            case .pairingClosed: log("pairing-mode-stop", [])
            case .agentRemoved(let agent): log("unpair", [("AGENT", agent.text)])
            case .agentEdited(let agent): log("edit-agent", [("AGENT", agent.text)])
            case .rotationBegun(let serial): log("rotation-begin", [("SERIAL", serial.hexadecimal)])
            case .rotationAborted: log("rotation-abort", [])
            case .revoked:
                if case .revoke(let target, let reason) = proposal.command { log("revoke", [("TARGET", target.text), ("REASON", reason)]) }
            case .invited(let member, _): log("member-invite", [("MEMBER", member.name)])
            case .memberAdmitted(let member, let serial): log("member-admit", [("MEMBER", member.name), ("SERIAL", serial.hexadecimal)])
            case .memberRemoved(let member): log("member-remove", [("MEMBER", member.name)])
            case .memberMoved(let member):
                log("member-move", [("MEMBER", member.name), ("ADDRESS", state.member(member)?.address ?? "")])
            case .underway, .stepped, .refused: break
            }
        }
        guard change.outcome == .stepped else { return }
        switch proposal.command {
        case .identityConfirmed(let agent, let serial, _):
            log("serial-confirm", [("AGENT", agent.name.text), ("SERIAL", serial.hexadecimal)])
        case .identityRemoved(let agent, let serial):
            log("serial-forget", [("AGENT", agent.name.text), ("SERIAL", serial.hexadecimal)])
        case .dialectLearned(let agent, let dialect): log("dialect", [("AGENT", agent.name.text), ("DIALECT", dialect.rawValue)])
        case .tagsLearned(let agent, let tags): log("tags", [("AGENT", agent.name.text), ("TAGS", "\(tags.all.count)")])
        case .activate(let serial): log("cert-rotated", [("SERIAL", serial.hexadecimal)])
        case .raiseVersion(let version): log("version-raise", [("VERSION", "\(version)")])
        case .reconfigure(let configuration):
            let (voters, learners) = (configuration.voters.map(\.name), configuration.learners.map(\.name))
            log("members", [("VOTERS", voters.joined(separator: ",")), ("LEARNERS", learners.joined(separator: ","))])
        case .retire(let serial): log("serial-retire", [("SERIAL", serial.hexadecimal)])
        default: break
        }
    }
}

extension RevocationTarget {
    fileprivate var text: String {
        switch self {
        case .serial(let serial): serial.hexadecimal
        case .agent(let name): name.text
        case .operatorNamed(let name): name.text
        }
    }
}
