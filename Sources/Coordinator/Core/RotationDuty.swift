// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a leader remembers of its duty towards the agents: whom it is calling, and whom it lets be for a while. Nothing of it is needed by
// the next leader.

import Consensus
import CtrlExec
import DispatcherState

struct RotationDuty: Hashable, Sendable {
    /// Agents that are called at a time.
    static let callLimit = 32
    /// The caller has time-outs of its own; this is for an answer that never comes.
    static let patience = TimeSpan.seconds(600)
    /// The pause after a first failure; it doubles with each further one.
    static let firstPause = TimeSpan.milliseconds(500)
    static let longestPause = TimeSpan.seconds(60)
    /// How often everything is looked at while something waits for members.
    static let interval = TimeSpan.milliseconds(100)
    /// Entries that come close together are looked at together.
    static let shortestInterval = TimeSpan.milliseconds(10)

    struct Call: Hashable, Sendable {
        let number: UInt64
        let agent: AgentKey
        let task: AgentTask
        let giveUpAt: Instant
        /// The entry that says what came of it.
        var proposed: LogIndex?
    }

    struct Pause: Hashable, Sendable {
        var until: Instant
        var span: TimeSpan
        /// The agent said no: before it is asked again, find out anew how it is asked.
        var mustLearn: Bool
    }

    let begunAt: Instant
    var calls: [Call] = []
    /// By agent.
    private var pausedAgents: [AgentKey] = []
    private var pauses: [Pause] = []
    /// The entry that begins, activates or retires something, until it is applied.
    var proposed: LogIndex?
    /// Where the state stood when everything was last looked at.
    var lookedAt: LogIndex?
    var lastLook: Instant
    var nextLook: Instant

    init(begunAt: Instant) {
        self.begunAt = begunAt
        lastLook = begunAt
        nextLook = begunAt
    }

    func pause(of agent: AgentKey) -> Pause? {
        let place = place(of: agent)
        return place < pausedAgents.count && pausedAgents[place] == agent ? pauses[place] : nil
    }

    mutating func setPause(of agent: AgentKey, _ pause: Pause?) {
        let place = place(of: agent)
        let isThere = place < pausedAgents.count && pausedAgents[place] == agent
        switch (pause, isThere) {
        case (let pause?, true): pauses[place] = pause
        case (let pause?, false):
            pausedAgents.insert(agent, at: place)
            pauses.insert(pause, at: place)
        case (nil, true):
            pausedAgents.remove(at: place)
            pauses.remove(at: place)
        case (nil, false): break
        }
    }

    mutating func failed(_ agent: AgentKey, mustLearn: Bool, at now: Instant) -> Bool {
        let old = pause(of: agent)
        let span = old.map { min($0.span + $0.span, RotationDuty.longestPause) } ?? RotationDuty.firstPause
        setPause(of: agent, Pause(until: now + span, span: span, mustLearn: mustLearn || old?.mustLearn == true))
        nextLook = min(nextLook, now + span)
        return old == nil
    }

    private func place(of agent: AgentKey) -> Int {
        var low = 0
        var high = pausedAgents.count
        while low < high {
            let middle = low + (high - low) / 2
            let other = pausedAgents[middle]
            if (other.name, other.pairing) < (agent.name, agent.pairing) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
