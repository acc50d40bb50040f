// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `cea request-pairing`: asks a dispatcher for a certificate and waits for its operator.

import Agent
import ArgumentParser
import CtrlExec
import Glibc
import NIOPosix

extension LookupBy: ExpressibleByArgument {}
extension Pairing.KeyType: ExpressibleByArgument {}

struct RequestPairingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "request-pairing", abstract: "Ask a dispatcher for a certificate; an operator approves it there.",
        discussion: """
            Prints a six-digit code on standard error: compare it with what the operator sees before the approval. \
            Exit codes with --background concern the waiting process: 0 stored, 2 nobody decided in time, 3 refused.
            """)

    @OptionGroup var files: LayoutOptions
    @Option(help: ArgumentHelp("The dispatcher, with its pairing port (default 7444).", valueName: "HOST[:PORT]")) var dispatcher: String
    @Option(help: "The dispatcher's pairing port.") var port: Int?
    @Option(help: "The port on which this agent serves (default: that of agent.conf, else 7443).") var agentPort: UInt16?
    @Option(help: "How the dispatcher should find this agent: ip or hostname.") var lookupBy: LookupBy?
    @Option(name: [.long, .customLong("name")], help: "The name to register (default: this host's).") var hostname: String?
    @Option(help: "The kind of key: p256, rsa3072 or rsa4096. Dispatchers of ctrl-exec 0.12 take RSA only.") var keyType = Pairing.KeyType
        .rsa3072
    @Flag(help: "Print the request's id on standard output and wait in the background.") var background = false
    @Option(help: "Seconds to wait for the operator: 1 to 600 (default: 30 in the background, else 660).") var timeout: Int?
    /// In the background process.
    @Flag(help: .private) var waiting = false

    func validate() throws {
        if let timeout, !(1...Limits.pairingWaitSeconds).contains(timeout) {
            throw ValidationError("--timeout must be from 1 to \(Limits.pairingWaitSeconds), not \(timeout)")
        }
        guard endpoint != nil else {
            throw ValidationError(
                "--dispatcher must be HOST or HOST:PORT (then without --port, for this agent's own is --agent-port), not '\(dispatcher)'")
        }
    }

    private var endpoint: (host: String, port: Int)? {
        var host = dispatcher
        var number = port ?? 7444
        if let colon = dispatcher.lastIndex(of: ":"),
            dispatcher.hasPrefix("[") ? dispatcher[..<colon].hasSuffix("]") : dispatcher.firstIndex(of: ":") == colon
        {
            guard let given = Int(dispatcher[dispatcher.index(after: colon)...]) else { return nil }
            // Twice the same thing; this agent's own port is --agent-port.
            if port != nil { return nil }
            (host, number) = (String(dispatcher[..<colon]), given)
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        return host.isEmpty || !(1...65_535).contains(number) ? nil : (host, number)
    }

    func run() async throws {
        if background && !waiting { return await startInBackground() }
        guard let endpoint else { return }
        var pairing = Pairing(layout: files.layout, dispatcherHost: endpoint.host)
        pairing.dispatcherPort = endpoint.port
        pairing.port = agentPort
        pairing.lookupBy = lookupBy
        pairing.hostname = hostname
        pairing.keyType = keyType
        pairing.timeoutSeconds = timeout ?? (waiting ? 30 : Limits.pairingClientSeconds)
        let waiting = waiting
        do {
            let paired = try await pairing.run(on: MultiThreadedEventLoopGroup.singleton, log: makeLog()) { code in
                say("Confirmation code: \(code)")
                say("The operator must see the same code before approving.")
            } pending: { reqid in
                if waiting {
                    print(reqid)
                    fflush(nil)
                    DetachedProcess.leaveTerminal()
                } else {
                    say("Request \(reqid) waits for the operator.")
                }
            }
            say("Paired with \(paired.dispatcher). Start (or restart) the agent: cea serve")
        } catch {
            say("cea: \(error)")
            switch error {
            case .other(let failure): Glibc.exit(failure.exitCode.rawValue)
            case .timedOut: Glibc.exit(waiting ? 2 : CtrlExec.ExitCode.failed.rawValue)
            case .denied: Glibc.exit(waiting ? 3 : CtrlExec.ExitCode.failed.rawValue)
            }
        }
    }

    private func startInBackground() async {
        let said = await DetachedProcess.launch(Array(CommandLine.arguments.dropFirst()) + ["--waiting"], input: [])
        let reqid = said.trimmedOfWhiteSpace
        if reqid.isEmpty { Glibc.exit(CtrlExec.ExitCode.failed.rawValue) }
        print(reqid)
    }
}
