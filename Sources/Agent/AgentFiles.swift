// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's files: whole reads with a limit, atomic replacement with mode and owner, advisory locks.

import Glibc

/// What the system said about a file.
package struct FileFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package let description: String
    package let code: Int32

    init(_ action: String, _ path: String, _ code: Int32) {
        self.code = code
        let advice = code == EACCES || code == EPERM ? " (run as root, or as the agent's user ctrl-exec-agent)" : ""
        description = "cannot \(action) \(path): \(String(cString: strerror(code)))\(advice)"
    }
    package var isMissing: Bool { code == ENOENT }
}

/// Whom new files belong to; nil where the process's own user is right.
package struct FileOwner: Hashable, Sendable {
    package let user: UInt32
    package let group: UInt32
}

package enum AgentFiles {
    /// Nothing that the agent reads is larger.
    package static let limitBytes = 67_108_864

    /// The whole file. A file over the limit is an error, never half read.
    package static func read(_ path: String, limitBytes: Int = limitBytes) throws(FileFailure) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileFailure("read", path, errno) }
        defer { close(descriptor) }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw FileFailure("read", path, errno)
            }
            if count == 0 { return result }
            guard result.count + count <= limitBytes else { throw FileFailure("read", path, EFBIG) }
            result.append(contentsOf: buffer.prefix(count))
        }
    }

    /// Nil if there is no such file.
    package static func readIfPresent(_ path: String, limitBytes: Int = limitBytes) throws(FileFailure) -> [UInt8]? {
        do { return try read(path, limitBytes: limitBytes) } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    /// A temporary file in the same directory, made durable, then renamed over `path`: readers see the old or the new content, never half.
    package static func replace(_ path: String, with bytes: [UInt8], mode: UInt32, owner: FileOwner? = nil) throws(FileFailure) {
        let temporary = "\(directory(of: path))/.cea-\(getpid())-\(String(UInt64.random(in: .min ... .max), radix: 16))"
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw FileFailure("write", path, errno) }
        do throws(FileFailure) {
            defer { close(descriptor) }
            guard fchmod(descriptor, mode) == 0 else { throw FileFailure("set the mode of", path, errno) }
            if let owner, fchown(descriptor, owner.user, owner.group) != 0 { throw FileFailure("set the owner of", path, errno) }
            try write(bytes, to: descriptor, path)
            guard fsync(descriptor) == 0 else { throw FileFailure("write", path, errno) }
        } catch {
            unlink(temporary)
            throw error
        }
        guard rename(temporary, path) == 0 else {
            let code = errno
            unlink(temporary)
            throw FileFailure("write", path, code)
        }
        let parent = open(directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if parent >= 0 {
            fsync(parent)
            close(parent)
        }
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, _ path: String) throws(FileFailure) {
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress?.advanced(by: written), bytes.count - written) }
            if count < 0 {
                if errno == EINTR { continue }
                throw FileFailure("write", path, errno)
            }
            written += count
        }
    }

    /// With the directories above it; the last one gets the mode and the owner if it is made here.
    package static func makeDirectory(_ path: String, mode: UInt32, owner: FileOwner? = nil) throws(FileFailure) {
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return }
        let parent = directory(of: path)
        if parent != path, parent != "." { try makeDirectory(parent, mode: 0o755) }
        guard mkdir(path, mode) == 0 || errno == EEXIST else { throw FileFailure("make the directory", path, errno) }
        if let owner, chown(path, owner.user, owner.group) != 0 { throw FileFailure("set the owner of", path, errno) }
    }

    package static func remove(_ path: String) { unlink(path) }
    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
    package static func isExecutableFile(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
    }

    /// Without symbolic links and `..`; nil if there is no such file.
    package static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// The names in a directory, sorted; none if it cannot be read.
    package static func names(in path: String) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
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
    init?(_ path: String) throws(FileFailure) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw FileFailure("open the lock", path, errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw FileFailure("lock", path, code)
        }
        self.descriptor = descriptor
    }
    deinit { close(descriptor) }
}
