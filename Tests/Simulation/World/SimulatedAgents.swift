// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Agents as members find them: each has a map of serials that it trusts, speaks one of three dialects, is off now and then, and does what it
// is told before the answer is lost.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

package struct SimulatedAgent: Sendable {
    package let key: AgentKey
    package let dialect: AgentDialect
    package var trusts: [SerialNumber]
    var tags = AgentTags.none
    /// Nobody answers before this.
    var offUntil = TrueTime.zero

    package init(key: AgentKey, dialect: AgentDialect, trusts: [SerialNumber]) {
        self.key = key
        self.dialect = dialect
        self.trusts = trusts
    }

    /// What happens at the agent when it is called. What it says may get lost afterwards.
    package mutating func answer(_ call: AgentCall) -> AgentTaskAnswer {
        var refused: [SerialNumber] = []
        var accepted: SerialNumber?
        for identity in call.identities where accepted == nil {
            if trusts.contains(identity) { accepted = identity } else { refused.append(identity) }
        }
        guard let accepted else { return AgentTaskAnswer(.refused("serial mismatch"), refused: refused) }
        guard call.task != .learn else { return AgentTaskAnswer(.learned(dialect), accepted: accepted, refused: refused) }
        guard call.dialect == dialect else {
            return AgentTaskAnswer(.refused("not in this dialect"), accepted: accepted, refused: refused)
        }
        switch call.task {
        case .learn: break
        case .announce(let serial):
            if dialect == .single { trusts = [serial] } else if !trusts.contains(serial) { trusts.append(serial) }
        case .remove(let serial):
            if dialect != .single { trusts.removeAll { $0 == serial } }
        }
        return AgentTaskAnswer(.done, accepted: accepted, refused: refused)
    }
}

struct SimulatedAgents {
    /// In the order in which they were paired; one for each pairing.
    private(set) var all: [SimulatedAgent] = []
    private var places: [Reqid: Int] = [:]

    func place(of key: AgentKey) -> Int? { places[key.pairing] }
    subscript(place: Int) -> SimulatedAgent {
        get { all[place] }
        set { all[place] = newValue }
    }
    mutating func add(_ agent: SimulatedAgent) {
        places[agent.key.pairing] = all.count
        all.append(agent)
    }
}

extension World {
    /// A pairing is decided and committed: the host stores what it was told to trust.
    func paired(_ reqid: Reqid) {
        guard let record = history.state.agents.first(where: { $0.reqid == reqid }) else { return }
        let dialects = AgentDialect.allCases
        let dialect = dialects[Int(agentGenerator.below(UInt64(dialects.count)))]
        agents.add(SimulatedAgent(key: record.key, dialect: dialect, trusts: record.confirmedIdentities))
        trace.say(now, "agent \(record.name) speaks \(dialect.rawValue)")
    }

    /// The call is made; when it reaches the agent, what it presents is asked for.
    func call(_ call: AgentCall, _ machine: SimulatedMember, _ process: SimulatedProcess) {
        trace.say(now, "\(process.life) calls \(call.agent.name): \(call.task)")
        var span = TimeSpan(nanoseconds: 200_000) + agentGenerator.span(upTo: .milliseconds(30))
        // Most are quick; one that comes late comes after others that were sent later.
        if !isHealing, agentGenerator.below(100) < 6 { span = span + agentGenerator.span(upTo: .seconds(4)) }
        agenda.plan(.callArrives(machine.place, life: process.life.number, call), at: now + span)
    }

    func callArrives(_ place: Int, _ life: Int, _ call: AgentCall) throws(Broken) {
        let answer: AgentTaskAnswer
        if let agent = agents.place(of: call.agent.key) {
            if !isHealing, now >= agents[agent].offUntil, agentGenerator.below(100) < 8 {
                // Some for longer than an overlap.
                let longest = TimeSpan.seconds(agentGenerator.below(5) == 0 ? 30 : 6)
                agents[agent].offUntil = now + .milliseconds(200) + agentGenerator.span(upTo: longest)
            }
            if now < agents[agent].offUntil, !isHealing {
                coverage.note(.agentsOff)
                answer = AgentTaskAnswer(.unreachable("connection refused"))
            } else {
                let told = agents[agent].answer(call)
                trace.say(now, "agent \(call.agent.name), told \(call.task): \(told.result), trusts \(agents[agent].trusts)")
                if !told.refused.isEmpty { coverage.note(.identitiesTurnedAway) }
                try check(agents[agent])
                if !isHealing, agentGenerator.below(100) < 10 {
                    coverage.note(.agentAnswersLost)
                    answer = AgentTaskAnswer(.unreachable("no answer"))
                } else {
                    answer = told
                }
            }
        } else {
            answer = AgentTaskAnswer(.unreachable("nobody there"))
        }
        guard let process = members[place].process, process.life.number == life else { return }
        try give(.event(.agentAnswered(call: call.number, answer)), to: members[place], process)
    }

    /// Somebody runs something on an agent through some member that serves.
    func probe() throws(Broken) {
        defer { if !isOver { agenda.plan(.probe, at: now + .milliseconds(40) + agentGenerator.span(upTo: .milliseconds(120))) } }
        let place = Int(agentGenerator.below(UInt64(members.count)))
        let choice = agentGenerator.next()
        guard let process = members[place].process, process.isServing || process.member.isReady(at: members[place].clock.instant(at: now))
        else { return }
        let known = process.member.state.agents
        guard !known.isEmpty else { return }
        let record = known[Int(choice % UInt64(known.count))]
        guard let agent = agents.place(of: record.key), now >= agents[agent].offUntil else { return }
        var refused: [SerialNumber] = []
        for identity in presentation(by: &process.member, to: record.key) ?? [] {
            guard agents[agent].trusts.contains(identity) else {
                refused.append(identity)
                continue
            }
            // Some of them ask for its capabilities, and now and then somebody has given it other tags.
            // (While all heals nothing new may come, or states could differ at the end by what is on its way.)
            if !isHealing, (choice >> 32) % 6 == 0 {
                if (choice >> 40) % 2 == 0 {
                    agents[agent].tags = AgentTags(keepingOf: .object([.init("role", .integer(Int64((choice >> 48) % 5)))]))
                }
                return try give(.event(.tagsObserved(record.key, agents[agent].tags)), to: members[place], process)
            }
            guard !refused.isEmpty else { return }
            coverage.note(.presentationsCorrected)
            let observation = AgentObservation(agent: record.key, accepted: identity, refused: refused)
            return try give(.event(.observed(observation)), to: members[place], process)
        }
    }

    /// Now and then as entries are committed: whatever members learned since.
    func checkAgents() throws(Broken) {
        let state = history.state
        try present(agents.all.filter { state.owes($0) })
    }

    /// An identity was retired. Whoever was told of it late, behind the back of all, is found and told of a newer one with it.
    func checkAgents(without identity: SerialNumber) throws(Broken) {
        let state = history.state
        let inUse = state.identities.filter { !$0.isFinished }.map(\.serial)
        for agent in agents.all where agent.trusts.contains(identity) && state.owes(agent) {
            guard state.agent(paired: agent.key)?.confirmedIdentities.contains(identity) ?? false else { continue }
            try checks.agentsAcceptMembers.retires(identity, inUse: inUse, agent: agent.key.name, trusts: agent.trusts)
        }
    }

    /// After a deed of this agent.
    private func check(_ agent: SimulatedAgent) throws(Broken) {
        if history.state.owes(agent) { try present([agent]) }
    }

    private func present(_ asked: [SimulatedAgent]) throws(Broken) {
        // One that was removed and has not heard of it serves nobody who can know it.
        let former = history.state.formerMembers
        for member in members where !former.contains(where: { $0.id == member.id }) {
            guard let process = member.process, process.hasBeenReady else { continue }
            for agent in asked {
                guard let identities = presentation(by: &process.member, to: agent.key) else { continue }
                try checks.agentsAcceptMembers.presents(member.id, identities, to: agent.key.name, whichTrusts: agent.trusts)
            }
        }
    }

    /// Nil if the member does not know the agent. (Not changed; handed over so that nothing of it is copied.)
    private func presentation(by member: inout Member, to key: AgentKey) -> [SerialNumber]? {
        guard let known = member.state.agent(paired: key) else { return nil }
        return member.state.presentation(to: known)
    }
}

extension DispatcherState {
    /// Whether members must be able to reach the agent: it is in the registry, and was not revoked. Who was is told of no identity any more.
    fileprivate func owes(_ agent: SimulatedAgent) -> Bool {
        agents.contains { $0.reqid == agent.key.pairing && !isRevoked($0) }
    }

    /// The agent of that pairing, which may have another name here.
    fileprivate func agent(paired key: AgentKey) -> AgentRecord? {
        if let agent = agent(named: key.name), agent.reqid == key.pairing { return agent }
        return agents.first { $0.reqid == key.pairing }
    }
}
