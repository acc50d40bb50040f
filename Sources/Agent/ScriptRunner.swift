// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Runs a script without a shell (protocol page, 10): its context on standard input, both outputs read at the same time and kept up to a limit.
// No limit on the time; the dispatcher's patience ends earlier, the script goes on.

import CtrlExec
import Glibc
import Platform
import Subprocess
import SystemPackage

/// What became of a script.
package struct ScriptOutcome: Hashable, Sendable {
    /// Its exit code; 126 if a signal ended it, 127 if it could not be executed, −1 if the agent failed.
    package var exit: Int64
    package var stdout: String
    package var stderr: String
    /// Bytes of the context that the script had not read when the time for it was over; nil if it took all, or ended before.
    package var unreadContextBytes: Int?
}

package struct ScriptRunner: Sendable {
    package let stdinTimeoutSeconds: Int
    /// Of each output; the rest is read and dropped, so that the script goes on.
    package let outputLimitBytes: Int

    package init(stdinTimeoutSeconds: Int, outputLimitBytes: Int = Limits.outputBytes) {
        self.stdinTimeoutSeconds = stdinTimeoutSeconds
        self.outputLimitBytes = outputLimitBytes
        BrokenPipes.areHarmless
    }

    /// As 0.12 does: a fixed `PATH`, and a few variables if the agent has them.
    static var environment: Subprocess.Environment {
        var variables: [Environment.Key: String] = ["PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        for name in ["HOME", "LANG", "LC_ALL", "TZ", "TERM", "USER", "LOGNAME"] {
            if let value = getenv(name), let key = Environment.Key(rawValue: name) { variables[key] = String(cString: value) }
        }
        return .custom(variables)
    }

    package func run(_ path: String, arguments: [String], context: [UInt8]) async -> ScriptOutcome {
        guard arguments.allSatisfy({ !$0.utf8.contains(0) }) else {
            return ScriptOutcome(exit: -1, stdout: "", stderr: "cea: an argument contains a NUL byte, which no program can be given\n")
        }
        var options = PlatformOptions()
        // A group of its own: what a terminal sends to the agent is not for the script.
        options.processGroupID = 0
        do {
            let result = try await Subprocess.run(
                .path(FilePath(path)), arguments: Arguments(arguments), environment: ScriptRunner.environment, platformOptions: options,
                input: .inputWriter, output: .sequence, error: .sequence
            ) { execution in
                async let stdout = collect(execution.standardOutput)
                async let stderr = collect(execution.standardError)
                let unread = await feed(context, to: execution.standardInputWriter)
                return (stdout: await stdout, stderr: await stderr, unread: unread)
            }
            let exit: Int64 =
                switch result.terminationStatus {
                case .exited(let code): Int64(code)
                case .signaled: 126
                }
            let (stdout, stderr, unread) = result.closureResult
            var errors = stderr.text
            for (name, output) in [("stdout", stdout), ("stderr", stderr)] where output.dropped > 0 {
                if !errors.isEmpty, !errors.hasSuffix("\n") { errors += "\n" }
                errors += "cea: \(name) was longer than \(outputLimitBytes) bytes; \(output.dropped) bytes were dropped\n"
            }
            return ScriptOutcome(exit: exit, stdout: stdout.text, stderr: errors, unreadContextBytes: unread)
        } catch let error as SubprocessError where error.code == .executableNotFound || error.code == .spawnFailed {
            let reason = error.underlyingError.map { "\($0)" } ?? "not found"
            return ScriptOutcome(exit: 127, stdout: "", stderr: "cea: cannot execute \(path): \(reason)\n")
        } catch {
            return ScriptOutcome(exit: -1, stdout: "", stderr: "cea: cannot run \(path): \(error)\n")
        }
    }

    /// The number of bytes that were not taken in time. An end of the reader is no failure: the script did not want its context.
    private func feed(_ context: [UInt8], to writer: StandardInputWriter) async -> Int? {
        let timeout = Duration.seconds(stdinTimeoutSeconds)
        let written = await withTaskGroup(of: Int?.self) { group in
            group.addTask {
                do { return try await writer.write(context) } catch { return context.count }
            }
            group.addTask {
                // Cancelled when the write is through.
                do { try await Task.sleep(for: timeout) } catch { return context.count }
                return nil
            }
            var first = await group.next() ?? context.count
            group.cancelAll()
            // The write that was cut off says how far it came.
            if first == nil, let late = await group.next() { first = late }
            return first ?? 0
        }
        do { try await writer.finish() } catch {
            // The other end is closed already.
        }
        return written < context.count ? context.count - written : nil
    }

    private struct Collected: Sendable {
        let text: String
        let dropped: Int
    }

    /// To the end of the stream, or of the script. What is not UTF-8 is repaired, for JSON can carry nothing else.
    private func collect(_ sequence: SubprocessOutputSequence) async -> Collected {
        var bytes: [UInt8] = []
        var dropped = 0
        do {
            for try await buffer in sequence {
                let room = outputLimitBytes - bytes.count
                let kept = min(room, buffer.count)
                if kept > 0 { buffer.bytes.withUnsafeBytes { bytes.append(contentsOf: $0.prefix(kept)) } }
                dropped += buffer.count - kept
            }
        } catch {
            // What was read until then is the output.
        }
        return Collected(text: String(decoding: bytes, as: UTF8.self), dropped: dropped)
    }
}
