// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How this room says what went wrong: one error with a sentence for people, into which OpenSSL's own queue of reasons is drained, so
// that no stale reason of one call is ever reported by the next.

import COpenSSL

/// What could not be done with a key, certificate, request or sealed secret, and why.
package struct PKIFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }

    /// `what`, followed by the reasons that OpenSSL left in this thread's queue, which is empty afterwards.
    static func openSSL(_ what: String) -> PKIFailure {
        let reasons = drainReasons()
        return PKIFailure(reasons.isEmpty ? what : "\(what): \(reasons.joined(separator: "; "))")
    }

    /// OpenSSL's reasons, outermost last; empties the queue.
    @discardableResult static func drainReasons() -> [String] {
        var reasons: [String] = []
        while case let code = ERR_get_error(), code != 0 {
            let reason = ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(String(code, radix: 16))"
            if reasons.last != reason { reasons.append(reason) }
        }
        return reasons
    }
}

/// A memory BIO for the length of `body`, over `bytes`.
func withReader<Value>(over bytes: [UInt8], _ body: (OpaquePointer) throws -> Value) throws -> Value {
    guard bytes.count <= Int(Int32.max) else { throw PKIFailure("the input of \(bytes.count) bytes is too large") }
    return try bytes.withUnsafeBytes { buffer in
        guard let bio = BIO_new_mem_buf(buffer.baseAddress, Int32(buffer.count)) else { throw PKIFailure.openSSL("no memory to read") }
        defer { BIO_free(bio) }
        return try body(bio)
    }
}
