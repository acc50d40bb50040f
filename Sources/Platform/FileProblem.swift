// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Errors with files, as a person reads them.

import Glibc

/// What could not be done with which file, in the operating system's words, and what to do about it if that is known.
package struct FileProblem: Error, Hashable, Sendable, CustomStringConvertible {
    package let operation: String
    package let path: String
    /// The operating system's number (`errno`).
    package let number: Int32

    package init(_ operation: String, _ path: String, _ number: Int32 = errno) {
        self.operation = operation
        self.path = path
        self.number = number
    }

    package var isPermission: Bool { number == EACCES || number == EPERM }
    package var isMissing: Bool { number == ENOENT }
    /// No space, or no more of it for this user.
    package var isFull: Bool { number == ENOSPC || number == EDQUOT }
    package var isReadOnly: Bool { number == EROFS }

    package var description: String {
        let advice = isPermission ? " (run as root, or as the user that owns it)" : ""
        return "cannot \(operation) \(path): \(systemReason(number))\(advice)"
    }
}

/// The operating system's words for one of its error numbers, in lower case, to stand within a sentence.
func systemReason(_ number: Int32) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    // POSIX's variant, which is safe on several threads.
    guard strerror_r(number, &buffer, buffer.count) == 0 else { return "error \(number)" }
    let reason = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    return reason.prefix(1).lowercased() + reason.dropFirst()
}
