// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Signatures, on a worker thread. What is signed is said by the job and nothing else: of the request only its public key is used.
// A job that comes twice makes two certificates with one serial, of which at most one is ever recorded (architecture, rule 4).

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import NIOPosix
import PKI

/// Where the runner hands signing jobs.
package protocol Signing: Sendable {
    /// `done` is called once, on any thread.
    func sign(_ job: SigningJob, done: @escaping @Sendable (Result<SignedCertificate, SigningFailure>) -> Void)
}

package final class Signer: Signing {
    private let vault: KeyVault
    private let workers = NIOThreadPool(numberOfThreads: 1)

    package init(vault: KeyVault) {
        self.vault = vault
        workers.start()
    }

    package func sign(_ job: SigningJob, done: @escaping @Sendable (Result<SignedCertificate, SigningFailure>) -> Void) {
        let vault = vault
        workers.submit { state in
            switch state {
            case .active: done(Self.sign(job, with: vault))
            case .cancelled: done(.failure(.dropped))
            }
        }
    }

    package func close() async throws { try await workers.shutdownGracefully() }

    static func sign(_ job: SigningJob, with vault: KeyVault) -> Result<SignedCertificate, SigningFailure> {
        do {
            let request = try CertificateRequest(der: job.obligation.signingRequest.der)
            let notBefore = job.validity.notBefore.secondsSince1970
            let notAfter = job.validity.notAfter.secondsSince1970
            let certificate =
                switch job.obligation.purpose {
                case .operatorCertificate(let name):
                    try vault.clusterAuthority().issue(
                        request, subject: name.text, serial: job.obligation.serial,
                        role: .operator(cluster: "\(vault.cluster)", name: name.text), usage: .client, notBefore: notBefore,
                        notAfter: notAfter)
                case .agentCertificate(_, let name):
                    try vault.fleetAuthority().issue(
                        request, subject: name.text, serial: job.obligation.serial, role: nil, usage: .both, notBefore: notBefore,
                        notAfter: notAfter)
                }
            return .success(SignedCertificate(der: certificate.der, notAfter: WallClock(secondsSince1970: certificate.notAfter)))
        } catch {
            return .failure(.impossible("\(error)"))
        }
    }
}
