// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster install`: makes a member's state directory from its bundle.

import ArgumentParser
import Coordinator
import Platform

struct ClusterInstallCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "install", abstract: "Make this host's member from its bundle.",
        discussion: """
            Refuses a directory that holds a journal. Delete the bundle afterwards: it holds the member's keys. What root installs belongs \
            to the owner of the directory, or of the one above it.
            """)

    @Argument(help: ArgumentHelp("The file that 'ced cluster init' wrote for this member.", valueName: "bundle"))
    var bundle: String
    @Option(help: ArgumentHelp("The state directory.", valueName: "DIR"))
    var directory = ServeConfiguration().directory

    func run() async throws {
        let read = try Bundle(decoding: DurableFile.read(bundle), path: bundle)
        let state = StateDirectory(directory)
        try state.actAsOwner()
        try state.install(read)
        Output.note("member \(read.member) is installed in \(directory); start it: ced serve --directory \(directory)")
    }
}
