// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// OpenSSL's conventions for bytes in and out, said once: `i2d` into an array, and a memory BIO into an array.

import COpenSSL
import COpenSSLShim

/// What an `i2d` function writes. It is called twice: for the length, then for the bytes.
func encoded(_ what: String, _ write: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32) throws -> [UInt8] {
    let count = write(nil)
    guard count > 0 else { throw PKIFailure.openSSL("cannot encode \(what)") }
    var bytes = [UInt8](repeating: 0, count: Int(count))
    let written = bytes.withUnsafeMutableBufferPointer { buffer in
        var position = buffer.baseAddress
        return write(&position)
    }
    guard written == count else { throw PKIFailure.openSSL("cannot encode \(what)") }
    return bytes
}

/// What `write` puts into a memory BIO.
func written(_ what: String, _ write: (OpaquePointer) -> Int32) throws -> [UInt8] {
    guard let bio = BIO_new(BIO_s_secmem()) else { throw PKIFailure.openSSL("no memory to write \(what)") }
    defer { BIO_free(bio) }
    guard write(bio) == 1 else { throw PKIFailure.openSSL("cannot write \(what)") }
    var start: UnsafePointer<UInt8>?
    let count = ced_bio_bytes(bio, &start)
    return Array(UnsafeBufferPointer(start: start, count: count))
}

/// Reads one DER value that fills `bytes` to the last one.
func decoded<Value>(_ bytes: [UInt8], as what: String, _ read: (inout UnsafePointer<UInt8>?, Int) -> Value?) throws -> Value {
    PKIFailure.drainReasons()
    var consumed = 0
    let value = bytes.withUnsafeBufferPointer { buffer in
        var position = buffer.baseAddress
        let value = read(&position, buffer.count)
        if let position, let start = buffer.baseAddress { consumed = position - start }
        return value
    }
    guard let value else { throw PKIFailure.openSSL("these \(bytes.count) bytes are not \(what)") }
    guard consumed == bytes.count else { throw PKIFailure("\(bytes.count - consumed) bytes follow \(what)") }
    return value
}

/// The last common name of a subject, unless it holds what has no place in a name.
func commonName(of name: OpaquePointer?) -> String? {
    guard let name else { return nil }
    var last: Int32 = -1
    while case let next = X509_NAME_get_index_by_NID(name, NID_commonName, last), next >= 0 { last = next }
    guard last >= 0, let entry = X509_NAME_get_entry(name, last), let data = X509_NAME_ENTRY_get_data(entry) else { return nil }
    var start: UnsafeMutablePointer<UInt8>?
    let count = ASN1_STRING_to_UTF8(&start, data)
    guard count > 0, let start else {
        PKIFailure.drainReasons()
        return nil
    }
    defer { CRYPTO_free(start, #file, #line) }
    guard let text = String(validating: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self), isPlain(text) else {
        return nil
    }
    return text
}

/// Seconds since 1970 of an ASN.1 time.
func seconds(of time: UnsafePointer<ASN1_TIME>?) throws -> Int64 {
    var days: Int32 = 0
    var seconds: Int32 = 0
    guard let time, let epoch = ASN1_TIME_set(nil, 0) else { throw PKIFailure.openSSL("a certificate without a validity period") }
    defer { ASN1_STRING_free(epoch) }
    guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { throw PKIFailure.openSSL("a certificate with a malformed time") }
    return Int64(days) * 86_400 + Int64(seconds)
}

/// No control characters, no line or paragraph separators, no invisible direction marks.
func isPlain(_ text: String) -> Bool {
    text.unicodeScalars.allSatisfy { scalar in
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }
}
