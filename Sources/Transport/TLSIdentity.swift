// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What one end of a connection presents: a chain and the key of its leaf, read once into both libraries.

import NIOSSL
import PKI

package struct TLSIdentity: Sendable, CustomStringConvertible {
    /// Leaf first; the root may be left out.
    package let chain: [Certificate]
    package let key: PrivateKey
    let certificateSources: [NIOSSLCertificateSource]
    let keySource: NIOSSLPrivateKeySource

    package init(chain: [Certificate], key: PrivateKey) throws {
        guard let leaf = chain.first else { throw PKIFailure("an identity needs a certificate") }
        guard key.matches(leaf) else { throw PKIFailure("the key does not belong to \(leaf)") }
        self.chain = chain
        self.key = key
        do {
            certificateSources = try chain.map { .certificate(try NIOSSLCertificate(bytes: $0.der, format: .der)) }
            keySource = .privateKey(try NIOSSLPrivateKey(bytes: try key.der, format: .der))
        } catch let failure as PKIFailure {
            throw failure
        } catch {
            throw PKIFailure("the TLS library cannot use \(leaf): \(plainReason(of: error))")
        }
    }

    package var certificate: Certificate { chain[0] }
    package var description: String { certificate.description }
}
