// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Issuing and verifying, with the `openssl` command as witness.

import CtrlExec
import PKI
import Testing

@Suite("Certificates") struct CertificateTests {
    @Test("an issued certificate states what the authority said and verifies against it")
    func issues() throws {
        let authority = try authority()
        let key = try PrivateKey.generateP256()
        let role = CertificateRole.member(cluster: "c0ffee", id: "a")
        let certificate = try authority.issue(
            .make(key: key, commonName: "asked-for"), subject: "given", serial: serial(7), role: role, usage: .both, notBefore: start,
            notAfter: start + year)
        #expect(certificate.commonName == "given")
        #expect(certificate.issuerCommonName == "test CA")
        #expect(certificate.serial == serial(7))
        #expect(certificate.notBefore == start)
        #expect(certificate.notAfter == start + year)
        #expect(certificate.uris == ["urn:ced:c0ffee:member:a"])
        #expect(certificate.role == role)
        #expect(!certificate.isCA)
        #expect(authority.certificate.isCA)
        #expect(key.matches(certificate))
        #expect(!authority.key.matches(certificate))
        #expect(try certificate.publicKeyDER == key.publicKeyDER)
        try verify(chain: [certificate], roots: [authority.certificate], at: start + 1)
        #expect(try Certificate(pem: certificate.pem) == certificate)
        #expect(try Certificate(der: certificate.der) == certificate)
        #expect(certificate.fingerprint == hexadecimal(sha256(certificate.der)))
    }

    @Test("the openssl command reads the same from a certificate made here, and verifies it")
    func agreesWithOpenSSL() throws {
        let scratch = try Scratch()
        let authority = try authority()
        let certificate = try authority.issue(
            request(), subject: "web-1", serial: serial(9), role: .operator(cluster: "c0ffee", name: "alice"), usage: .client,
            notBefore: start, notAfter: start + year)
        try scratch.write(authority.certificate.pem, "ca.crt")
        try scratch.write(certificate.pem, "leaf.crt")
        let text = try scratch.openssl("x509", "-in", "leaf.crt", "-noout", "-text").output
        for part in [
            "Version: 3 (0x2)", "Subject: CN = web-1", "Issuer: CN = test CA", "URI:urn:ced:c0ffee:operator:alice",
            "TLS Web Client Authentication", "CA:FALSE", "X509v3 Key Usage: critical", "Digital Signature",
            "X509v3 Subject Key Identifier", "X509v3 Authority Key Identifier", "ecdsa-with-SHA256",
        ] { #expect(text.contains(part), "\(part) is not in \(text)") }
        #expect(!text.contains("TLS Web Server Authentication"))
        let dates = try scratch.openssl("x509", "-in", "leaf.crt", "-noout", "-enddate", "-serial").output
        #expect(dates.contains("notAfter=\(try certificate.notAfterText)\n"))
        #expect(dates.contains("serial=5C0009"))
        let verdict = try scratch.openssl(
            "verify", "-x509_strict", "-purpose", "sslclient", "-attime", "\(start + 1)", "-CAfile", "ca.crt", "leaf.crt")
        #expect(verdict.code == 0, "\(verdict.output)")
    }

    @Test("a version 1 leaf, as the original's CA makes it, verifies and states no role")
    func acceptsVersion1() throws {
        let scratch = try Scratch()
        try makeVersion1Leaf(in: scratch)
        let leaf = try Certificate(pem: scratch.read("leaf.crt"))
        let root = try Certificate(pem: scratch.read("ca.crt"))
        #expect(try scratch.openssl("x509", "-in", "leaf.crt", "-noout", "-text").output.contains("Version: 1 (0x0)"))
        try verify(chain: [leaf], roots: [root], at: leaf.notBefore + 1)
        #expect(leaf.role == nil)
        #expect(leaf.commonName == "old-agent")
    }

    @Test("a version 1 leaf cannot stand in for an authority")
    func refusesVersion1Issuer() throws {
        let scratch = try Scratch()
        try makeVersion1Leaf(in: scratch)
        try scratch.openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "x.key", "-out", "x.csr", "-subj",
            "/CN=x")
        try scratch.openssl(
            "x509", "-req", "-in", "x.csr", "-CA", "leaf.crt", "-CAkey", "leaf.key", "-set_serial", "77", "-days", "5", "-out", "x.crt")
        let chain = [try Certificate(pem: scratch.read("x.crt")), try Certificate(pem: scratch.read("leaf.crt"))]
        let root = try Certificate(pem: scratch.read("ca.crt"))
        #expect(throws: PKIFailure.self) { try verify(chain: chain, roots: [root], at: nil) }
    }

    @Test("a version 3 leaf of ours cannot issue certificates either")
    func refusesLeafAsIssuer() throws {
        let authority = try authority()
        let key = try PrivateKey.generateP256()
        let leaf = try authority.issue(
            .make(key: key, commonName: "x"), subject: "x", serial: serial(2), role: nil, usage: .both, notBefore: start,
            notAfter: start + year)
        #expect(throws: PKIFailure.self) { try Authority(certificate: leaf, key: key) }
    }

    @Test("an authority refuses a key that is not its own")
    func refusesOtherKey() throws {
        let authority = try authority()
        #expect(throws: PKIFailure.self) { try Authority(certificate: authority.certificate, key: .generateP256()) }
    }

    @Test("another authority of the same name does not verify")
    func refusesForeign() throws {
        let ours = try authority()
        let theirs = try authority()
        let leaf = try theirs.issue(
            request(), subject: "web-1", serial: serial(2), role: nil, usage: .both, notBefore: start, notAfter: start + year)
        #expect(throws: PKIFailure.self) { try verify(chain: [leaf], roots: [ours.certificate], at: start + 1) }
        #expect(throws: PKIFailure.self) { try verify(chain: [leaf, theirs.certificate], roots: [ours.certificate], at: start + 1) }
        #expect(throws: PKIFailure.self) { try verify(chain: [leaf], roots: [], at: start + 1) }
        #expect(throws: PKIFailure.self) { try verify(chain: [], roots: [ours.certificate], at: start + 1) }
    }

    @Test("validity is checked at the given time, and not at all where none is given", arguments: [start - 1, start + year + 1])
    func checksValidity(time: Int64) throws {
        let authority = try authority()
        let leaf = try authority.issue(
            request(), subject: "web-1", serial: serial(2), role: nil, usage: .both, notBefore: start, notAfter: start + year)
        #expect(throws: PKIFailure.self) { try verify(chain: [leaf], roots: [authority.certificate], at: time) }
        try verify(chain: [leaf], roots: [authority.certificate], at: start)
        try verify(chain: [leaf], roots: [authority.certificate], at: nil)
    }

    @Test("a certificate does not outlive its authority")
    func cutsAtEndOfAuthority() throws {
        let authority = try authority(lasting: year)
        let leaf = try authority.issue(
            request(), subject: "web-1", serial: serial(2), role: nil, usage: .both, notBefore: start, notAfter: start + 3 * year)
        #expect(leaf.notAfter == authority.certificate.notAfter)
        #expect(throws: PKIFailure.self) {
            try authority.issue(
                request(), subject: "web-1", serial: serial(3), role: nil, usage: .both, notBefore: start + year, notAfter: start + 2 * year
            )
        }
    }

    @Test("one bit changed in a certificate and it no longer verifies")
    func noticesTampering() throws {
        let authority = try authority()
        let leaf = try authority.issue(
            request(), subject: "web-1", serial: serial(2), role: nil, usage: .both, notBefore: start, notAfter: start + year)
        var der = leaf.der
        let name = Array("web-1".utf8)
        let place = try #require(der.indices.first { Array(der[$0...].prefix(name.count)) == name })
        der[place] ^= 1
        let changed = try Certificate(der: der)
        #expect(changed.commonName == "veb-1")
        #expect(throws: PKIFailure.self) { try verify(chain: [changed], roots: [authority.certificate], at: start + 1) }
    }

    @Test("damaged and empty input is an error in words, not a certificate")
    func refusesDamage() throws {
        let pem = try authority().certificate.pem
        #expect(throws: PKIFailure.self) { try Certificate(pem: []) }
        #expect(throws: PKIFailure.self) { try Certificate(der: []) }
        #expect(throws: PKIFailure.self) { try Certificate(der: Certificate(pem: pem).der + [0]) }
        #expect(throws: PKIFailure.self) { try Certificate.all(inPEM: pem + pem.prefix(100)) }
        #expect(try Certificate.all(inPEM: pem + Array("between\n".utf8) + pem).count == 2)
        #expect(try Certificate.all(inPEM: Array("no certificate".utf8)).isEmpty)
    }

    private func makeVersion1Leaf(in scratch: Scratch) throws {
        try scratch.openssl(
            "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "3650", "-subj",
            "/CN=ctrl-exec CA")
        try scratch.openssl(
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=old-agent")
        try scratch.openssl(
            "x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", "2", "-days", "825", "-out", "leaf.crt")
    }
}

@Suite("Roles") struct RoleTests {
    @Test(
        "exactly one well-formed URI of ours is a role",
        arguments: [
            (["urn:ced:c1:member:a"], CertificateRole.member(cluster: "c1", id: "a")),
            (["urn:ced:c1:operator:alice.b-c_d"], .operator(cluster: "c1", name: "alice.b-c_d")),
            (["urn:ced:c1:dispatcher"], .dispatcher(cluster: "c1")),
            (["https://example.com", "urn:ced:c1:dispatcher"], .dispatcher(cluster: "c1")),
        ])
    func reads(uris: [String], role: CertificateRole) { #expect(CertificateRole(uris: uris) == role) }

    @Test(
        "anything else is none",
        arguments: [
            [], ["urn:ced:c1:member"], ["urn:ced:c1:member:"], ["urn:ced::member:a"], ["urn:ced:c1:member:a:b"],
            ["urn:ced:c1:dispatcher:a"],
            ["urn:ced:c1:owner:a"], ["urn:ced:c1:member:a", "urn:ced:c1:member:b"], ["urn:ced:c1:member:a", "urn:ced:c1:member:a"],
            ["URN:CED:c1:member:a"], ["urn:ced:c1:member:a", "URN:ced:c1:x"], ["urn:ced:c1:member:a b"], ["urn:ced:c1:member:a\n"],
            ["urn:ced:c1:member:é"], [" urn:ced:c1:member:a"],
        ])
    func refuses(uris: [String]) { #expect(CertificateRole(uris: uris) == nil) }

    @Test("a role that would not survive its URI is not issued")
    func refusesToIssue() throws {
        let authority = try authority()
        for role in [
            CertificateRole.member(cluster: "c1", id: "a,URI:urn:ced:c1:member:b"), .operator(cluster: "c1", name: "a\nb"),
            .member(cluster: "c1:member:x", id: "a"), .member(cluster: "", id: "a"),
        ] {
            #expect(throws: PKIFailure.self) {
                try authority.issue(
                    request(), subject: "x", serial: serial(2), role: role, usage: .both, notBefore: start, notAfter: start + year)
            }
        }
    }
}
