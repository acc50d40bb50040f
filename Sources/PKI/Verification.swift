// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Whether a chain leads to a root. Purpose (extended key usage) is not asked, because real agents carry X.509 version 1 leaves without
// any; the role is asked by whoever trusts (Transport). A version 1 leaf can never stand in for a CA.

import COpenSSL
import COpenSSLShim

/// A chain is longer than any that we make or import.
private let longestChain = 8

/// Throws unless the first certificate leads, through the others, to one of the roots.
///
/// - Parameters:
///   - chain: leaf first, as the peer sent it.
///   - roots: the only ones believed; the system's trust store is never consulted.
///   - at: seconds since 1970; nil: validity periods are not checked (the peer port, where a wrong clock must not cost the quorum).
package func verify(chain: [Certificate], roots: [Certificate], at: Int64?) throws {
    PKIFailure.drainReasons()
    guard let leaf = chain.first else { throw PKIFailure("no certificate was presented") }
    guard chain.count <= longestChain else { throw PKIFailure("a chain of \(chain.count) certificates is longer than \(longestChain)") }
    guard let store = X509_STORE_new(), let untrusted = ced_certificates_new(), let context = X509_STORE_CTX_new() else {
        throw PKIFailure.openSSL("no memory to verify \(leaf)")
    }
    // The context refers to the other two: it goes first.
    defer {
        X509_STORE_CTX_free(context)
        ced_certificates_free(untrusted)
        X509_STORE_free(store)
    }
    for root in roots {
        guard X509_STORE_add_cert(store, root.handle.pointer) == 1 else { throw PKIFailure.openSSL("cannot trust \(root)") }
    }
    for certificate in chain.dropFirst() {
        guard ced_certificates_append(untrusted, certificate.handle.pointer) > 0 else {
            throw PKIFailure.openSSL("no memory to verify \(leaf)")
        }
    }
    guard X509_STORE_CTX_init(context, store, leaf.handle.pointer, untrusted) == 1,
        let parameters = X509_STORE_CTX_get0_param(context)
    else { throw PKIFailure.openSSL("cannot verify \(leaf)") }
    if let at {
        X509_VERIFY_PARAM_set_time(parameters, Int(at))
    } else {
        guard X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_NO_CHECK_TIME)) == 1 else {
            throw PKIFailure.openSSL("cannot verify \(leaf)")
        }
    }
    // 112 bits, Debian's own level: no SHA-1 signatures, no RSA under 2048 bits.
    X509_VERIFY_PARAM_set_auth_level(parameters, 2)
    guard X509_verify_cert(context) == 1 else {
        let code = X509_STORE_CTX_get_error(context)
        PKIFailure.drainReasons()
        throw PKIFailure("\(leaf) is refused: \(String(cString: X509_verify_cert_error_string(Int(code))))")
    }
    PKIFailure.drainReasons()
}
