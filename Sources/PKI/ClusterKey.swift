// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The cluster key and what it seals: private keys of CAs and dispatchers, at rest in journal, snapshot and backup.
// AES-256-GCM with a random nonce; the cluster, the secret's name and the key's version are associated data, so that a sealed secret
// opens only in its own place. The key itself is kept elsewhere (a 0600 file or a credential), never beside what it seals.

import COpenSSL

package struct ClusterKey: Sendable, CustomStringConvertible {
    package static let length = 32
    private static let nonceLength = 12
    private static let tagLength = 16

    /// Secret.
    package let bytes: [UInt8]
    package let version: UInt32

    package init(bytes: [UInt8], version: UInt32) throws {
        guard bytes.count == Self.length else { throw PKIFailure("a cluster key has \(Self.length) bytes, not \(bytes.count)") }
        self.bytes = bytes
        self.version = version
    }

    package static func generate(version: UInt32 = 1) throws -> ClusterKey {
        try ClusterKey(bytes: SystemRandom.bytes(length), version: version)
    }

    package var description: String { "cluster key, version \(version)" }

    /// Nonce, ciphertext, tag. A random nonce of 96 bits is safe for some 2³² seals under one key; a cluster makes dozens.
    package func seal(_ plaintext: [UInt8], name: String, cluster: String) throws -> [UInt8] {
        let what = "cannot seal '\(name)'"
        guard plaintext.count <= 1 << 20 else { throw PKIFailure("\(what): \(plaintext.count) bytes are more than a secret has") }
        let nonce = try SystemRandom.bytes(Self.nonceLength)
        let associated = Self.associatedData(cluster: cluster, name: name, version: version)
        return try withContext(what) { context in
            var ciphertext = [UInt8](repeating: 0, count: plaintext.count)
            var tag = [UInt8](repeating: 0, count: Self.tagLength)
            var count: Int32 = 0
            guard EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, bytes, nonce) == 1,
                EVP_EncryptUpdate(context, nil, &count, associated, Int32(associated.count)) == 1,
                plaintext.isEmpty || EVP_EncryptUpdate(context, &ciphertext, &count, plaintext, Int32(plaintext.count)) == 1,
                EVP_EncryptFinal_ex(context, &tag, &count) == 1, count == 0,
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagLength), &tag) == 1
            else { throw PKIFailure.openSSL(what) }
            return nonce + ciphertext + tag
        }
    }

    /// Throws if one bit of the sealed bytes, the name, the cluster or the key's version is not what it was.
    package func open(_ sealed: [UInt8], name: String, cluster: String) throws -> [UInt8] {
        let what = "cannot open the sealed '\(name)'"
        guard sealed.count >= Self.nonceLength + Self.tagLength, sealed.count <= 1 << 21 else {
            throw PKIFailure("\(what): \(sealed.count) bytes cannot be a sealed secret")
        }
        let nonce = Array(sealed.prefix(Self.nonceLength))
        let ciphertext = Array(sealed.dropFirst(Self.nonceLength).dropLast(Self.tagLength))
        var tag = Array(sealed.suffix(Self.tagLength))
        let associated = Self.associatedData(cluster: cluster, name: name, version: version)
        return try withContext(what) { context in
            var plaintext = [UInt8](repeating: 0, count: ciphertext.count)
            var rest = [UInt8](repeating: 0, count: Self.tagLength)
            var count: Int32 = 0
            guard EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, bytes, nonce) == 1,
                EVP_DecryptUpdate(context, nil, &count, associated, Int32(associated.count)) == 1,
                ciphertext.isEmpty || EVP_DecryptUpdate(context, &plaintext, &count, ciphertext, Int32(ciphertext.count)) == 1,
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagLength), &tag) == 1
            else { throw PKIFailure.openSSL(what) }
            guard EVP_DecryptFinal_ex(context, &rest, &count) == 1 else {
                PKIFailure.drainReasons()
                throw PKIFailure("\(what): it was sealed with another key or version, for another place, or is damaged (this is \(self))")
            }
            return plaintext
        }
    }

    private func withContext<Value>(_ what: String, _ body: (OpaquePointer) throws -> Value) throws -> Value {
        PKIFailure.drainReasons()
        guard let context = EVP_CIPHER_CTX_new() else { throw PKIFailure.openSSL(what) }
        defer { EVP_CIPHER_CTX_free(context) }
        return try body(context)
    }

    /// Every part with its length, so that no two places share one text.
    private static func associatedData(cluster: String, name: String, version: UInt32) -> [UInt8] {
        var data = Array("ced sealed 1".utf8)
        for part in [Array(cluster.utf8), Array(name.utf8)] {
            data += bigEndian(UInt32(truncatingIfNeeded: part.count)) + part
        }
        return data + bigEndian(version)
    }

    private static func bigEndian(_ number: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) } }
}
