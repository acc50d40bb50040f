// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced cluster init`: mints a cluster and writes one bundle per member; without --members it makes a cluster of one, right here.

import ArgumentParser
import Consensus
import Coordinator
import CtrlExec
import Glibc
import PKI
import Platform

struct ClusterInitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Mint a new cluster: keys, certificates and one bundle for each member.",
        discussion: """
            With --members it writes DIR/ID.bundle (mode 0600) for each; carry each to its host over a safe channel, run
            'ced cluster install' there and delete it. Without --members it makes a cluster of one member, 'a', in --directory.
            """)

    @Option(help: ArgumentHelp("The members and their peer addresses.", valueName: "a=HOST:PORT,b=…"))
    var members: String?
    @Option(help: ArgumentHelp("The name under which agents know this dispatcher, whichever member presents it.", valueName: "ID"))
    var dispatcherId: String?
    @Option(help: ArgumentHelp("Where to write the bundles.", valueName: "DIR"))
    var out = "."
    @Option(help: ArgumentHelp("The state directory of a cluster of one.", valueName: "DIR"))
    var directory: String?

    func run() async throws {
        let now = WallClock(secondsSince1970: Int64(time(nil)))
        let dispatcher = try chosenDispatcherID()
        guard let members else {
            guard let id = MemberID("a") else { preconditionFailure("'a' is an id") }
            let state = StateDirectory(directory ?? ServeConfiguration().directory)
            let bundles = try ClusterInit.mint(
                members: [(id, HostPort(host: "127.0.0.1", port: 7446))], dispatcherID: dispatcher, now: now)
            try state.actAsOwner()
            for bundle in bundles { try state.install(bundle) }
            Output.note("made a cluster of one member in \(state.path); start it: ced serve --directory \(state.path)")
            return
        }
        if directory != nil { throw CommandFailure(.usage, "--directory goes with a cluster of one; with --members say --out") }
        let bundles = try ClusterInit.mint(members: ClusterInit.members(members), dispatcherID: dispatcher, now: now)
        try DurableFile.makeDirectory(out, mode: 0o700)
        let paths = bundles.map { out + "/\($0.member).bundle" }
        if let path = paths.first(where: DurableFile.exists) {
            throw CommandFailure(.failed, "\(path) is there already: a bundle holds keys and is not overwritten (give another --out)")
        }
        for (bundle, path) in zip(bundles, paths) {
            try DurableFile.write(bundle.encoded(), to: path, mode: 0o600)
            print(path)
        }
        Output.note("on the host of each member: ced cluster install ID.bundle && rm ID.bundle, then ced serve")
    }

    /// Not the name of this host: it outlives every member.
    private func chosenDispatcherID() throws -> DispatcherID {
        let text = try dispatcherId ?? "ced-" + hexadecimal(SystemRandom.bytes(4))
        guard let id = DispatcherID(text) else {
            throw CommandFailure(
                .usage, "--dispatcher-id: '\(text)' has something other than letters, digits, '.', '_' and '-', or more than 64 characters")
        }
        return id
    }
}
