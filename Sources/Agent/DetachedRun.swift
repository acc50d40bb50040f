// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// An asynchronous run. It survives the agent: a process of its own session holds the script's lock, runs the script and writes the record.
// The agent hears one word from it, then knows it only by its lock and its record.

import CtrlExec
import Glibc

/// What the process is told, as JSON on its standard input.
package struct DetachedRun: Codable, Sendable {
    var script: String
    var path: String
    var arguments: [String]
    /// What the script reads.
    var context: String
    var dispatcher: String
    var reference: String
    var runsDirectory: String
    var stdinTimeoutSeconds: Int

    package enum Decision: String, Sendable {
        case started
        case busy
        case failed
    }

    /// Takes the lock, writes `running`, says so, runs, writes `done`. What goes wrong after the start is in the record, or nowhere.
    package func perform(now: @Sendable () -> Int64, decided: @Sendable (Decision) -> Void) async {
        guard let name = ScriptName(script), let owner = DispatcherID(dispatcher), let reference = RunReference(reference) else {
            return decided(.failed)
        }
        let store = RunStore(directory: runsDirectory)
        store.sweep(nowSeconds: now())
        let lock: FileLock
        var record = ResultAnswer.running(
            reqid: reference.text, script: script, owner: dispatcher, started: ISO8601Time.text(unixSeconds: now()))
        do {
            guard let free = try store.lock(name) else { return decided(.busy) }
            lock = free
            try store.write(record, reference, of: owner)
        } catch {
            return decided(.failed)
        }
        decided(.started)
        let outcome = await ScriptRunner(stdinTimeoutSeconds: stdinTimeoutSeconds).run(
            path, arguments: arguments, context: Array(context.utf8))
        record.status = "done"
        record.finished = ISO8601Time.text(unixSeconds: now())
        record.exit = outcome.exit
        record.stdout = outcome.stdout
        record.stderr = outcome.stderr
        // Nobody is left to hear of a failure; the record stays `running` and is swept after a day.
        try? store.write(record, reference, of: owner)
        withExtendedLifetime(lock) {}
    }
}

/// Who carries detached runs out.
package enum DetachedLauncher: Sendable {
    /// A process of its own: this executable, called with the argument.
    case process(argument: String)
    /// A task of this process, for those who cannot be executed again. The run ends with the process.
    case task

    func launch(_ run: DetachedRun, now: @escaping @Sendable () -> Int64) async -> DetachedRun.Decision {
        if case .process(let argument) = self {
            let word = await DetachedProcess.launch([argument], input: AgentJSON.encode(run))
            return DetachedRun.Decision(rawValue: word.trimmedOfWhiteSpace) ?? .failed
        }
        return await withCheckedContinuation { continuation in
            Task.detached { await run.perform(now: now) { continuation.resume(returning: $0) } }
        }
    }

}

extension DetachedRun {
    /// The body of the process: reads the run, says the decision on standard output and closes it.
    package static func main(now: @escaping @Sendable () -> Int64) async -> ExitCode {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while case let count = read(STDIN_FILENO, &buffer, buffer.count), count > 0 { bytes.append(contentsOf: buffer.prefix(count)) }
        guard let run = AgentJSON.decodeIfPossible(DetachedRun.self, bytes) else { return .usage }
        await run.perform(now: now) { decision in
            let word = Array((decision.rawValue + "\n").utf8)
            _ = write(STDOUT_FILENO, word, word.count)
            DetachedProcess.leaveTerminal()
        }
        return .done
    }
}
