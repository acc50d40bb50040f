// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// X.509 certificates, read once and then values: what they state, never whether it may be believed (see Verification.swift).

import COpenSSL
import COpenSSLShim
import CtrlExec

/// One certificate, version 1 or 3.
package struct Certificate: Hashable, Sendable, CustomStringConvertible {
    /// Never changed after `init`, which reads everything that OpenSSL parses lazily.
    final class Handle: @unchecked Sendable {
        let pointer: OpaquePointer
        init(_ pointer: OpaquePointer) { self.pointer = pointer }
        deinit { X509_free(pointer) }
    }

    /// Larger ones are refused: a real one has 1 to 4 KiB.
    package static let largest = 65_536

    let handle: Handle
    package let der: [UInt8]
    package let serial: SerialNumber
    /// The subject's common name; nil if there is none, or one with control characters.
    package let commonName: String?
    package let issuerCommonName: String?
    /// Seconds since 1970.
    package let notBefore: Int64
    /// Seconds since 1970.
    package let notAfter: Int64
    /// The URIs among the subject alternative names.
    package let uris: [String]
    /// The one role that the URIs state. Nil: at most an agent.
    package let role: CertificateRole?
    /// Says of itself that it may sign certificates.
    package let isCA: Bool
    /// SHA-256 of the DER, in hexadecimal.
    package let fingerprint: String

    init(taking pointer: OpaquePointer) throws {
        handle = Handle(pointer)
        der = try encoded("a certificate") { i2d_X509(pointer, $0) }
        guard der.count <= Self.largest else { throw PKIFailure("a certificate of \(der.count) bytes is too large") }
        serial = try Self.serial(of: pointer)
        commonName = PKI.commonName(of: X509_get_subject_name(pointer))
        issuerCommonName = PKI.commonName(of: X509_get_issuer_name(pointer))
        notBefore = try seconds(of: X509_get0_notBefore(pointer))
        notAfter = try seconds(of: X509_get0_notAfter(pointer))
        uris = Self.uris(of: pointer)
        isCA = X509_check_ca(pointer) == 1
        // Flags are known after X509_check_ca. Extensions that contradict themselves state no role.
        role = X509_get_extension_flags(pointer) & UInt32(EXFLAG_INVALID) == 0 ? CertificateRole(uris: uris) : nil
        fingerprint = hexadecimal(sha256(der))
        PKIFailure.drainReasons()
    }

    package init(der: [UInt8]) throws {
        guard der.count <= Self.largest else { throw PKIFailure("a certificate of \(der.count) bytes is too large") }
        try self.init(taking: try decoded(der, as: "a certificate") { d2i_X509(nil, &$0, $1) })
    }

    /// The first certificate in PEM.
    package init(pem: [UInt8]) throws {
        guard let first = try Self.all(inPEM: pem).first else { throw PKIFailure("no certificate in this PEM text") }
        self = first
    }

    /// Every certificate in PEM, in order; what is between them is passed over. At most 1000.
    package static func all(inPEM pem: [UInt8]) throws -> [Certificate] {
        PKIFailure.drainReasons()
        return try withReader(over: pem) { bio in
            var certificates: [Certificate] = []
            while let pointer = ced_read_certificate(bio) {
                certificates.append(try Certificate(taking: pointer))
                guard certificates.count <= 1000 else { throw PKIFailure("more than 1000 certificates in one PEM text") }
            }
            guard ced_is_end_of_pem(ERR_peek_last_error()) == 1 else {
                throw PKIFailure.openSSL("certificate \(certificates.count + 1) in this PEM text is damaged")
            }
            PKIFailure.drainReasons()
            return certificates
        }
    }

    package var pem: [UInt8] {
        get throws { try written("a certificate") { PEM_write_bio_X509($0, handle.pointer) } }
    }

    /// The public key as SubjectPublicKeyInfo.
    package var publicKeyDER: [UInt8] {
        get throws {
            guard let key = X509_get0_pubkey(handle.pointer) else { throw PKIFailure.openSSL("\(self) has no readable public key") }
            return try encoded("a public key") { i2d_PUBKEY(key, $0) }
        }
    }

    /// The end of validity as OpenSSL's tools print it, `Jun  7 16:28:00 2027 GMT` (protocol page, 6.3).
    package var notAfterText: String {
        get throws {
            String(decoding: try written("a time") { ASN1_TIME_print($0, X509_get0_notAfter(handle.pointer)) }, as: UTF8.self)
        }
    }

    package var description: String { "certificate \(serial) (\(role?.description ?? commonName ?? "no name"))" }

    package static func == (left: Certificate, right: Certificate) -> Bool { left.der == right.der }
    package func hash(into hasher: inout Hasher) { hasher.combine(der) }

    private static func serial(of pointer: OpaquePointer) throws -> SerialNumber {
        guard let integer = X509_get0_serialNumber(pointer), let number = ASN1_INTEGER_to_BN(integer, nil) else {
            throw PKIFailure.openSSL("a certificate without a serial number")
        }
        defer { BN_free(number) }
        var bytes = [UInt8](repeating: 0, count: Int(BN_num_bits(number) + 7) / 8)
        let count = bytes.withUnsafeMutableBufferPointer { BN_bn2bin(number, $0.baseAddress) }
        guard BN_is_negative(number) == 0, Int(count) == bytes.count, let serial = SerialNumber(bytes: bytes) else {
            throw PKIFailure("a certificate whose serial number is negative, zero or longer than 20 bytes")
        }
        return serial
    }

    private static func uris(of pointer: OpaquePointer) -> [String] {
        guard let names = ced_alternative_names(pointer) else {
            PKIFailure.drainReasons()
            return []
        }
        defer { ced_alternative_names_free(names) }
        return (0..<ced_alternative_name_count(names)).compactMap { index in
            guard let text = ced_alternative_name_uri(names, index), let start = ASN1_STRING_get0_data(text) else { return nil }
            let bytes = UnsafeBufferPointer(start: start, count: Int(ASN1_STRING_length(text)))
            // Only printable ASCII without space is a URI (RFC 3986); a zero byte or a line end never reaches a comparison or a log.
            guard bytes.allSatisfy({ (33...126).contains($0) }) else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
