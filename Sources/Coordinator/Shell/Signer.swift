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
    /// Opens the identity's key; `done` is called once, on any thread, with why this member cannot present it, or nil.
    func hold(_ identity: Identity, done: @escaping @Sendable (String?) -> Void)
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

    package func hold(_ identity: Identity, done: @escaping @Sendable (String?) -> Void) {
        let vault = vault
        workers.submit { state in
            guard case .active = state else { return done("the member ends") }
            do {
                try vault.hold(identity)
                done(nil)
            } catch {
                done("\(error)")
            }
        }
    }

    package func close() async throws { try await workers.shutdownGracefully() }

    static func sign(_ job: SigningJob, with vault: KeyVault) -> Result<SignedCertificate, SigningFailure> {
        do {
            let notBefore = job.validity.notBefore.secondsSince1970
            let notAfter = job.validity.notAfter.secondsSince1970
            if case .dispatcherIdentity = job.obligation.purpose {
                let made = try vault.makeIdentity(serial: job.obligation.serial, notBefore: notBefore, notAfter: notAfter)
                return .success(
                    SignedCertificate(
                        der: made.certificate.der, notAfter: WallClock(secondsSince1970: made.certificate.notAfter), key: made.key))
            }
            let request = try CertificateRequest(der: job.obligation.signingRequest.der)
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
                case .memberCertificate(let member):
                    try vault.clusterAuthority().issue(
                        request, subject: member.name, serial: job.obligation.serial,
                        role: .member(cluster: "\(vault.cluster)", id: member.name), usage: .both, notBefore: notBefore, notAfter: notAfter)
                case .dispatcherIdentity: throw PKIFailure("an identity has no request")
                }
            return .success(SignedCertificate(der: certificate.der, notAfter: WallClock(secondsSince1970: certificate.notAfter)))
        } catch {
            return .failure(.impossible("\(error)"))
        }
    }
}
