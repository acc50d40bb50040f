// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's command. What an agent does is in Agent; here are words, exit codes, signals and where the log goes.

import Agent
import ArgumentParser
import CBuildStamp
import CtrlExec
import Glibc
import Logging
import Platform

@main struct Cea: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cea", abstract: "The ctrl-exec agent: runs allow-listed scripts for the dispatchers that it trusts.",
        version: "cea \(Release.described(commit: String(cString: ced_build_commit())))",
        subcommands: [
            ServeCommand.self, RequestPairingCommand.self, SelfCheckCommand.self, PairingStatusCommand.self, PromoteCertCommand.self,
            DetachedRunCommand.self,
        ])
}

/// Where the agent's files are.
struct LayoutOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Keep everything below this directory instead of /etc/ctrl-exec-agent and /var/lib/ctrl-exec-agent.", valueName: "DIR"))
    var directory: String?
    @Option(help: ArgumentHelp("The agent's configuration (default: agent.conf in the agent's directory).", valueName: "FILE"))
    var config: String?
    @Option(help: ArgumentHelp("The allowed scripts (default: scripts.conf in the agent's directory).", valueName: "FILE"))
    var allowlist: String?

    var layout: AgentLayout { AgentLayout(directory: directory, configuration: config, allowlist: allowlist) }
}

/// Says one line on standard error and ends with the code.
func end(_ failure: AgentFailure) -> Never {
    say(LogOutput.errorMark + "cea: \(failure)")
    exit(failure.exitCode.rawValue)
}

func say(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// Log lines on standard error, or in the journal if systemd reads it.
func makeLog(agent: String? = nil) -> AgentLog {
    AgentLog(Logger(label: "cea", factory: { _ in LogOutput(identifier: "ctrl-exec-agent") }), agent: agent)
}
