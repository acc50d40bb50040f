// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the agent needs of files beyond whole reads and whole writes: owners, links, directories, advisory locks.

import Glibc
import Platform

/// Whom new files belong to; nil where the process's own user is right.
package struct FileOwner: Hashable, Sendable {
    package let user: UInt32
    package let group: UInt32
    package init(user: UInt32, group: UInt32) {
        self.user = user
        self.group = group
    }
}

package enum AgentFiles {
    /// Nil if there is no such file.
    package static func readIfPresent(_ path: String, limit: Int = 1 << 20) throws(FileProblem) -> [UInt8]? {
        do { return try DurableFile.read(path, limit: limit) } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    /// Whole or not at all; then given to its owner.
    package static func replace(_ path: String, with bytes: [UInt8], mode: UInt32, owner: FileOwner? = nil) throws(FileProblem) {
        try DurableFile.write(bytes, to: path, mode: mode)
        if let owner, chown(path, owner.user, owner.group) != 0 { throw FileProblem("set the owner of", path) }
    }

    /// With the directories above it; the last one gets the mode, and the owner, if it is made here.
    package static func makeDirectory(_ path: String, mode: UInt32, owner: FileOwner? = nil) throws(FileProblem) {
        if isDirectory(path) { return }
        try DurableFile.makeDirectory(path, mode: mode)
        if let owner, chown(path, owner.user, owner.group) != 0 { throw FileProblem("set the owner of", path) }
    }

    /// Nil if there is no such file.
    package static func owner(of path: String) -> FileOwner? {
        var status = stat()
        return stat(path, &status) == 0 ? FileOwner(user: status.st_uid, group: status.st_gid) : nil
    }

    private static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Without symbolic links and `..`; nil if there is no such file.
    package static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// The names in a directory, sorted; none if it cannot be read.
    package static func names(in path: String) -> [String] {
        do { return try DirectoryListing.names(in: path) } catch { return [] }
    }

    /// Seconds since 1970; nil if there is no such file.
    package static func modificationSeconds(_ path: String) -> Int64? {
        var status = stat()
        return stat(path, &status) == 0 ? Int64(status.st_mtim.tv_sec) : nil
    }

    package static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

/// An exclusive advisory lock on a file; held until the value goes.
final class FileLock: Sendable {
    private let descriptor: Int32

    /// Nil if somebody else holds it.
    init?(_ path: String) throws(FileProblem) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw FileProblem("open the lock", path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw FileProblem("lock", path, code)
        }
        self.descriptor = descriptor
    }
    deinit { close(descriptor) }
}
