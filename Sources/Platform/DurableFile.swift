// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Small files that must be whole or absent: written beside, synchronized, renamed, and the directory synchronized after.

import Glibc

package enum DurableFile {
    /// Replaces what is there. Nobody ever sees half of it, and it is on disk when this returns.
    ///
    /// - Parameter mode: for secrets 0o600; set whatever the umask, before the first byte is written.
    package static func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws(FileProblem) {
        let beside = path + ".new"
        if unlink(beside) != 0, errno != ENOENT { throw FileProblem("remove", beside) }
        let file = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw FileProblem("write", path) }
        let descriptor = Descriptor(file)
        do throws(FileProblem) {
            guard fchmod(descriptor.number, mode) == 0 else { throw FileProblem("set the mode of", beside) }
            guard writeAll(bytes[...], to: descriptor.number) else { throw FileProblem("write", path) }
            guard fsync(descriptor.number) == 0 else { throw FileProblem("synchronize", path) }
            guard Glibc.rename(beside, path) == 0 else { throw FileProblem("replace", path) }
        } catch {
            unlink(beside)
            throw error
        }
        try synchronizeDirectory(of: path)
    }

    /// Adds to the end of a file that exists; not synchronized.
    package static func append(_ bytes: [UInt8], to path: String) throws(FileProblem) {
        let file = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { throw FileProblem("write", path) }
        let descriptor = Descriptor(file)
        guard writeAll(bytes[...], to: descriptor.number) else { throw FileProblem("write", path) }
    }

    /// The whole file.
    ///
    /// - Parameter limit: a larger file is refused.
    package static func read(_ path: String, limit: Int = 1 << 20) throws(FileProblem) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw FileProblem("read", path) }
        let descriptor = Descriptor(file)
        var result: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor.number, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw FileProblem("read", path) }
            if count == 0 { return result }
            result += part[..<count]
            guard result.count <= limit else { throw FileProblem("read", path, EFBIG) }
        }
    }

    /// Makes the directory and those above it that are missing; sets the mode of the last one only if it was made here.
    package static func makeDirectory(_ path: String, mode: mode_t) throws(FileProblem) {
        if mkdir(path, mode) != 0 {
            switch errno {
            case EEXIST: return
            case ENOENT:
                let above = parent(of: path)
                guard above != path else { throw FileProblem("create", path) }
                try makeDirectory(above, mode: 0o755)
                guard mkdir(path, mode) == 0 else {
                    if errno == EEXIST { return }
                    throw FileProblem("create", path)
                }
            default: throw FileProblem("create", path)
            }
        }
        guard chmod(path, mode) == 0 else { throw FileProblem("set the mode of", path) }
        try synchronizeDirectory(of: path)
    }

    /// Durable when it returns.
    package static func rename(_ path: String, to newPath: String) throws(FileProblem) {
        guard Glibc.rename(path, newPath) == 0 else { throw FileProblem("rename", path) }
        try synchronizeDirectory(of: newPath)
        if parent(of: path) != parent(of: newPath) { try synchronizeDirectory(of: path) }
    }

    /// Durable when it returns; a file that is not there is no error.
    package static func remove(_ path: String) throws(FileProblem) {
        guard unlink(path) == 0 else {
            if errno == ENOENT { return }
            throw FileProblem("remove", path)
        }
        try synchronizeDirectory(of: path)
    }

    /// Only if it is empty; one that is not stays, and that is no error.
    package static func removeDirectory(_ path: String) throws(FileProblem) {
        guard rmdir(path) == 0 else {
            if errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST { return }
            throw FileProblem("remove", path)
        }
        try synchronizeDirectory(of: path)
    }

    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// False, with `errno` set, if not all of it could be written.
    static func writeAll(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Bool {
        bytes.withUnsafeBytes { bytes in
            var written = 0
            while written < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                written += count
            }
            return true
        }
    }

    private static func parent(of path: String) -> String {
        var text = path[...]
        while text.utf8.count > 1, text.hasSuffix("/") { text = text.dropLast() }
        guard let slash = text.lastIndex(of: "/") else { return "." }
        return slash == text.startIndex ? "/" : String(text[..<slash])
    }

    private static func synchronizeDirectory(of path: String) throws(FileProblem) {
        let directory = parent(of: path)
        let file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw FileProblem("open", directory) }
        let descriptor = Descriptor(file)
        guard fsync(descriptor.number) == 0 else { throw FileProblem("synchronize", directory) }
    }
}
