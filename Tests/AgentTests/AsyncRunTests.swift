// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Detached runs and their records.

import Agent
import CtrlExec
import Platform
import Testing

@Suite(.timeLimit(.minutes(2))) struct AsyncRunTests {
    /// Runs until the file that it is given exists.
    private let slow = ("slow", #"until [ -e "$1" ]; do sleep 0.02; done; echo slept"#)

    @Test("a detached run is accepted, found running, refused a second time, and its result is kept for its owner only")
    func lifeOfARun() async throws {
        let agent = try await TestAgent(scripts: [slow], trustsOther: true)
        let flag = agent.directory.path + "/go"
        let accepted = try await agent.run("slow", [flag], reqid: "72bdc436e42fc1cd", detached: true)
        #expect(accepted.status == 202)
        #expect(String(decoding: accepted.bytes, as: UTF8.self) == #"{"reqid":"72bdc436e42fc1cd","script":"slow","status":"accepted"}"#)

        let busy = try await agent.run("slow", [flag], reqid: "b8bd1449c2690af1", detached: true, as: agent.fleet.otherDispatcher)
        #expect(busy.status == 409)
        #expect(busy["status"] == "busy" && busy["error"] == "script already running")

        let running = try await agent.get("/result/72bdc436e42fc1cd")
        #expect(running["status"] == "running" && running["owner"] == "disp-one" && running["script"] == "slow")
        #expect(running["started"].flatMap(ISO8601Time.unixSeconds) != nil)
        #expect(running.json["exit"] == nil)

        try agent.directory.write("go", "")
        let done = try await agent.result("72bdc436e42fc1cd") { $0["status"] == "done" }
        #expect(done["exit"] == "0" && done["stdout"] == "slept\n" && done["stderr"] == "")
        #expect(done["finished"].flatMap(ISO8601Time.unixSeconds) != nil)

        for (reqid, identity) in [("72bdc436e42fc1cd", agent.fleet.otherDispatcher), ("deadbeefdeadbeef", agent.fleet.dispatcher)] {
            let unknown = try await agent.get("/result/\(reqid)", as: identity)
            #expect(unknown.status == 404)
            #expect(String(decoding: unknown.bytes, as: UTF8.self) == #"{"reqid":"\#(reqid)","status":"unknown"}"#)
        }
        await agent.stop()
    }

    @Test("after the end of one the next one is accepted, and different scripts do not wait for each other") func locks() async throws {
        let agent = try await TestAgent(scripts: [slow, ("other", "echo other")])
        let flag = agent.directory.path + "/go"
        #expect(try await agent.run("slow", [flag], reqid: "a1", detached: true).status == 202)
        #expect(try await agent.run("other", reqid: "a2", detached: true).status == 202)
        _ = try await agent.result("a2") { $0["status"] == "done" }
        try agent.directory.write("go", "")
        _ = try await agent.result("a1") { $0["status"] == "done" }
        // The lock goes with the task, a moment after the record.
        while try await agent.run("slow", [flag], reqid: "a3", detached: true).status == 409 { await Task.yield() }
        _ = try await agent.result("a3") { $0["status"] == "done" }
        await agent.stop()
    }

    @Test("a record that names another owner is not shown, even in the caller's own directory") func forgedOwner() async throws {
        let agent = try await TestAgent()
        try DurableFile.makeDirectory(agent.directory.path + "/runs/disp-one", mode: 0o750)
        try agent.directory.write("runs/disp-one/r1.json", #"{"reqid":"r1","status":"done","owner":"disp-two","exit":0}"#)
        try agent.directory.write("runs/disp-one/r2.json", #"{"reqid":"r2","status":"done","owner":"disp-one","exit":"0","stdout":"x"}"#)
        #expect(try await agent.get("/result/r1").status == 404)
        #expect(try await agent.get("/result/r2")["stdout"] == "x")
        await agent.stop()
    }

    @Test("a place for records that cannot be made is told, not hidden") func noStore() async throws {
        let agent = try await TestAgent(scripts: [("quick", "echo quick")])
        try agent.directory.write("runs", "a file where the directory should be")
        #expect(try await agent.run("quick", reqid: "r1", detached: true)["error"] == "could not start async job")
        #expect(try await agent.run("quick", reqid: "r1")["stdout"] == "quick\n")
        await agent.stop()
    }
}
