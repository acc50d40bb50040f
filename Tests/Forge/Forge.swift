// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced-forge`: certificates that an authority of a test's cluster would never give, such as one that has expired, or a second one in a
// member's name. It opens the authority's key as the member does, out of a member's state directory, in which the member may be running.
// For the checks beside it (EndToEndTests); it is no part of what is installed.

import ArgumentParser
import Consensus
import Coordinator
import CtrlExec
import DispatcherState
import PKI
import Platform
import Transport
import Wire

@main struct Forge: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ced-forge", abstract: "Makes a certificate of a test cluster's own authority, and prints its serial number.")

    enum Signer: String, ExpressibleByArgument { case cluster, fleet }
    enum Kind: String, ExpressibleByArgument { case member, `operator`, dispatcher, none }
    enum Time: String, ExpressibleByArgument {
        case now, past, future
        /// Seconds from now at which the validity begins and ends.
        var bounds: (begin: Int64, end: Int64) {
            switch self {
            case .now: (-day, 30 * day)
            case .past: (-10 * day, -day)
            case .future: (day, 30 * day)
            }
        }
        private var day: Int64 { 86_400 }
    }

    @Argument(help: ArgumentHelp("A member's state directory.", valueName: "dir")) var directory: String
    @Argument(help: ArgumentHelp("PATH.crt and PATH.key are written.", valueName: "path")) var out: String
    @Option(help: "Whose signature: cluster or fleet.") var authority = Signer.cluster
    @Option(help: "member, operator, dispatcher or none.") var role = Kind.none
    @Option(help: "The common name, and the name in the role.") var name: String
    @Option(help: "When it is valid: now, past or future.") var time = Time.now

    func run() throws {
        let state = StateDirectory(directory)
        let (genesis, _) = try GenesisFile.decode(DurableFile.read(state.journal + "/" + JournalFormat.genesis.name, limit: 8 << 20))
        let vault = KeyVault(genesis: try GenesisState(decoding: genesis.payload), key: try state.secrets().clusterKey)
        let signer = try authority == .cluster ? vault.clusterAuthority() : vault.fleetAuthority()
        let key = try PrivateKey.generateP256()
        // Positive, and in no incarnation's numbers.
        guard let serial = SerialNumber(bytes: [0x4f] + (try SystemRandom.bytes(15))) else {
            preconditionFailure("16 bytes are a serial number")
        }
        let now = wallClockSeconds()
        let certificate = try signer.issue(
            CertificateRequest.make(key: key, commonName: name), subject: name, serial: serial, role: stated(vault.cluster), usage: .both,
            notBefore: now + time.bounds.begin, notAfter: now + time.bounds.end)
        try DurableFile.write(certificate.pem, to: out + ".crt", mode: 0o644)
        try DurableFile.write(key.pem, to: out + ".key", mode: 0o600)
        print(serial)
    }

    private func stated(_ cluster: ClusterID) -> CertificateRole? {
        switch role {
        case .member: .member(cluster: "\(cluster)", id: name)
        case .operator: .operator(cluster: "\(cluster)", name: name)
        case .dispatcher: .dispatcher(cluster: "\(cluster)")
        case .none: nil
        }
    }
}
