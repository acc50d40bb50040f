// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A secret for the holder of one P-256 key, which crosses a connection of which the receiver is not known otherwise: a fresh key agrees with
// the receiver's (ECDH), and what both then know seals the secret. Only the private key that belongs to the public one opens it.

import COpenSSL
import COpenSSLShim

package struct KeyEnvelope: Hashable, Sendable {
    /// SubjectPublicKeyInfo of the key that was made for this envelope.
    package let ephemeralKey: [UInt8]
    package let sealed: [UInt8]
    package init(ephemeralKey: [UInt8], sealed: [UInt8]) {
        self.ephemeralKey = ephemeralKey
        self.sealed = sealed
    }

    /// - Parameters:
    ///   - publicKey: the receiver's, as SubjectPublicKeyInfo.
    ///   - name: what it is; the receiver must say the same.
    package static func seal(_ secret: [UInt8], to publicKey: [UInt8], name: String, cluster: String) throws -> KeyEnvelope {
        let ephemeral = try PrivateKey.generateP256()
        let ephemeralKey = try ephemeral.publicKeyDER
        let key = try agreedKey(ephemeral, with: publicKey, sender: ephemeralKey, receiver: publicKey)
        return KeyEnvelope(ephemeralKey: ephemeralKey, sealed: try key.seal(secret, name: name, cluster: cluster))
    }

    package func open(with key: PrivateKey, name: String, cluster: String) throws -> [UInt8] {
        let agreed = try Self.agreedKey(key, with: ephemeralKey, sender: ephemeralKey, receiver: try key.publicKeyDER)
        return try agreed.open(sealed, name: name, cluster: cluster)
    }

    /// SHA-256 over the agreed secret and both public keys, each with its length (SP 800-56C, one step).
    private static func agreedKey(
        _ own: PrivateKey, with other: [UInt8], sender: [UInt8], receiver: [UInt8]
    ) throws -> ClusterKey {
        let what = "cannot agree on a key with the other side"
        let peer = try decoded(other, as: "a public key") { d2i_PUBKEY(nil, &$0, $1) }
        defer { EVP_PKEY_free(peer) }
        PKIFailure.drainReasons()
        guard let context = EVP_PKEY_CTX_new(own.handle.pointer, nil) else { throw PKIFailure.openSSL(what) }
        defer { EVP_PKEY_CTX_free(context) }
        var count = 0
        guard EVP_PKEY_derive_init(context) == 1, EVP_PKEY_derive_set_peer(context, peer) == 1,
            EVP_PKEY_derive(context, nil, &count) == 1, count == 32
        else { throw PKIFailure.openSSL("\(what): both need P-256 keys") }
        var secret = [UInt8](repeating: 0, count: count)
        guard EVP_PKEY_derive(context, &secret, &count) == 1, count == 32 else { throw PKIFailure.openSSL(what) }
        var material = Array("ced envelope 1".utf8)
        for part in [secret, sender, receiver] {
            material += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: UInt32(truncatingIfNeeded: part.count) >> $0) } + part
        }
        return try ClusterKey(bytes: sha256(material), version: 1)
    }
}
