// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// This executable once more, as a process of its own session that outlives us. It says something on its standard output and closes it.

import Glibc
import Platform
import Subprocess
import SystemPackage
import Synchronization

package enum DetachedProcess {
    /// What it says until it closes its standard output, or ends; empty if it could not be started. Its standard error is ours.
    package static func launch(_ arguments: [String], input: [UInt8]) async -> String {
        BrokenPipes.areHarmless
        return await withCheckedContinuation { continuation in
            // The run ends when the process does, which may be long after it has spoken.
            Task.detached {
                let pending = Mutex<CheckedContinuation<String, Never>?>(continuation)
                @Sendable func answer(_ text: String) {
                    let waiting = pending.withLock { waiting in
                        defer { waiting = nil }
                        return waiting
                    }
                    waiting?.resume(returning: text)
                }
                var options = PlatformOptions()
                options.createSession = true
                do {
                    _ = try await Subprocess.run(
                        .path("/proc/self/exe"), arguments: Arguments(arguments), environment: .inherit, platformOptions: options,
                        input: .inputWriter, output: .sequence, error: .currentStandardError
                    ) { execution in
                        _ = try await execution.standardInputWriter.write(input)
                        try await execution.standardInputWriter.finish()
                        var said: [UInt8] = []
                        for try await buffer in execution.standardOutput where said.count < 4_096 {
                            buffer.bytes.withUnsafeBytes { said.append(contentsOf: $0) }
                        }
                        answer(String(decoding: said, as: UTF8.self))
                    }
                } catch {
                    // Not started, or gone before it spoke.
                }
                answer("")
            }
        }
    }

    /// In the process: whoever listens hears the end, and the terminal is free.
    package static func leaveTerminal() {
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { return }
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] { dup2(null, descriptor) }
        if null > STDERR_FILENO { close(null) }
    }
}
