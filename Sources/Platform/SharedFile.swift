// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Files that other hands may change at any moment: replaced so that readers see the old one or the new one and never half of either, and
// so that nothing of somebody else's is lost. What stood there before is not overwritten but set beside, for the caller to look at: between
// a look beforehand and the replacement somebody could have saved his work.
//
// Nothing is synchronized: who writes such files can write them again. After a power cut one may be empty.

import Glibc

/// What tells without reading whether a file is still the one that it was.
package struct FileMark: Hashable, Sendable {
    private let device: UInt64
    private let inode: UInt64
    private let size: Int64
    private let modified: Int64
    private let changed: Int64
    /// Permission bits.
    package let mode: UInt32
    /// Neither a directory nor a link nor anything else.
    package let isRegular: Bool

    /// Links are not followed; nil: there is nothing.
    package init?(of path: String) throws(FileProblem) {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw FileProblem("examine", path)
        }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        modified = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
        changed = Int64(status.st_ctim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_ctim.tv_nsec)
        mode = UInt32(status.st_mode & 0o7777)
        isRegular = status.st_mode & S_IFMT == S_IFREG
    }
}

package enum SharedFile {
    /// Puts the content there. What stood there, if anything did, is now at `former`, which must not exist before.
    ///
    /// - Parameter beside: a path in the same directory; whatever is there is overwritten.
    /// - Returns: whether anything stood there.
    package static func replace(
        _ bytes: [UInt8], at path: String, mode: UInt32, beside: String, former: String
    ) throws(FileProblem) -> Bool {
        try prepare(bytes, at: beside, mode: mode, for: path)
        do throws(FileProblem) {
            return try install(beside, at: path, former: former)
        } catch {
            unlink(beside)
            throw error
        }
    }

    /// Takes the file away from there, to `former`; false if there was none.
    package static func withdraw(_ path: String, to former: String) throws(FileProblem) -> Bool {
        guard rename(path, former) == 0 else {
            if errno == ENOENT { return false }
            throw FileProblem("remove", path)
        }
        return true
    }

    /// Gives what was set beside a name that nothing has yet: the first of the candidates that is free.
    package static func keep(_ former: String, asFirstFree candidates: some Sequence<String>) throws(FileProblem) -> String {
        for candidate in candidates {
            if (try FileMark(of: candidate)) != nil { continue }
            guard rename(former, candidate) == 0 else { throw FileProblem("rename", former) }
            return candidate
        }
        throw FileProblem("find a free name for", former, EEXIST)
    }

    package static func remove(_ path: String) throws(FileProblem) {
        guard unlink(path) == 0 || errno == ENOENT else { throw FileProblem("remove", path) }
    }

    package static func setMode(_ mode: UInt32, of path: String) throws(FileProblem) {
        guard chmod(path, mode) == 0 else { throw FileProblem("set the mode of", path) }
    }

    /// The whole of a regular file; nil if there is something else, or more than the limit.
    package static func content(of path: String, limit: Int = 1 << 20) throws(FileProblem) -> [UInt8]? {
        guard let mark = try FileMark(of: path), mark.isRegular else { return nil }
        do throws(FileProblem) {
            return try DurableFile.read(path, limit: limit)
        } catch {
            if error.number == EFBIG || error.isMissing { return nil }
            throw error
        }
    }

    /// Names in a directory, without `.` and `..`, in order; at most `limit` of them.
    package static func names(in directory: String, limit: Int = 1_000_000) throws(FileProblem) -> [String] {
        guard let stream = opendir(directory) else { throw FileProblem("read", directory) }
        defer { closedir(stream) }
        var names: [String] = []
        while names.count < limit, let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    private static func prepare(_ bytes: [UInt8], at beside: String, mode: UInt32, for path: String) throws(FileProblem) {
        try remove(beside)
        let file = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw FileProblem("write", path) }
        let descriptor = Descriptor(file)
        do throws(FileProblem) {
            guard fchmod(descriptor.number, mode) == 0 else { throw FileProblem("set the mode of", path) }
            guard DurableFile.writeAll(bytes[...], to: descriptor.number) else { throw FileProblem("write", path) }
        } catch {
            unlink(beside)
            throw error
        }
    }

    private static func install(_ beside: String, at path: String, former: String) throws(FileProblem) -> Bool {
        // Twice is enough unless somebody makes and removes the file as fast as we look.
        for _ in 0..<8 {
            if link(path, former) == 0 {
                guard rename(beside, path) == 0 else {
                    let problem = FileProblem("replace", path)
                    unlink(former)
                    throw problem
                }
                return true
            }
            switch errno {
            case ENOENT:
                // A link, unlike a rename, does not overwrite what appeared just now.
                if link(beside, path) == 0 {
                    unlink(beside)
                    return false
                }
                if errno == EEXIST { continue }
                guard rename(beside, path) == 0 else { throw FileProblem("write", path) }
                return false
            case EEXIST: throw FileProblem("set aside", path)
            default:
                // A file system without hard links, or not our file: for a moment there is none.
                guard try withdraw(path, to: former) else { continue }
                guard rename(beside, path) == 0 else { throw FileProblem("replace", path) }
                return true
            }
        }
        throw FileProblem("replace", path, EBUSY)
    }
}
