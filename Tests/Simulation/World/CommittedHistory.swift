// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The one log that the cluster agreed on, as the world saw it being committed, and the state that it makes when every entry is applied once.
// Members are judged against this.

import Consensus
import CtrlExec
import DispatcherState
import Wire

final class CommittedHistory {
    private(set) var entries: [Entry] = []
    private(set) var marks: [LogMark] = []
    private(set) var state: DispatcherState
    /// The entries that changed the members, rising.
    private var changes: [(index: LogIndex, configuration: Configuration)] = []

    init(genesis: GenesisState) { state = DispatcherState(genesis: genesis) }

    var last: LogIndex { LogIndex(UInt64(marks.count)) }
    func mark(at index: LogIndex) -> LogMark? { index == .zero ? .origin : index <= last ? marks[Int(index.position) - 1] : nil }

    /// The log up to `index`, as far as it was agreed on.
    func prefix(through index: LogIndex) -> [LogMark] { Array(marks.prefix(Int(clamping: index.position))) }

    /// Who the members are behind the entry at this index; nil: those with which the cluster began.
    func configuration(at index: LogIndex) -> Configuration? { changes.last { $0.index <= index }?.configuration }

    /// What the entry did, for those who judge it.
    struct Change {
        let proposal: Proposal?
        let applied: Applied
        /// More of the state changed than where the log stands and what time it is.
        let changed: Bool
    }

    func append(_ entry: Entry) -> Change {
        entries.append(entry)
        if let configuration = entry.configuration { changes.append((entry.index, configuration)) }
        marks.append((marks.last ?? .origin).followed(by: entry))
        guard !entry.payload.isEmpty, let proposal = try? Proposal(decoding: entry.payload) else {
            // Members pass over what they cannot read, in the same way.
            state.applyNothing(at: entry.index, term: entry.term)
            return Change(proposal: nil, applied: Applied(outcome: .stepped), changed: false)
        }
        return CommittedHistory.carryOut(proposal, entry, on: &state)
    }

    /// Handed the state, so that nothing is copied for a question about it.
    private static func carryOut(_ proposal: Proposal, _ entry: Entry, on state: inout DispatcherState) -> Change {
        // Not the whole state, which would have to be copied.
        let before = (
            nextExpiry: state.nextExpiry, nextSerialCounter: state.nextSerialCounter, pairingOpenUntil: state.pairingOpenUntil,
            obligations: state.obligations, operators: state.operators, agents: state.agents, pairings: state.pairings,
            identities: state.identities, rotation: state.rotation, membershipIndex: state.membershipIndex
        )
        let applied = state.apply(proposal, at: entry.index, term: entry.term)
        // What time alone did is not the entry's doing.
        let isTimeDue = before.nextExpiry.map { $0 <= state.time } ?? false
        let changed =
            !isTimeDue
            && (before.nextSerialCounter != state.nextSerialCounter || before.pairingOpenUntil != state.pairingOpenUntil
                || before.obligations != state.obligations || before.operators != state.operators || before.agents != state.agents
                || before.pairings != state.pairings || before.identities != state.identities || before.rotation != state.rotation
                || before.membershipIndex != state.membershipIndex)
        return Change(proposal: proposal, applied: applied, changed: changed)
    }
}
