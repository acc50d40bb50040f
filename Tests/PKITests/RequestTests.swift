// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a stranger may ask for, and how little of it matters.

import PKI
import Testing

@Suite("Certificate requests") struct RequestTests {
    @Test("a request travels as PEM and as DER", arguments: ["web-1", "host.example.com"])
    func travels(name: String) throws {
        let request = try CertificateRequest.make(key: .generateP256(), commonName: name)
        #expect(request.commonName == name)
        #expect(try CertificateRequest(pem: request.pem) == request)
        #expect(try CertificateRequest(der: request.der) == request)
    }

    @Test("of a request that asks to be an authority and a member, nothing but the key reaches the certificate")
    func copiesNothing() throws {
        let scratch = try Scratch()
        try scratch.write(
            """
            [req]
            distinguished_name = dn
            req_extensions = wanted
            prompt = no
            [dn]
            CN = root of all
            O = somebody
            [wanted]
            basicConstraints = critical,CA:TRUE
            keyUsage = keyCertSign
            subjectAltName = URI:urn:ced:c1:member:a,DNS:example.com
            extendedKeyUsage = codeSigning
            """, "hostile.cnf")
        try scratch.openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "hostile.cnf", "-keyout", "k",
            "-out", "r")
        let request = try CertificateRequest(pem: scratch.read("r"))
        let authority = try authority()
        let certificate = try authority.issue(
            request, subject: "web-1", serial: serial(2), role: nil, usage: .both, notBefore: start, notAfter: start + year)
        #expect(certificate.commonName == "web-1")
        #expect(certificate.role == nil)
        #expect(certificate.uris.isEmpty)
        #expect(!certificate.isCA)
        try scratch.write(certificate.pem, "c")
        let text = try scratch.openssl("x509", "-in", "c", "-noout", "-text").output
        for part in ["root of all", "somebody", "CA:TRUE", "Certificate Sign", "example.com", "Alternative Name", "Code Signing"] {
            #expect(!text.contains(part), "\(part) came through")
        }
        #expect(try certificate.publicKeyDER == request.publicKeyDER)
    }

    @Test("a name with a line end in a request is no name, and nobody is given one")
    func refusesNames() throws {
        let scratch = try Scratch()
        try scratch.write("[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = web-1\\nroot\n", "newline.cnf")
        let made = try scratch.openssl(
            "req", "-new", "-utf8", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "newline.cnf", "-keyout",
            "k",
            "-out", "r")
        #expect(made.code == 0, "\(made.output)")
        #expect(try scratch.openssl("req", "-in", "r", "-noout", "-subject").output.contains("web-1\\0Aroot"))
        #expect(try CertificateRequest(pem: scratch.read("r")).commonName == nil)
        let authority = try authority()
        for name in [
            "", "a\nb", "a\r", "a/CN=b", "a\u{0}b", "a\u{202e}b", "a\u{2028}b", " a", "a ", "a\\b", String(repeating: "x", count: 65),
        ] {
            #expect(!Authority.isValidSubject(name))
            #expect(throws: PKIFailure.self) {
                try authority.issue(
                    request(), subject: name, serial: serial(2), role: nil, usage: .both, notBefore: start, notAfter: start + year)
            }
            #expect(throws: PKIFailure.self) { try CertificateRequest.make(key: .generateP256(), commonName: name) }
        }
    }

    @Test("weak keys and digests are refused, and the reason says what to use instead")
    func refusesWeakness() throws {
        let scratch = try Scratch()
        let cases: [(arguments: [String], reason: String)] = [
            (["-newkey", "rsa:1024", "-sha256"], "2048"),
            (["-newkey", "rsa:2048", "-sha1"], "SHA-256"),
            (["-newkey", "rsa:2048", "-md5"], "SHA-256"),
            (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "P-256"),
            (["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"], "P-256"),
            (["-newkey", "ed448"], "Ed25519"),
        ]
        for (index, entry) in cases.enumerated() {
            let made = try scratch.run("req", ["-new", "-nodes", "-subj", "/CN=x", "-keyout", "k", "-out", "r\(index)"] + entry.arguments)
            #expect(made.code == 0, "\(made.output)")
            let pem = try scratch.read("r\(index)")
            let failure = #expect(throws: PKIFailure.self) { try CertificateRequest(pem: pem) }
            #expect(failure?.description.contains(entry.reason) == true, "\(failure?.description ?? "")")
        }
    }

    @Test("RSA, P-384 and Ed25519 requests made by the openssl command are accepted and get certificates")
    func acceptsOthers() throws {
        let scratch = try Scratch()
        let authority = try authority()
        for arguments in [["-newkey", "rsa:2048"], ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], ["-newkey", "ed25519"]] {
            try scratch.run("req", ["-new", "-nodes", "-subj", "/CN=x", "-keyout", "k", "-out", "r"] + arguments)
            let certificate = try authority.issue(
                CertificateRequest(pem: scratch.read("r")), subject: "x", serial: serial(2), role: nil, usage: .both, notBefore: start,
                notAfter: start + year)
            try verify(chain: [certificate], roots: [authority.certificate], at: start + 1)
            #expect(try PrivateKey(pem: scratch.read("k")).matches(certificate))
        }
    }

    @Test("a request that another key signed proves nothing")
    func refusesForgedSignature() throws {
        let request = try request()
        var der = request.der
        // The last byte belongs to the signature.
        der[der.count - 1] ^= 1
        #expect(throws: PKIFailure.self) { try CertificateRequest(der: der) }
    }

    @Test("a request over 10240 bytes, or with text in front of it, is refused before it is read")
    func refusesSize() throws {
        let pem = try request().pem
        #expect(throws: PKIFailure.self) { try CertificateRequest(pem: pem + [UInt8](repeating: 10, count: 10_240)) }
        #expect(throws: PKIFailure.self) { try CertificateRequest(pem: [10] + pem) }
        #expect(throws: PKIFailure.self) { try CertificateRequest(der: request().der + [0]) }
        #expect(throws: PKIFailure.self) { try CertificateRequest(pem: []) }
    }
}

extension Scratch {
    @discardableResult func run(_ command: String, _ arguments: [String]) throws -> (code: Int32, output: String) {
        try openssl([command] + arguments)
    }
}
