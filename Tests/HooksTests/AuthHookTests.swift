// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The hook as a real program: what it is told, what its end means, and that nothing but a clear yes allows.

import CtrlExec
import Foundation
import Platform
import Testing

@testable import Hooks

/// A directory with a hook in it.
final class HookDirectory: Sendable {
    let path: String
    var hook: String { path + "/hook" }

    init(_ script: String, mode: Int = 0o755) throws {
        path = FileManager.default.temporaryDirectory.appending(path: "ced-hook-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let text = "#!/bin/sh\ncd \(path) || exit 99\n\(script)\n"
        guard FileManager.default.createFile(atPath: hook, contents: Data(text.utf8), attributes: [.posixPermissions: mode]) else {
            throw CocoaError(.fileWriteUnknown)
        }
    }
    deinit {
        // A directory of the test's own; what is left of it does no harm.
        try? FileManager.default.removeItem(atPath: path)
    }
    func text(_ name: String) -> String? {
        // Nil is what a test asks for.
        try? String(contentsOfFile: path + "/" + name, encoding: .utf8)
    }
}

private func question(_ action: HookQuestion.Action = .run) -> HookQuestion {
    HookQuestion(action, sourceAddress: "192.0.2.7", timestamp: "2026-11-23T16:30:04Z")
}

@Suite("The auth hook", .timeLimit(.minutes(2)))
struct AuthHookTests {
    @Test(
        "only exit 0 allows",
        arguments: [
            ("exit 0", .allowed), ("exit 1", .denied(code: 1, reason: "denied")), ("exit 2", .denied(code: 2, reason: "bad credentials")),
            ("exit 3", .denied(code: 3, reason: "insufficient privilege")), ("exit 77", .denied(code: 77, reason: "hook exited 77")),
            ("kill -9 $$", .denied(code: 1, reason: "hook killed by signal 9")),
            ("kill -TERM $$", .denied(code: 1, reason: "hook killed by signal 15")),
            // Its words are nobody's business.
            ("echo no >&2; yes | head -c 300000; exit 0", .allowed),
            // It reads nothing.
            ("exec <&-; exit 0", .allowed),
            // What it leaves behind holds its input open.
            ("sleep 600 & echo $! > child; exit 0", .allowed),
        ] as [(String, HookVerdict)])
    func verdicts(_ script: String, _ expected: HookVerdict) async throws {
        let directory = try HookDirectory(script)
        defer { if let child = directory.text("child").flatMap({ Int32($0.dropLast()) }) { kill(child, SIGKILL) } }
        #expect(await AuthHook(path: directory.hook, timeoutSeconds: 30).ask(question()) == expected)
    }

    @Test("what cannot be run denies, and says what is wrong")
    func notThere() async throws {
        let plain = try HookDirectory("exit 0", mode: 0o644)
        for path in ["/no/such/hook", plain.hook, plain.path] {
            let verdict = await AuthHook(path: path, timeoutSeconds: 5).ask(question())
            #expect(verdict == .denied(code: 1, reason: "auth hook not found or not executable: \(path)"))
        }
        let strange = try HookDirectory("")
        try Data("#!/no/such/interpreter\n".utf8).write(to: URL(filePath: strange.hook))
        let verdict = await AuthHook(path: strange.hook, timeoutSeconds: 5).ask(question())
        #expect(verdict.code == 1 && verdict.reason.hasPrefix("hook failed: "), "\(verdict)")
    }

    @Test("a hook that hangs is killed with all that it started, and denies")
    func hanging() async throws {
        let directory = try HookDirectory("trap '' TERM INT; sleep 600 & echo $$ $! > pids; wait; sleep 600")
        #expect(await AuthHook(path: directory.hook, timeoutSeconds: 1).ask(question()) == .timedOut)
        let pids = try #require(directory.text("pids")).split(whereSeparator: \.isWhitespace).compactMap { Int32($0) }
        #expect(pids.count == 2)
        for pid in pids {
            // An orphan is reaped by whoever adopted it: it may be a zombie for a while.
            let deadline = ContinuousClock.now.advanced(by: .seconds(10))
            while kill(pid, 0) == 0, !isZombie(pid), ContinuousClock.now < deadline { await Task.yield() }
            #expect(kill(pid, 0) != 0 || isZombie(pid))
        }
    }

    private func isZombie(_ pid: Int32) -> Bool {
        // Gone between two looks: not a zombie.
        let status = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
        return status.contains(") Z ")
    }

    @Test("it is told everything, in its environment and on its input, and inherits the rest")
    func told() async throws {
        let directory = try HookDirectory("cat > input; env | grep -E '^(ENVEXEC_|PATH=)' | sort > environment")
        var asked = question()
        asked.script = "hello"
        asked.hosts = ["web-1", "web-2:7000"]
        asked.args = ["a b", "\"ü\""]
        asked.username = "ann"
        asked.token = "t0k"
        asked.dispatcher = "disp-one"
        asked.dispatcherSerial = "5c01"
        #expect(await AuthHook(path: directory.hook, timeoutSeconds: 30).ask(asked) == .allowed)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        #expect(
            directory.text("environment") == """
                ENVEXEC_ACTION=run
                ENVEXEC_ARGS=a b "ü"
                ENVEXEC_ARGS_JSON=["a b","\\"ü\\""]
                ENVEXEC_DISPATCHER=disp-one
                ENVEXEC_DISPATCHER_SERIAL=5c01
                ENVEXEC_HOSTS=web-1,web-2:7000
                ENVEXEC_SCRIPT=hello
                ENVEXEC_SOURCE_IP=192.0.2.7
                ENVEXEC_TIMESTAMP=2026-11-23T16:30:04Z
                ENVEXEC_TOKEN=t0k
                ENVEXEC_USERNAME=ann
                PATH=\(path)

                """)
        #expect(
            directory.text("input")
                == #"{"action":"run","args":["a b","\"ü\""],"dispatcher":"disp-one","dispatcher_serial":"5c01","#
                + #""hosts":["web-1","web-2:7000"],"reqid":"","script":"hello","source_ip":"192.0.2.7","submitter":null,"#
                + #""timestamp":"2026-11-23T16:30:04Z","token":"t0k","username":"ann"}"#)
    }

    @Test("for a status it is told whose run it is; for anything else these variables are not there")
    func status() async throws {
        let directory = try HookDirectory("cat > input; env | grep -E '^ENVEXEC_(REQID|SUBMITTER)' | sort > environment; exit 0")
        let hook = AuthHook(path: directory.hook, timeoutSeconds: 30)
        var asked = question(.status)
        asked.reqid = "0123456789abcdef"
        asked.submitter = HookQuestion.Submitter(username: "ann", sourceAddress: "192.0.2.9")
        #expect(await hook.ask(asked) == .allowed)
        #expect(
            directory.text("environment")
                == "ENVEXEC_REQID=0123456789abcdef\nENVEXEC_SUBMITTER=ann\nENVEXEC_SUBMITTER_IP=192.0.2.9\n")
        #expect(directory.text("input")?.contains(#""submitter":{"source_ip":"192.0.2.9","username":"ann"}"#) == true)
        asked.submitter = nil
        #expect(await hook.ask(asked) == .allowed)
        #expect(directory.text("environment") == "ENVEXEC_REQID=0123456789abcdef\nENVEXEC_SUBMITTER=\nENVEXEC_SUBMITTER_IP=\n")
        #expect(await hook.ask(question()) == .allowed)
        #expect(directory.text("environment") == "")
    }

    @Test("what the hook could not be shown in full is denied without asking it")
    func notShown() async throws {
        let directory = try HookDirectory("touch asked; exit 0")
        let hook = AuthHook(path: directory.hook, timeoutSeconds: 30)
        var asked = question()
        asked.args = ["harmless\0--force"]
        #expect(await hook.ask(asked).code == 1)
        asked.args = [String(repeating: "x", count: 131_072)]
        #expect(await hook.ask(asked).reason.contains("larger than"))
        #expect(directory.text("asked") == nil)
        // As large as it goes, and it does not read its input.
        asked.args = [String(repeating: "x", count: 131_000)]
        #expect(await hook.ask(asked) == .allowed)
    }

    @Test("no more run at one time than there are slots")
    func bounded() async throws {
        let directory = try HookDirectory("mkdir running || exit 9; cat > /dev/null; rmdir running")
        let slots = Slots(limit: 1)
        let verdicts = await withTaskGroup(of: HookVerdict.self) { group in
            for _ in 0..<8 { group.addTask { await AuthHook(path: directory.hook, timeoutSeconds: 60, slots: slots).ask(question()) } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(verdicts == Array(repeating: .allowed, count: 8))
    }

    @Test("who finds no slot in time is denied, and so is who is cancelled")
    func noSlot() async throws {
        let directory = try HookDirectory("exit 0")
        let none = Slots(limit: 0)
        let verdict = await AuthHook(path: directory.hook, timeoutSeconds: 1, slots: none).ask(question())
        #expect(verdict == .denied(code: 1, reason: "too many auth hooks are running"))
        let waiting = Task { await none.take(patience: .seconds(600)) }
        waiting.cancel()
        #expect(await waiting.value == false)
        none.give()
        #expect(await none.take(patience: .seconds(600)))
    }
}
