// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster status` as people and scripts meet it. What is advised has its own tests; here it is that it is shown.

import AgentLink
import CtrlExec
import Foundation
import Testing

@Suite("ced cluster status")
struct ClusterStatusCommandTests {
    @Test("shows a line for each member, what is survived, when certificates end, and one line for each thing that is not well")
    func text() async throws {
        try await OpenPorts.with { open in
            let shown = try await ced(["cluster", "status", "--socket", open.socketPath])
            #expect(shown.code == 0 && shown.error.isEmpty)
            let lines = shown.out.split(separator: "\n").map(String.init)
            let heading = lines[0].split(separator: " ").joined(separator: " ")
            #expect(heading == "MEMBER ROLE TERM COMMIT LAG CONTACT HOLDS CERT ENDS DISK FREE VERSION")
            #expect(lines[2...4].map { String($0.prefix(19)) } == ["a       leader     ", "b       follower   ", "c       unreachable"])
            #expect(lines[0...4].allSatisfy { $0.count <= 120 })
            #expect(lines[5] == "2 of 3 members answer, 2 are needed: the cluster survives no further failure; 0 agents registered.")
            let certificates =
                "Certificates: the fleet CA until 2096-10-02, the cluster CA until 2096-10-02, the dispatcher until 2096-10-02."
            #expect(lines[6] == certificates)
            #expect(lines[7].hasPrefix("warning: member c (127.0.0.1:7448) does not answer"))
            #expect(lines.count == 8)
        }
    }

    @Test("ends with 1 without a leader, as text and as JSON, and says so in both")
    func noLeader() async throws {
        try await OpenPorts.with { open in
            await open.front.loseLeader()
            let shown = try await ced(["cluster", "status", "--socket", open.socketPath])
            #expect(shown.code == 1)
            #expect(shown.out.contains("2 of 3 members answer, 2 are needed; there is no leader at the moment"))
            #expect(shown.out.contains("\nalarm: no member leads;"))
            let json = try await ced(["cluster", "status", "--json", "--socket", open.socketPath])
            #expect(json.code == 1 && json.error.isEmpty)
            #expect(json.json["leader"] == .null)
            guard case .array(let advice) = json.json["advice"] else { throw Surprise("no advice: \(json.out)") }
            #expect(advice.map { $0["level"] } == [.text("alarm"), .text("warning")])
            #expect(advice.map { $0["member"] } == [.null, .text("c")])
        }
    }
}
