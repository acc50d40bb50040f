// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Private keys. The key stays inside OpenSSL; bytes of it leave only through `pem` and `der`. It never prints itself.

import COpenSSL
import COpenSSLShim

/// A private key: RSA, elliptic curve or Ed25519.
package struct PrivateKey: Sendable, CustomStringConvertible {
    /// Never changed after it is made, which is what makes sharing it between threads safe: OpenSSL locks what it caches inside.
    final class Handle: @unchecked Sendable {
        let pointer: OpaquePointer
        init(_ pointer: OpaquePointer) { self.pointer = pointer }
        deinit { EVP_PKEY_free(pointer) }
    }
    let handle: Handle

    init(taking pointer: OpaquePointer) { handle = Handle(pointer) }

    /// What members, dispatchers and operators get: signatures cost a 200th of RSA-4096's.
    package static func generateP256() throws -> PrivateKey {
        guard let pointer = ced_generate_p256() else { throw PKIFailure.openSSL("cannot generate a P-256 key") }
        return PrivateKey(taking: pointer)
    }

    /// - Parameter bits: 2048 to 8192.
    package static func generateRSA(bits: Int) throws -> PrivateKey {
        guard (2048...8192).contains(bits) else { throw PKIFailure("an RSA key has 2048 to 8192 bits, not \(bits)") }
        guard let pointer = ced_generate_rsa(bits) else { throw PKIFailure.openSSL("cannot generate an RSA key of \(bits) bits") }
        return PrivateKey(taking: pointer)
    }

    /// The first private key in PEM, as PKCS#8 or in the traditional forms. An encrypted key is refused, never asked about.
    package init(pem: [UInt8]) throws {
        PKIFailure.drainReasons()
        let pointer = try withReader(over: pem) { ced_read_private_key($0) }
        guard let pointer else {
            throw PKIFailure.openSSL("cannot read a private key from PEM (an encrypted key must be decrypted first: openssl pkey -in KEY)")
        }
        PKIFailure.drainReasons()
        self.init(taking: pointer)
    }

    /// PKCS#8 or a traditional form.
    package init(der: [UInt8]) throws {
        let pointer = try decoded(der, as: "a private key") { d2i_AutoPrivateKey(nil, &$0, $1) }
        PKIFailure.drainReasons()
        self.init(taking: pointer)
    }

    /// PKCS#8, not encrypted.
    package var pem: [UInt8] {
        get throws { try written("a private key") { PEM_write_bio_PKCS8PrivateKey($0, handle.pointer, nil, nil, 0, nil, nil) } }
    }

    /// PKCS#8, not encrypted.
    package var der: [UInt8] {
        get throws { try written("a private key") { i2d_PKCS8PrivateKey_bio($0, handle.pointer, nil, nil, 0, nil, nil) } }
    }

    /// The public half as SubjectPublicKeyInfo.
    package var publicKeyDER: [UInt8] {
        get throws { try encoded("a public key") { i2d_PUBKEY(handle.pointer, $0) } }
    }

    /// Whether the certificate was made for this key.
    package func matches(_ certificate: Certificate) -> Bool {
        defer { PKIFailure.drainReasons() }
        guard let publicKey = X509_get0_pubkey(certificate.handle.pointer) else { return false }
        return EVP_PKEY_eq(publicKey, handle.pointer) == 1
    }

    package var description: String { "private key (\(kind))" }

    private var kind: String {
        switch EVP_PKEY_get_base_id(handle.pointer) {
        case NID_rsaEncryption: "RSA \(EVP_PKEY_get_bits(handle.pointer))"
        case NID_X9_62_id_ecPublicKey: "EC \(EVP_PKEY_get_bits(handle.pointer))"
        case NID_ED25519: "Ed25519"
        default: "other"
        }
    }

    /// The digest to sign with; Ed25519 has its own and takes none.
    var digest: OpaquePointer? { EVP_PKEY_get_base_id(handle.pointer) == NID_ED25519 ? nil : EVP_sha256() }
}
