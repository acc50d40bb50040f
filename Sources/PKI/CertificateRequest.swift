// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Certificate signing requests. What arrives here was written by a stranger: a request that reads at all has proved possession of a key
// that is strong enough, and nothing more. Only its public key is ever used (Authority.swift); its name is shown to people.

import COpenSSL
import COpenSSLShim

/// A request whose own signature has been verified.
package struct CertificateRequest: Hashable, Sendable {
    final class Handle: @unchecked Sendable {
        let pointer: OpaquePointer
        init(_ pointer: OpaquePointer) { self.pointer = pointer }
        deinit { X509_REQ_free(pointer) }
    }

    /// Bytes, in PEM as in DER (protocol page, 4.4).
    package static let largest = 10_240

    let handle: Handle
    package let der: [UInt8]
    /// The name that the request asks for; nil if there is none or one that nobody may have.
    package let commonName: String?

    private init(checking pointer: OpaquePointer) throws {
        handle = Handle(pointer)
        der = try encoded("a certificate request") { i2d_X509_REQ(pointer, $0) }
        guard der.count <= Self.largest else { throw PKIFailure("the certificate request is larger than \(Self.largest) bytes") }
        commonName = PKI.commonName(of: X509_REQ_get_subject_name(pointer)).flatMap { Authority.isValidSubject($0) ? $0 : nil }
        try Self.checkKey(of: pointer)
        try Self.checkDigest(of: pointer)
        guard X509_REQ_verify(pointer, X509_REQ_get0_pubkey(pointer)) == 1 else {
            throw PKIFailure.openSSL("the certificate request is not signed by its own key")
        }
        PKIFailure.drainReasons()
    }

    /// A request for `commonName`, signed by `key`.
    package static func make(key: PrivateKey, commonName: String) throws -> CertificateRequest {
        guard Authority.isValidSubject(commonName) else {
            throw PKIFailure("'\(Authority.shown(commonName))' cannot be a certificate's name")
        }
        guard let pointer = X509_REQ_new() else { throw PKIFailure.openSSL("no memory for a certificate request") }
        let owner = Handle(pointer)
        guard X509_REQ_set_version(pointer, 0) == 1, Authority.set(commonName, in: X509_REQ_get_subject_name(pointer)),
            X509_REQ_set_pubkey(pointer, key.handle.pointer) == 1, X509_REQ_sign(pointer, key.handle.pointer, key.digest) > 0
        else { throw PKIFailure.openSSL("cannot make a certificate request for \(commonName)") }
        return try CertificateRequest(der: encoded("a certificate request") { i2d_X509_REQ(owner.pointer, $0) })
    }

    /// The text must begin with the request (protocol page, 4.4).
    package init(pem: [UInt8]) throws {
        guard pem.count <= Self.largest else { throw PKIFailure("the certificate request is larger than \(Self.largest) bytes") }
        guard pem.starts(with: Array("-----BEGIN CERTIFICATE REQUEST-----".utf8)) else {
            throw PKIFailure("the text does not begin with -----BEGIN CERTIFICATE REQUEST-----")
        }
        PKIFailure.drainReasons()
        let pointer = try withReader(over: pem) { ced_read_request($0) }
        guard let pointer else { throw PKIFailure.openSSL("cannot read the certificate request") }
        try self.init(checking: pointer)
    }

    package init(der: [UInt8]) throws {
        guard der.count <= Self.largest else { throw PKIFailure("the certificate request is larger than \(Self.largest) bytes") }
        try self.init(checking: try decoded(der, as: "a certificate request") { d2i_X509_REQ(nil, &$0, $1) })
    }

    package var pem: [UInt8] {
        get throws { try written("a certificate request") { PEM_write_bio_X509_REQ($0, handle.pointer) } }
    }

    /// The public key as SubjectPublicKeyInfo.
    package var publicKeyDER: [UInt8] {
        get throws { try encoded("a public key") { i2d_PUBKEY(X509_REQ_get0_pubkey(handle.pointer), $0) } }
    }

    package static func == (left: CertificateRequest, right: CertificateRequest) -> Bool { left.der == right.der }
    package func hash(into hasher: inout Hasher) { hasher.combine(der) }

    /// RSA of 2048 to 8192 bits (more costs the verifier without bound), P-256, P-384 or Ed25519.
    private static func checkKey(of pointer: OpaquePointer) throws {
        guard let key = X509_REQ_get0_pubkey(pointer) else {
            throw PKIFailure.openSSL("the certificate request has no readable public key")
        }
        let bits = EVP_PKEY_get_bits(key)
        switch EVP_PKEY_get_base_id(key) {
        case NID_rsaEncryption:
            guard (2048...8192).contains(bits) else { throw PKIFailure("an RSA key of \(bits) bits is refused: use 2048 to 8192") }
        case NID_X9_62_id_ecPublicKey:
            var name = [CChar](repeating: 0, count: 64)
            guard EVP_PKEY_get_group_name(key, &name, name.count, nil) == 1 else {
                throw PKIFailure.openSSL("an elliptic curve without a name is refused: use P-256 or P-384")
            }
            let curve = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard curve == "prime256v1" || curve == "secp384r1" else {
                throw PKIFailure("the elliptic curve \(curve) is refused: use P-256 or P-384")
            }
        case NID_ED25519: break
        default: throw PKIFailure("a key of this kind is refused: use RSA, P-256, P-384 or Ed25519")
        }
    }

    /// SHA-2 signatures only; MD5 and SHA-1 can be forged, and RSA-PSS says its digest elsewhere and is used by no agent.
    private static func checkDigest(of pointer: OpaquePointer) throws {
        let accepted = [
            NID_sha256WithRSAEncryption, NID_sha384WithRSAEncryption, NID_sha512WithRSAEncryption, NID_ecdsa_with_SHA256,
            NID_ecdsa_with_SHA384, NID_ecdsa_with_SHA512, NID_ED25519,
        ]
        let algorithm = X509_REQ_get_signature_nid(pointer)
        guard accepted.contains(algorithm) else {
            let name = OBJ_nid2sn(algorithm).map { String(cString: $0) } ?? "unknown"
            throw PKIFailure("the signature algorithm \(name) is refused: sign the request with SHA-256 or better")
        }
    }
}
