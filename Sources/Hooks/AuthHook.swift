// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The authorisation hook of dispatcher and agent: a program that is told everything and answers by its exit code (protocol page, 12).
// Whatever is not a clear yes denies: one that cannot be started, is killed by a signal (the original allows then), exceeds its time, or
// cannot be told everything. It runs in a process group of its own, which ends with it when its time is over.

import CtrlExec
import Glibc
import Platform
import Subprocess
import SystemPackage

package struct AuthHook: Sendable {
    package let path: String
    package let timeoutSeconds: Int
    private let slots: Slots

    /// Hooks that run at one time, in the whole process: whoever may ask a port may start one.
    package static let slots = Slots(limit: 32)

    /// - Parameter slots: of the process unless a test says otherwise.
    package init(path: String, timeoutSeconds: Int, slots: Slots = AuthHook.slots) {
        self.path = path
        self.timeoutSeconds = timeoutSeconds
        self.slots = slots
    }

    /// The kernel takes no longer text in an environment (`MAX_ARG_STRLEN`), name and end included.
    private static let variableBytes = 131_071

    /// Suspends and never blocks; ends with the hook, at the latest after twice its time-out (once in the queue, once running).
    package func ask(_ question: HookQuestion) async -> HookVerdict {
        guard isExecutableFile(path) else { return .denied(code: 1, reason: AgentErrors.hookMissing(path)) }
        let variables = question.environment
        // A hook that decides by its environment must not be shown less than will run.
        guard variables.allSatisfy({ !$0.value.utf8.contains(0) }) else {
            return .denied(code: 1, reason: "the request contains a NUL byte, which the auth hook cannot be told")
        }
        guard variables.allSatisfy({ $0.name.utf8.count + 1 + $0.value.utf8.count < Self.variableBytes }) else {
            return .denied(code: 1, reason: "the request is larger than the auth hook's environment can carry")
        }
        let timeout = Duration.seconds(timeoutSeconds)
        guard await slots.take(patience: timeout) else { return .denied(code: 1, reason: "too many auth hooks are running") }
        defer { slots.give() }
        return await withTaskGroup(of: HookVerdict.self) { group in
            group.addTask { await run(variables, input: Array(question.json.canonicalText.utf8)) }
            group.addTask {
                // Cancelled when the hook has answered.
                do { try await Task.sleep(for: timeout) } catch { return .timedOut }
                return .timedOut
            }
            let first = await group.next() ?? .timedOut
            // A cancelled run kills its process group.
            group.cancelAll()
            return first
        }
    }

    private func run(_ variables: [(name: String, value: String)], input: [UInt8]) async -> HookVerdict {
        BrokenPipes.areHarmless
        var updates: [Environment.Key: String?] = [:]
        for (name, value) in variables { if let key = Environment.Key(rawValue: name) { updates[key] = value } }
        var options = PlatformOptions()
        options.processGroupID = 0
        options.teardownSequence = [.send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .zero)]
        do {
            // The writer, not `.array`: with that, Subprocess ends our whole process when the hook does not read its input.
            let result = try await Subprocess.run(
                .path(FilePath(path)), environment: .inherit.updating(updates), platformOptions: options, input: .inputWriter,
                output: .discarded, error: .discarded
            ) { execution in
                do { _ = try await execution.standardInputWriter.write(input) } catch {
                    // The hook may decide by its environment alone.
                }
                try await execution.standardInputWriter.finish()
            }
            switch result.terminationStatus {
            case .exited(0): return .allowed
            case .exited(let code): return .denied(code: code, reason: AgentErrors.hookReason(exitCode: code))
            case .signaled(let signal): return .denied(code: 1, reason: "hook killed by signal \(signal)")
            }
        } catch {
            return .denied(code: 1, reason: "hook failed: \(error)")
        }
    }
}

package enum HookVerdict: Hashable, Sendable {
    case allowed
    /// `code` is the hook's exit status, 1 where it has none.
    case denied(code: Int32, reason: String)
    case timedOut

    /// Empty if it allowed.
    package var reason: String {
        switch self {
        case .allowed: ""
        case .denied(_, let reason): reason
        case .timedOut: "hook timed out"
        }
    }

    package var code: Int32 {
        switch self {
        case .allowed: 0
        case .denied(let code, _): code
        case .timedOut: 1
        }
    }
}
