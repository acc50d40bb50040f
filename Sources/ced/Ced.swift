// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The command `ced`: its subcommands.

import ArgumentParser

@main
struct Ced: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ced",
        abstract: "A ctrl-exec dispatcher that is a cluster: runs allow-listed scripts on agents, through whichever member is asked.",
        subcommands: ClientCommands.all + [ClusterCommand.self])
}

struct ClusterCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "See how the cluster is, hand leadership on.", subcommands: ClientCommands.cluster)
}
