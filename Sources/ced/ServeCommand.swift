// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced serve`: one member of the cluster, in the foreground, as a service manager wants it.

import ArgumentParser
import Coordinator
import CtrlExec
import Glibc
import Platform

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Serve as a member of the cluster.",
        discussion:
            "Flags win over the configuration file. SIGTERM and SIGINT end it in good order: a leader hands leadership on first. SIGHUP reads the configuration file again."
    )

    @Option(
        help: ArgumentHelp("The configuration file (default: \(ServeConfiguration.defaultPath), which may be missing).", valueName: "FILE"))
    var config: String?
    @Option(help: ArgumentHelp("The state directory.", valueName: "DIR"))
    var directory: String?
    @Option(help: ArgumentHelp("Where operators and other members' clients come in.", valueName: "HOST:PORT"))
    var operations: String?
    @Option(help: ArgumentHelp("Where hosts ask to be paired.", valueName: "HOST:PORT"))
    var pairing: String?
    @Option(help: ArgumentHelp("Where ctrl-exec's own HTTP API listens.", valueName: "HOST:PORT"))
    var api: String?
    @Option(help: ArgumentHelp("Where the other members connect.", valueName: "HOST:PORT"))
    var peer: String?
    @Option(help: ArgumentHelp("The control socket.", valueName: "PATH"))
    var socket: String?
    @Option(help: ArgumentHelp("The source address of connections to members and agents.", valueName: "ADDRESS"))
    var dialFrom: String?
    @Flag(help: "Take pairing requests without a pairing session.")
    var pairingAlways = false

    func run() async throws {
        let arguments = self
        try await MemberProcess.run(try arguments.read(), version: cedVersion, reread: { try arguments.read() })
    }

    /// The file and the flags, as they are now.
    private func read() throws -> ServeConfiguration {
        let path = config ?? ServeConfiguration.defaultPath
        var text: String?
        do throws(FileProblem) {
            text = String(decoding: try DurableFile.read(path), as: UTF8.self)
        } catch {
            // The default file may be missing; one that was named may not.
            guard config == nil, error.number == ENOENT else {
                throw CommandFailure(.configuration, error.description)
            }
        }
        var flags = ServeConfiguration.Flags()
        flags.directory = directory
        flags.operations = operations
        flags.pairing = pairing
        flags.api = api
        flags.peer = peer
        flags.controlSocket = socket
        flags.dialFrom = dialFrom
        flags.pairingAlways = pairingAlways
        return try ServeConfiguration(file: text, path: path, flags: flags)
    }
}
