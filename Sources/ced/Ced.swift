// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The command `ced`: its subcommands, and how a failure becomes one clear line and an exit status.

import ArgumentParser
import CBuildStamp
import Coordinator
import CtrlExec
import Platform

/// This release and the commit of which it was built.
let cedVersion = Release.described(commit: String(cString: ced_build_commit()))

@main
struct Ced: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ced",
        abstract: "A ctrl-exec dispatcher that is a cluster: runs allow-listed scripts on agents, through whichever member is asked.",
        version: "ced \(cedVersion)",
        subcommands: ClientCommands.all + [
            ClusterCommand.self, ConfigCommand.self, ServeCommand.self, DevCommand.self, DevGuardCommand.self,
        ])

    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            guard let failure = CommandFailure(error) else { exit(withError: error) }
            Output.note(LogOutput.errorMark + "ced: \(failure)")
            exit(withError: ArgumentParser.ExitCode(failure.code.rawValue))
        }
    }
}

struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "Make a cluster, see how it is, hand leadership on, let members come and go.",
        subcommands: [ClusterInitCommand.self, ClusterInstallCommand.self, ClusterJoinCommand.self] + ClientCommands.cluster)
}
