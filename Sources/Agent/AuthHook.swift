// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's authorisation hook: a program that is told everything and answers by its exit code (protocol page, 12).
// One that is killed by a signal denies here; the original allows.

import CtrlExec
import Glibc
import Subprocess
import SystemPackage

package struct AuthHook: Sendable {
    package let path: String
    package let timeoutSeconds: Int

    struct Question: Sendable {
        var action: String
        var script = ""
        var args: [String] = []
        var username = ""
        var token = ""
        var sourceAddress: String
        var timestamp: String
        var dispatcher: String
        var dispatcherSerial: String
    }

    enum Verdict: Hashable, Sendable {
        case allowed
        case denied(reason: String)
        case timedOut
        var reason: String {
            switch self {
            case .allowed: ""
            case .denied(let reason): reason
            case .timedOut: "hook timed out"
            }
        }
    }

    private struct Body: Encodable {
        let question: Question

        private enum CodingKeys: String, CodingKey {
            case action, script, hosts, args, username, token
            case sourceAddress = "source_ip"
            case timestamp, dispatcher
            case dispatcherSerial = "dispatcher_serial"
            case reqid
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(question.action, forKey: .action)
            try container.encode(question.script, forKey: .script)
            try container.encode([String](), forKey: .hosts)
            try container.encode(question.args, forKey: .args)
            try container.encode(question.username, forKey: .username)
            try container.encode(question.token, forKey: .token)
            try container.encode(question.sourceAddress, forKey: .sourceAddress)
            try container.encode(question.timestamp, forKey: .timestamp)
            try container.encode(question.dispatcher, forKey: .dispatcher)
            try container.encode(question.dispatcherSerial, forKey: .dispatcherSerial)
            try container.encode("", forKey: .reqid)
        }
    }

    func ask(_ question: Question) async -> Verdict {
        guard AgentFiles.isExecutableFile(path) else { return .denied(reason: AgentErrors.hookMissing(path)) }
        ScriptRunner.ignoreBrokenPipes
        let body = AgentJSON.encode(Body(question: question))
        let environment = Environment.inherit.updating([
            "ENVEXEC_ACTION": question.action, "ENVEXEC_SCRIPT": question.script, "ENVEXEC_HOSTS": "",
            "ENVEXEC_ARGS": question.args.joined(separator: " "),
            "ENVEXEC_ARGS_JSON": String(decoding: AgentJSON.encode(question.args), as: UTF8.self), "ENVEXEC_USERNAME": question.username,
            "ENVEXEC_TOKEN": question.token, "ENVEXEC_SOURCE_IP": question.sourceAddress, "ENVEXEC_TIMESTAMP": question.timestamp,
            "ENVEXEC_DISPATCHER": question.dispatcher, "ENVEXEC_DISPATCHER_SERIAL": question.dispatcherSerial,
        ])
        let path = path
        let timeout = Duration.seconds(timeoutSeconds)
        return await withTaskGroup(of: Verdict.self) { group in
            group.addTask {
                do {
                    // The writer, not `.array`: with that, Subprocess ends our whole process when the hook does not read its input.
                    let result = try await Subprocess.run(
                        .path(FilePath(path)), environment: environment, input: .inputWriter, output: .discarded, error: .discarded
                    ) { execution in
                        do { _ = try await execution.standardInputWriter.write(body) } catch {
                            // The hook may decide by its environment alone.
                        }
                        try await execution.standardInputWriter.finish()
                    }
                    switch result.terminationStatus {
                    case .exited(0): return .allowed
                    case .exited(let code): return .denied(reason: AgentErrors.hookReason(exitCode: code))
                    case .signaled(let signal): return .denied(reason: "hook killed by signal \(signal)")
                    }
                } catch {
                    return .denied(reason: "hook failed: \(error)")
                }
            }
            group.addTask {
                // Cancelled when the hook has answered. A cancelled run kills its process.
                do { try await Task.sleep(for: timeout) } catch { return .allowed }
                return .timedOut
            }
            let first = await group.next() ?? .denied(reason: "hook failed")
            group.cancelAll()
            return first
        }
    }
}
