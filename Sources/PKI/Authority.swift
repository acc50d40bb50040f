// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A certificate authority: its certificate, its key, and the one way in which certificates are made. Of a request it takes the public
// key; subject, serial, role, usage and validity are said by the caller and by nobody else.

import COpenSSL
import COpenSSLShim
import CtrlExec

package struct Authority: Sendable {
    /// What a certificate is for, as extended key usage.
    package struct Usage: OptionSet, Sendable {
        package let rawValue: Int
        package init(rawValue: Int) { self.rawValue = rawValue }
        package static let client = Usage(rawValue: 1)
        package static let server = Usage(rawValue: 2)
        package static let both: Usage = [.client, .server]
    }

    package let certificate: Certificate
    package let key: PrivateKey

    /// Refuses a certificate that belongs to another key or may not sign.
    package init(certificate: Certificate, key: PrivateKey) throws {
        guard key.matches(certificate) else { throw PKIFailure("the key does not belong to the CA \(certificate)") }
        guard certificate.isCA else { throw PKIFailure("\(certificate) is not a CA's certificate (no basicConstraints CA:TRUE)") }
        self.certificate = certificate
        self.key = key
    }

    /// A new CA that signs leaves only. Times are seconds since 1970.
    package static func selfSigned(commonName: String, key: PrivateKey, notBefore: Int64, notAfter: Int64, serial: SerialNumber) throws
        -> Authority
    {
        let draft = try Draft(subject: commonName, serial: serial, notBefore: notBefore, notAfter: notAfter)
        guard X509_set_issuer_name(draft.pointer, X509_get_subject_name(draft.pointer)) == 1,
            X509_set_pubkey(draft.pointer, key.handle.pointer) == 1
        else { throw PKIFailure.openSSL("cannot make the CA \(commonName)") }
        try draft.add(NID_basic_constraints, "critical,CA:TRUE", issuer: draft.pointer)
        try draft.add(NID_key_usage, "critical,keyCertSign,cRLSign", issuer: draft.pointer)
        try draft.add(NID_subject_key_identifier, "hash", issuer: draft.pointer)
        try draft.add(NID_authority_key_identifier, "keyid:always", issuer: draft.pointer)
        return try Authority(certificate: try draft.sign(with: key), key: key)
    }

    /// - Parameters:
    ///   - request: gives its public key; nothing else of it is looked at.
    ///   - subject: the common name.
    ///   - role: written as the only subject alternative name; nil for an agent.
    ///   - notBefore: seconds since 1970.
    ///   - notAfter: seconds since 1970; cut to the end of the CA's own validity, after which the certificate would be worth nothing.
    package func issue(
        _ request: CertificateRequest, subject: String, serial: SerialNumber, role: CertificateRole?, usage: Usage, notBefore: Int64,
        notAfter: Int64
    ) throws -> Certificate {
        guard let publicKey = X509_REQ_get0_pubkey(request.handle.pointer) else {
            throw PKIFailure.openSSL("the certificate request of \(subject) has no readable public key")
        }
        guard !usage.isEmpty else { throw PKIFailure("a certificate for \(subject) needs a usage: client, server or both") }
        if let role, !role.isWellFormed { throw PKIFailure("'\(Self.shown(role.uri))' is not a role that a certificate can state") }
        let draft = try Draft(subject: subject, serial: serial, notBefore: notBefore, notAfter: min(notAfter, certificate.notAfter))
        let issuer = certificate.handle.pointer
        guard X509_set_issuer_name(draft.pointer, X509_get_subject_name(issuer)) == 1, X509_set_pubkey(draft.pointer, publicKey) == 1 else {
            throw PKIFailure.openSSL("cannot make a certificate for \(subject)")
        }
        try draft.add(NID_basic_constraints, "critical,CA:FALSE", issuer: issuer)
        let encrypts = EVP_PKEY_get_base_id(publicKey) == NID_rsaEncryption
        try draft.add(NID_key_usage, encrypts ? "critical,digitalSignature,keyEncipherment" : "critical,digitalSignature", issuer: issuer)
        let purposes = [usage.contains(.client) ? "clientAuth" : nil, usage.contains(.server) ? "serverAuth" : nil].compactMap { $0 }
        try draft.add(NID_ext_key_usage, purposes.joined(separator: ","), issuer: issuer)
        try draft.add(NID_subject_key_identifier, "hash", issuer: issuer)
        // An imported CA may have no key identifier of its own to point to.
        if X509_get0_subject_key_id(issuer) != nil { try draft.add(NID_authority_key_identifier, "keyid:always", issuer: issuer) }
        if let role { try draft.add(NID_subject_alt_name, "URI:\(role.uri)", issuer: issuer) }
        return try draft.sign(with: key)
    }

    /// 1 to 64 bytes (RFC 5280's bound for a common name) without control characters, slashes or what changes the direction of text.
    package static func isValidSubject(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count) && isPlain(text) && !text.contains("/") && !text.contains("\\")
            && text.first != " " && text.last != " "
    }

    /// `text` as it may stand in a message.
    static func shown(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.prefix(80).map { isPlain(String($0)) ? $0 : "?" }))
    }

    static func set(_ commonName: String, in name: OpaquePointer?) -> Bool {
        let bytes = Array(commonName.utf8)
        // MBSTRING_UTF8, a macro that Swift does not import: the flag itself.
        return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_FLAG, bytes, Int32(bytes.count), -1, 0) == 1
    }
}

/// A certificate that is not signed yet.
private final class Draft {
    let pointer: OpaquePointer
    let subject: String

    init(subject: String, serial: SerialNumber, notBefore: Int64, notAfter: Int64) throws {
        guard Authority.isValidSubject(subject) else {
            throw PKIFailure(
                "'\(Authority.shown(subject))' cannot be a certificate's name: 1 to 64 bytes, no control characters, no slashes")
        }
        // RFC 5280, 4.1.2.5: years up to 9999. A negative time would be read as the last century's.
        guard notBefore >= 0, notBefore < notAfter, notAfter <= 253_402_300_799 else {
            throw PKIFailure(
                "the certificate for \(subject) would not be valid at any time (from \(notBefore) to \(notAfter) seconds since 1970)")
        }
        PKIFailure.drainReasons()
        guard let pointer = X509_new() else { throw PKIFailure.openSSL("no memory for a certificate") }
        self.pointer = pointer
        self.subject = subject
        guard X509_set_version(pointer, 2) == 1, Authority.set(subject, in: X509_get_subject_name(pointer)),
            ASN1_TIME_set(X509_getm_notBefore(pointer), Int(notBefore)) != nil,
            ASN1_TIME_set(X509_getm_notAfter(pointer), Int(notAfter)) != nil,
            let number = BN_bin2bn(serial.bytes, Int32(serial.bytes.count), nil)
        else { throw PKIFailure.openSSL("cannot make a certificate for \(subject)") }
        defer { BN_free(number) }
        guard BN_to_ASN1_INTEGER(number, X509_get_serialNumber(pointer)) != nil else {
            throw PKIFailure.openSSL("cannot set the serial number \(serial)")
        }
    }

    deinit { X509_free(pointer) }

    func add(_ extension: Int32, _ value: String, issuer: OpaquePointer) throws {
        guard ced_add_extension(pointer, issuer, `extension`, value) == 1 else {
            throw PKIFailure.openSSL("cannot put '\(value)' into the certificate for \(subject)")
        }
    }

    func sign(with key: PrivateKey) throws -> Certificate {
        guard X509_sign(pointer, key.handle.pointer, key.digest) > 0 else {
            throw PKIFailure.openSSL("cannot sign the certificate for \(subject)")
        }
        // Read back from its bytes, so that what is returned is what everybody else will see.
        return try Certificate(der: try encoded("a certificate") { i2d_X509(pointer, $0) })
    }
}
