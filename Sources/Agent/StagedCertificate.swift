// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A renewed certificate between its arrival and its use (protocol page, 6.8): checked when it comes, checked again when it is adopted.

import CtrlExec
import Glibc
import PKI
import Platform

package struct StagedCertificate: Sendable {
    private let configuration: AgentConfiguration
    package init(_ configuration: AgentConfiguration) { self.configuration = configuration }

    package var isStaged: Bool { DurableFile.exists(configuration.stagedCertificate) }

    /// Why a certificate is not taken, in the original's words.
    package struct Refusal: Error, Sendable { package let text: String }

    /// Accepted only if it chains to our CA, carries our key and is good for longer than the live one.
    package func stage(_ pem: String, nowSeconds: Int64) throws(Refusal) {
        guard !pem.isEmpty else { throw Refusal(text: AgentErrors.certRequired) }
        let certificate = try check(Array(pem.utf8), nowSeconds)
        do {
            try AgentFiles.replace(configuration.stagedCertificate, with: try certificate.pem, mode: 0o640)
        } catch {
            throw Refusal(text: AgentErrors.couldNotStage("\(error)"))
        }
    }

    private func check(_ pem: [UInt8], _ nowSeconds: Int64) throws(Refusal) -> Certificate {
        guard let ca = try? DurableFile.read(configuration.ca), let roots = try? Certificate.all(inPEM: ca) else {  // said as one thing
            throw Refusal(text: AgentErrors.caNotFound(configuration.ca))
        }
        guard let keyPEM = try? DurableFile.read(configuration.key), let key = try? PrivateKey(pem: keyPEM) else {  // said as one thing
            throw Refusal(text: AgentErrors.keyNotFound(configuration.key))
        }
        let certificate: Certificate
        do {
            certificate = try Certificate(pem: pem)
            try verify(chain: [certificate], roots: roots, at: nowSeconds)
        } catch {
            throw Refusal(text: AgentErrors.renewedDoesNotVerify)
        }
        guard key.matches(certificate) else { throw Refusal(text: AgentErrors.renewedKeyMismatch) }
        // Neither port nor map protects this way in: whoever kept an old certificate of ours must not be able to bring it back. One that
        // cannot be read is no reason to refuse a good one.
        if let live = try? AgentFiles.readIfPresent(configuration.cert), let live = try? Certificate(pem: live) {
            guard certificate.notAfter > live.notAfter else { throw Refusal(text: AgentErrors.renewedNotLater) }
        }
        return certificate
    }

    /// Puts the staged certificate in the place of the live one, whose owner it gets; an invalid one is deleted and the old one stays.
    package func promote(nowSeconds: Int64, log: AgentLog) {
        do {
            guard let pem = try AgentFiles.readIfPresent(configuration.stagedCertificate) else { return }
            do {
                let certificate = try check(pem, nowSeconds)
                let owner = geteuid() == 0 ? AgentFiles.owner(of: configuration.cert) : nil
                try AgentFiles.replace(configuration.cert, with: try certificate.pem, mode: 0o640, owner: owner)
                log.info("cert-promote", ("STATUS", "promoted"), ("EXPIRY", OpenSSLTime.text(unixSeconds: certificate.notAfter)))
            } catch let refusal as Refusal {
                log.warning("cert-promote", ("STATUS", "rejected"), ("REASON", refusal.text))
            }
            try DurableFile.remove(configuration.stagedCertificate)
        } catch {
            // A file that only root may write: the staged one waits for somebody who may.
            log.warning("cert-promote", ("STATUS", "waiting"), ("REASON", "\(error)"))
        }
    }
}
