// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What agents say of themselves, kept in the registry: a member that asked an agent for its capabilities learned its tags.

import Consensus
import CtrlExec
import DispatcherState
import Wire

extension Member {
    /// An entry only if they are not those of the state. A member that does not lead tells the leader; should that get lost, whoever asks the
    /// agent next finds out again.
    mutating func observe(
        _ tags: AgentTags, of agent: AgentKey, at now: Moment, consensus: inout [ConsensusEffect], into effects: inout [Effect]
    ) {
        guard let known = state.agent(named: agent.name), known.key == agent, known.tags != tags else { return }
        if isEstablished {
            _ = propose(.tagsLearned(agent, tags), at: now, consensus: &consensus)
        } else if let leader = raft.leader, leader != settings.id {
            effects.append(Effect(.send(.tagsObserved(agent, tags), to: leader)))
        }
    }
}
