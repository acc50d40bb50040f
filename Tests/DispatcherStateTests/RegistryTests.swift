// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Unpairing, editing and the limits of the registry.

import Consensus
import CtrlExec
import Testing

@testable import DispatcherState

@Suite struct RegistryTests {
    @Test("an agent that is unpaired is gone, and unpairing it again is refused")
    func unpair() throws {
        var log = try Log()
        try log.pair(1, "web")
        let name = try agentName("web")
        #expect(log.outcome(.unpair(name)) == .agentRemoved(name))
        #expect(log.state.agent(named: name) == nil)
        #expect(log.outcome(.unpair(name)) == .refused(.unknownAgent(name)))
    }

    @Test("an edit changes what it names and nothing else")
    func edit() throws {
        var log = try Log()
        try log.pair(1, "web", suggested: Reachability(lookup: .ip, address: "10.0.0.1", port: 1))
        let name = try agentName("web")
        #expect(log.outcome(.editAgent(name, AgentEdit(reachability: Reachability(port: 2)))) == .agentEdited(name))
        let agent = try #require(log.state.agent(named: name))
        #expect(agent.lookup == .ip && agent.address == "10.0.0.1" && agent.port == 2)
    }

    @Test("a renamed agent keeps its record under its new name")
    func rename() throws {
        var log = try Log()
        try log.pair(1, "web")
        try log.pair(2, "db")
        let (web, www) = (try agentName("web"), try agentName("www"))
        let serial = log.state.agent(named: web)?.certificateSerial
        #expect(log.outcome(.editAgent(web, AgentEdit(rename: www))) == .agentEdited(www))
        #expect(log.state.agent(named: web) == nil)
        #expect(log.state.agent(named: www)?.certificateSerial == serial)
        #expect(log.state.agents.map(\.name.text) == ["db", "www"])
        #expect(log.outcome(.editAgent(www, AgentEdit(rename: www))) == .agentEdited(www))
    }

    @Test("an edit is refused whole: unknown agents, taken names, ports and addresses that cannot be")
    func refused() throws {
        var log = try Log()
        try log.pair(1, "web")
        try log.pair(2, "db")
        let (web, db, none) = (try agentName("web"), try agentName("db"), try agentName("none"))
        let before = log.state.agents
        #expect(log.outcome(.editAgent(none, AgentEdit())) == .refused(.unknownAgent(none)))
        #expect(log.outcome(.editAgent(web, AgentEdit(rename: db, reachability: Reachability(port: 9)))) == .refused(.agentNameTaken(db)))
        let impossible = [Reachability(port: 0), Reachability(address: "not an address"), Reachability(lookup: .ip)]
        for reachability in impossible {
            guard case .refused(.invalid) = log.outcome(.editAgent(web, AgentEdit(reachability: reachability))) else {
                Issue.record("accepted \(reachability)")
                continue
            }
        }
        #expect(log.state.agents == before)
    }

    @Test("the tags that an agent has now replace those that it had, through a rename too, and end with its pairing")
    func tags() throws {
        var log = try Log()
        try log.pair(1, "web")
        let key = try #require(log.state.agents.first?.key)
        let old = try #require(AgentTags([AgentTag(key: "role", value: "web"), AgentTag(key: "zone", value: "eu")]))
        let new = try #require(AgentTags([AgentTag(key: "role", value: "db")]))
        let untagged = log.state.fullStateHash()
        #expect(log.outcome(.tagsLearned(key, old)) == .refused(.notAllowed))
        #expect(log.outcome(.tagsLearned(key, old), by: .leader) == .refused(.stepGone), "the first version has no tags")
        log.apply(.raiseVersion(.second), by: .leader)
        #expect(log.outcome(.tagsLearned(key, old), by: .leader) == .stepped)
        #expect(log.state.agents.first?.tags == old && log.state.fullStateHash() != untagged)
        #expect(log.outcome(.tagsLearned(key, old), by: .leader) == .refused(.stepGone))
        let www = try agentName("www")
        log.apply(.editAgent(key.name, AgentEdit(rename: www)))
        #expect(log.state.agents.first?.tags == old)
        let renamed = AgentKey(name: www, pairing: key.pairing)
        #expect(log.outcome(.tagsLearned(renamed, new), by: .leader) == .stepped)
        #expect(log.state.agents.first?.tags == new)
        try log.pair(2, "www")
        #expect(log.state.agents.first?.tags == AgentTags.none)
        #expect(log.outcome(.tagsLearned(renamed, old), by: .leader) == .refused(.stepGone))
    }

    @Test("rules rise one version at a time, and only by the leader's own step")
    func versions() throws {
        var log = try Log()
        let before = log.state.fullStateHash()
        #expect(log.outcome(.raiseVersion(.second)) == .refused(.notAllowed))
        for wrong in [MachineVersion(0), .first, MachineVersion(3), MachineVersion(.max)] {
            #expect(log.outcome(.raiseVersion(wrong), by: .leader) == .refused(.stepGone))
        }
        #expect(log.state.machineVersion == .first)
        #expect(log.outcome(.raiseVersion(.second), by: .leader) == .stepped)
        #expect(log.state.machineVersion == .second && log.state.fullStateHash() != before)
        #expect(log.outcome(.raiseVersion(.second), by: .leader) == .refused(.stepGone))
    }

    @Test("at most 10,000 agents are paired; one that is known may pair again")
    func limit() throws {
        var registry = Registry()
        func agent(_ name: String) throws -> AgentRecord {
            AgentRecord(
                name: try agentName(name), lookup: .hostname, address: "", port: 1, paired: WallClock(secondsSince1970: 0), reqid: Reqid(0),
                certificateSerial: try serial(1), certificateNotAfter: WallClock(secondsSince1970: 0), confirmedIdentities: [])
        }
        for number in 0..<Registry.limit { registry.record(try agent("a\(number)")) }
        #expect(registry.isFull(for: try agentName("more")))
        #expect(!registry.isFull(for: try agentName("a7")))
        registry.remove(try agentName("a7"))
        #expect(!registry.isFull(for: try agentName("more")))
    }
}
