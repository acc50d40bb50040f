// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Scripts: arguments, context, outputs, exit codes, refusals.

import Agent
import CtrlExec
import Glibc
import Testing
import Transport

@Suite(.timeLimit(.minutes(2))) struct RunTests {
    @Test("a script gets its arguments as they are, its context on standard input and a clean environment") func run() async throws {
        let agent = try await TestAgent(scripts: [
            ("hello", #"for a in "$@"; do echo "[$a]"; done; cat; echo; env | cut -d= -f1 | sort | tr '\n' ' '"#)
        ])
        let body = #"{"script":"hello","args":["a","b c","","$(id)",7],"reqid":"398016d0fb9c0887","username":"alice","token":"s3cret"}"#
        let reply = try await agent.post("/run", body)
        #expect(reply.status == 200)
        #expect(reply["exit"] == "0")
        #expect(reply["script"] == "hello" && reply["reqid"] == "398016d0fb9c0887" && reply["stderr"] == "")
        let lines = try unwrapped(reply["stdout"]).split(separator: "\n")
        #expect(lines.prefix(5) == ["[a]", "[b c]", "[]", "[$(id)]", "[7]"])
        let context = try AgentJSON.decode(JSONValue.self, Array(lines[5].utf8))
        #expect(context["dispatcher"] == .text("disp-one") && context["peer_ip"] == .text("127.0.0.1"))
        #expect(context["username"] == .text("alice") && context["token"] == .text("s3cret"))
        #expect(context["args"] == .array([.text("a"), .text("b c"), .text(""), .text("$(id)"), .text("7")]))
        #expect(context["timestamp"]?.scalarText.flatMap(ISO8601Time.unixSeconds) != nil)
        let allowed: Set<Substring> = ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "OLDPWD", "SHLVL", "TERM", "TZ", "USER", "_"]
        #expect(Set(lines[6].split(separator: " ")).isSubset(of: allowed))
        await agent.stop()
    }

    @Test("exit codes: the script's own, 126 for a signal, 127 for what cannot be executed") func exitCodes() async throws {
        let agent = try await TestAgent(scripts: [("three", "echo out; echo err >&2; exit 3"), ("killed", "kill -9 $$"), ("gone", "")])
        try agent.directory.write("scripts/gone", "#!/no/such/interpreter\n", mode: 0o755)
        let three = try await agent.run("three")
        #expect(three["exit"] == "3" && three["stdout"] == "out\n" && three["stderr"] == "err\n")
        #expect(try await agent.run("killed")["exit"] == "126")
        let gone = try await agent.run("gone")
        #expect(gone["exit"] == "127")
        #expect(gone["stderr"]?.hasPrefix("cea: cannot execute") == true)
        await agent.stop()
    }

    @Test("more than a pipe holds on both outputs at once does not stop the script") func bothOutputs() async throws {
        let agent = try await TestAgent(scripts: [
            ("loud", "head -c 300000 /dev/zero | tr '\\0' e >&2; head -c 300000 /dev/zero | tr '\\0' o")
        ])
        let reply = try await agent.run("loud")
        #expect(reply["exit"] == "0")
        #expect(reply["stdout"]?.utf8.count == 300_000 && reply["stderr"]?.utf8.count == 300_000)
        await agent.stop()
    }

    @Test("bytes that are not UTF-8 are repaired, not lost") func notUTF8() async throws {
        let agent = try await TestAgent(scripts: [("raw", #"printf 'a\377b\000c'"#)])
        #expect(try await agent.run("raw")["stdout"] == "a\u{FFFD}b\u{0}c")
        await agent.stop()
    }

    @Test("output over the limit is cut, said so, and the script goes on to its end") func truncation() async throws {
        let directory = try TemporaryDirectory()
        try directory.write("loud", "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x\necho end >&2\nexit 5\n", mode: 0o755)
        let outcome = await ScriptRunner(stdinTimeoutSeconds: 10, outputLimitBytes: 1_000).run(
            directory.path + "/loud", arguments: [], context: [])
        #expect(outcome.exit == 5)
        #expect(outcome.stdout.utf8.count == 1_000)
        #expect(outcome.stderr == "end\ncea: stdout was longer than 1000 bytes; 99000 bytes were dropped\n")
    }

    @Test("a script that does not read its context neither blocks nor ends the agent") func unreadContext() async throws {
        let directory = try TemporaryDirectory()
        try directory.write("deaf", "#!/bin/sh\nsleep 0.2\nwc -c\n", mode: 0o755)
        try directory.write("quick", "#!/bin/sh\nexec <&-\nexit 0\n", mode: 0o755)
        let context = [UInt8](repeating: 120, count: 1_000_000)
        let deaf = await ScriptRunner(stdinTimeoutSeconds: 0).run(directory.path + "/deaf", arguments: [], context: context)
        // What it had not taken when the time was over, it never gets; no byte is lost from the count.
        #expect(deaf.exit == 0)
        #expect(Int(deaf.stdout.trimmedOfWhiteSpace) == context.count - (deaf.unreadContextBytes ?? 0))
        let quick = await ScriptRunner(stdinTimeoutSeconds: 10).run(directory.path + "/quick", arguments: [], context: context)
        #expect(quick.exit == 0)
    }

    @Test("a program that the script leaves behind with its output does not hold the answer back") func background() async throws {
        let agent = try await TestAgent(scripts: [("daemon", "sleep 600 & echo $!")])
        let reply = try await agent.run("daemon")
        #expect(reply["exit"] == "0")
        let process = try unwrapped(reply["stdout"].flatMap { Int32($0.trimmedOfWhiteSpace) })
        #expect(kill(process, SIGKILL) == 0)
        await agent.stop()
    }

    @Test(
        "what is no run is answered as the original answers it",
        arguments: [
            (#"{bad"#, #"{"error":"invalid JSON","exit":-1}"#), ("", #"{"error":"invalid JSON","exit":-1}"#),
            ("[]", #"{"error":"invalid JSON","exit":-1}"#), ("\u{FF}", #"{"error":"invalid JSON","exit":-1}"#),
            (#"{"script":"hello","args":"a","reqid":"1"}"#, #"{"error":"args must be an array","exit":-1,"reqid":"1"}"#),
            (#"{"script":"nosuch","reqid":"2"}"#, #"{"error":"script not permitted","exit":-1,"reqid":"2","script":"nosuch"}"#),
            (#"{"script":"../hello"}"#, #"{"error":"script not permitted","exit":-1,"reqid":"","script":"../hello"}"#),
            (#"{}"#, #"{"error":"script not permitted","exit":-1,"reqid":"","script":""}"#),
            (
                #"{"script":"hello","async":true,"reqid":"a b"}"#,
                #"{"error":"async run requires a valid reqid","exit":-1,"reqid":"a b","script":"hello"}"#
            ),
        ])
    func refusals(_ body: String, _ answer: String) async throws {
        let agent = try await TestAgent(scripts: [("hello", "echo hello")])
        let reply = try await agent.post("/run", body)
        #expect(reply.status == 200)
        #expect(String(decoding: reply.bytes, as: UTF8.self) == answer)
        await agent.stop()
    }

    @Test("a script outside script_dirs is not permitted, not even through a link") func scriptDirectories() async throws {
        let outside = try TemporaryDirectory()
        try outside.write("escaped", "#!/bin/sh\necho escaped\n", mode: 0o755)
        let directory = try TemporaryDirectory()
        let agent = try await TestAgent(
            scripts: [("inside", "echo inside"), ("link", "")], extra: "script_dirs = \(directory.path)/scripts:/nowhere", in: directory)
        #expect(unlink("\(directory.path)/scripts/link") == 0)
        #expect(symlink("\(outside.path)/escaped", "\(directory.path)/scripts/link") == 0)
        #expect(try await agent.run("inside")["stdout"] == "inside\n")
        #expect(try await agent.run("link")["error"] == "script not permitted")
        await agent.stop()
    }

    @Test("a reload takes up new scripts; an allowlist that cannot be read permits nothing") func reload() async throws {
        let agent = try await TestAgent(scripts: [("hello", "echo hello")])
        try agent.directory.write("scripts.conf", "hi = \(agent.directory.path)/scripts/hello\n")
        #expect(try await agent.run("hi")["error"] == "script not permitted")
        agent.server.reload()
        #expect(try await agent.run("hi")["stdout"] == "hello\n")
        #expect(unlink("\(agent.directory.path)/scripts.conf") == 0)
        agent.server.reload()
        #expect(try await agent.run("hi")["error"] == "script not permitted")
        await agent.stop()
    }

    @Test(
        "the hook's exit code decides; a hook that dies of a signal denies",
        arguments: [
            ("exit 0", nil), ("exit 1", "not authorised: denied"), ("exit 2", "not authorised: bad credentials"),
            ("exit 3", "not authorised: insufficient privilege"), ("exit 9", "not authorised: hook exited 9"),
            ("kill -9 $$", "not authorised: hook killed by signal 9"),
            (#"test "$ENVEXEC_ACTION $ENVEXEC_SCRIPT $ENVEXEC_ARGS_JSON $ENVEXEC_DISPATCHER" = 'run hello ["x y"] disp-one'"#, nil),
            (#"grep -q '"hosts":\[\]' && exit 0; exit 1"#, nil),
        ] as [(String, String?)])
    func hook(_ text: String, _ error: String?) async throws {
        let hook = try TemporaryDirectory()
        try hook.write("hook", "#!/bin/sh\n\(text)\n", mode: 0o755)
        let agent = try await TestAgent(scripts: [("hello", "echo hello")], extra: "auth_hook = \(hook.path)/hook")
        let reply = try await agent.run("hello", ["x y"])
        #expect(reply["error"] == error)
        #expect(reply["stdout"] == (error == nil ? "hello\n" : nil))
        await agent.stop()
    }

    @Test("a hook that is not there denies") func missingHook() async throws {
        let agent = try await TestAgent(scripts: [("hello", "echo hello")], extra: "auth_hook = /no/such/hook")
        #expect(try await agent.run("hello")["error"] == "not authorised: auth hook not found or not executable: /no/such/hook")
        #expect(try await agent.get("/capabilities")["error"] == "not authorised")
        await agent.stop()
    }
}
