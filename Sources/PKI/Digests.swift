// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Hashes, the pairing code that people compare, comparison in constant time, and the system's random bytes.

import COpenSSL

package func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: 32)
    var count: UInt32 = 0
    let done = EVP_Digest(bytes, bytes.count, &digest, &count, EVP_sha256(), nil)
    // A library without SHA-256 is not one that anything here could run with.
    precondition(done == 1 && count == 32, "OpenSSL has no SHA-256")
    return digest
}

/// Lower-case digits, two a byte.
package func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}

/// The six digits that both ends of a pairing show (protocol page, 7.5). `csrPEM` is the text exactly as it travels.
package func confirmationCode(csrPEM: [UInt8]) -> String {
    let number = sha256(csrPEM).prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) } % 1_000_000
    let digits = String(number)
    return String(repeating: "0", count: 6 - digits.count) + digits
}

/// Takes as long for the first differing byte as for the last; lengths are not secret.
package func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
}

/// Randomness for keys, nonces and identifiers, never for the pure rooms, which are handed theirs.
package enum SystemRandom {
    package static func bytes(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_priv_bytes(&bytes, Int32(count)) == 1 else { throw PKIFailure.openSSL("the system's random generator failed") }
        return bytes
    }

    package static func number() throws -> UInt64 { try bytes(8).reduce(0) { $0 << 8 | UInt64($1) } }
}
