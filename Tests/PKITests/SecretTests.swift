// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Keys, sealing, digests, randomness.

import PKI
import Testing

@Suite("Private keys") struct PrivateKeyTests {
    @Test("a key survives PEM and DER, and never prints itself")
    func travels() throws {
        let key = try PrivateKey.generateP256()
        #expect(try PrivateKey(pem: key.pem).der == key.der)
        #expect(try PrivateKey(der: key.der).publicKeyDER == key.publicKeyDER)
        #expect(String(decoding: try key.pem, as: UTF8.self).hasPrefix("-----BEGIN PRIVATE KEY-----\n"))
        #expect("\(key)" == "private key (EC 256)")
    }

    @Test("RSA keys have the size that was asked for, within reason")
    func rsa() throws {
        #expect("\(try PrivateKey.generateRSA(bits: 2048))" == "private key (RSA 2048)")
        #expect(throws: PKIFailure.self) { try PrivateKey.generateRSA(bits: 1024) }
        #expect(throws: PKIFailure.self) { try PrivateKey.generateRSA(bits: 100_000) }
    }

    @Test("the openssl command reads a key made here, and its traditional form is read here")
    func agreesWithOpenSSL() throws {
        let scratch = try Scratch()
        let key = try PrivateKey.generateP256()
        try scratch.write(key.pem, "k")
        #expect(try scratch.openssl("pkey", "-in", "k", "-noout", "-check").output.contains("Key is valid"))
        try scratch.openssl("ec", "-in", "k", "-out", "traditional")
        #expect(try PrivateKey(pem: scratch.read("traditional")).der == key.der)
    }

    @Test("an encrypted key is refused with advice, and nobody is asked for a password")
    func refusesEncrypted() throws {
        let scratch = try Scratch()
        try scratch.write(try PrivateKey.generateP256().pem, "k")
        try scratch.openssl("pkey", "-in", "k", "-aes256", "-passout", "pass:secret", "-out", "encrypted")
        let pem = try scratch.read("encrypted")
        let failure = #expect(throws: PKIFailure.self) { try PrivateKey(pem: pem) }
        #expect(failure?.description.contains("decrypted") == true)
        #expect(throws: PKIFailure.self) { try PrivateKey(pem: []) }
        #expect(throws: PKIFailure.self) { try PrivateKey(der: [1, 2, 3]) }
    }
}

@Suite("The cluster key") struct ClusterKeyTests {
    private let secret = Array("a private key".utf8)

    @Test("what was sealed opens in its own place", arguments: [0, 1, 13, 4096])
    func opens(count: Int) throws {
        let key = try ClusterKey.generate()
        let secret = [UInt8](repeating: 7, count: count)
        let sealed = try key.seal(secret, name: "fleet-ca", cluster: "c1")
        #expect(sealed.count == count + 28)
        #expect(try key.open(sealed, name: "fleet-ca", cluster: "c1") == secret)
        #expect(try key.seal(secret, name: "fleet-ca", cluster: "c1") != sealed, "a nonce is used once")
    }

    @Test("one bit changed anywhere in the sealed bytes and they do not open")
    func noticesTampering() throws {
        let key = try ClusterKey.generate()
        let sealed = try key.seal(secret, name: "n", cluster: "c")
        for index in sealed.indices {
            var changed = sealed
            changed[index] ^= 0x80
            #expect(throws: PKIFailure.self) { try key.open(changed, name: "n", cluster: "c") }
        }
        #expect(throws: PKIFailure.self) { try key.open(Array(sealed.dropLast()), name: "n", cluster: "c") }
        #expect(throws: PKIFailure.self) { try key.open([], name: "n", cluster: "c") }
    }

    @Test("sealed bytes do not open under another name, cluster, version or key, nor where two parts only read the same together")
    func keepsToItsPlace() throws {
        let key = try ClusterKey.generate(version: 1)
        let sealed = try key.seal(secret, name: "ab", cluster: "c")
        #expect(throws: PKIFailure.self) { try key.open(sealed, name: "ac", cluster: "c") }
        #expect(throws: PKIFailure.self) { try key.open(sealed, name: "ab", cluster: "d") }
        #expect(throws: PKIFailure.self) { try key.open(sealed, name: "b", cluster: "ca") }
        #expect(throws: PKIFailure.self) { try ClusterKey(bytes: key.bytes, version: 2).open(sealed, name: "ab", cluster: "c") }
        #expect(throws: PKIFailure.self) { try ClusterKey.generate(version: 1).open(sealed, name: "ab", cluster: "c") }
        #expect(try ClusterKey(bytes: key.bytes, version: 1).open(sealed, name: "ab", cluster: "c") == secret)
    }

    @Test("a cluster key has 32 bytes and does not print them")
    func isGuarded() throws {
        #expect(throws: PKIFailure.self) { try ClusterKey(bytes: [1, 2, 3], version: 1) }
        #expect("\(try ClusterKey.generate(version: 3))" == "cluster key, version 3")
    }
}

@Suite("Digests and randomness") struct DigestTests {
    @Test("the confirmation code is the protocol page's")
    func code() {
        #expect(confirmationCode(csrPEM: Array("abc".utf8)) == "432319")
        #expect((0..<200).allSatisfy { confirmationCode(csrPEM: Array("\($0)".utf8)).utf8.count == 6 })
    }

    @Test("SHA-256 is SHA-256, also of nothing")
    func digest() {
        #expect(hexadecimal(sha256(Array("abc".utf8))) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(hexadecimal(sha256([])) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    }

    @Test("equality in constant time is equality")
    func equality() {
        #expect(constantTimeEqual([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEqual([1, 2, 3], [1, 2]))
        #expect(constantTimeEqual([], []))
    }

    @Test("random bytes are as many as asked for and not twice the same")
    func random() throws {
        #expect(try SystemRandom.bytes(16).count == 16)
        #expect(try SystemRandom.bytes(0).isEmpty)
        #expect(try SystemRandom.bytes(16) != SystemRandom.bytes(16))
        #expect(try SystemRandom.number() != SystemRandom.number())
    }
}

@Suite("Secrets for one receiver")
struct KeyEnvelopeTests {
    @Test("the receiver opens it; another key, name, cluster or a changed byte does not")
    func opens() throws {
        let (receiver, stranger) = (try PrivateKey.generateP256(), try PrivateKey.generateP256())
        let secret: [UInt8] = [1, 2, 3]
        let envelope = try KeyEnvelope.seal(secret, to: receiver.publicKeyDER, name: "k", cluster: "c")
        #expect(try envelope.open(with: receiver, name: "k", cluster: "c") == secret)
        #expect(throws: PKIFailure.self) { try envelope.open(with: stranger, name: "k", cluster: "c") }
        #expect(throws: PKIFailure.self) { try envelope.open(with: receiver, name: "l", cluster: "c") }
        #expect(throws: PKIFailure.self) { try envelope.open(with: receiver, name: "k", cluster: "d") }
        var damaged = envelope.sealed
        damaged[damaged.count - 1] ^= 1
        let other = KeyEnvelope(ephemeralKey: envelope.ephemeralKey, sealed: damaged)
        #expect(throws: PKIFailure.self) { try other.open(with: receiver, name: "k", cluster: "c") }
        #expect(try KeyEnvelope.seal(secret, to: receiver.publicKeyDER, name: "k", cluster: "c") != envelope)
    }

    @Test("a key that cannot agree is refused")
    func wrongKind() throws {
        #expect(throws: PKIFailure.self) {
            try KeyEnvelope.seal([1], to: PrivateKey.generateRSA(bits: 2048).publicKeyDER, name: "k", cluster: "c")
        }
        #expect(throws: PKIFailure.self) { try KeyEnvelope.seal([1], to: [1, 2, 3], name: "k", cluster: "c") }
    }
}
