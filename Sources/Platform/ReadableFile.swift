// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A file that is read in parts. What is replaced by rename meanwhile stays as it was when it was opened.

import Glibc

package final class ReadableFile: Sendable {
    package let path: String
    package let bytes: Int
    /// Seconds and nanoseconds since 1970.
    package let modified: (seconds: Int64, nanoseconds: Int64)
    /// Tells it from any other file of its file system.
    package let inode: UInt64
    private let descriptor: Descriptor

    package init(_ path: String) throws(FileProblem) {
        let number = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard number >= 0 else { throw FileProblem("read", path) }
        descriptor = Descriptor(number)
        var status = stat()
        guard fstat(number, &status) == 0 else { throw FileProblem("read", path) }
        self.path = path
        bytes = Int(status.st_size)
        modified = (Int64(status.st_mtim.tv_sec), Int64(status.st_mtim.tv_nsec))
        inode = UInt64(status.st_ino)
    }

    /// Fewer than `count` only at the end. Blocks.
    package func read(offset: UInt64, count: Int) throws(FileProblem) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        var have = 0
        while have < count {
            let got = result.withUnsafeMutableBytes { buffer in
                pread(descriptor.number, buffer.baseAddress.map { $0 + have }, count - have, off_t(offset) + off_t(have))
            }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw FileProblem("read", path) }
            if got == 0 { break }
            have += got
        }
        return Array(result.prefix(have))
    }
}
