// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How much a file system still takes.

import Glibc

package struct DiskSpace: Hashable, Sendable {
    /// What a process without privileges may still write.
    package let freeBytes: UInt64
    package let totalBytes: UInt64

    /// Of the file system that holds the path; may block as long as that does.
    package init(at path: String) throws(FileProblem) {
        var status = statvfs()
        while statvfs(path, &status) != 0 {
            guard errno == EINTR else { throw FileProblem("examine the file system of", path) }
        }
        freeBytes = UInt64(status.f_bavail) &* UInt64(status.f_frsize)
        totalBytes = UInt64(status.f_blocks) &* UInt64(status.f_frsize)
    }
}
