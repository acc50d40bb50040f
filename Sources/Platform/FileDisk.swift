// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The journal's disk as a directory of the file system. Blocking; for the journal's thread only.
// Promised: what was synchronized survives a power cut as far as kernel and device keep their word. Not promised: that nobody else touches
// the directory; `DirectoryLock` sees to that.

import Consensus
import Glibc

package struct FileDisk: Disk {
    /// As many files as the journal writes to in turn.
    private static let openFiles = 2

    package let path: String
    private let directory: Descriptor
    /// Most recently used last.
    private var open: [(name: FileName, descriptor: Descriptor)] = []

    /// Opens an existing directory.
    ///
    /// What a process left in the kernel's memory when it died is written out here, and that memory given up, so that everything is read
    /// from the device: after a write-back that failed, the kernel shows data as clean that the disk does not have.
    package init(directory path: String) throws(DiskFailure) {
        self.path = path
        let number = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else {
            throw .failed(operation: "open the directory", FileName(path), reason: systemReason(errno))
        }
        directory = Descriptor(number)
        for file in try list() {
            let descriptor = try descriptor(of: file)
            guard fdatasync(descriptor.number) == 0 else { throw failure("synchronize", file) }
            // Advice; a file system that does not take it only reads from memory.
            _ = posix_fadvise(descriptor.number, 0, 0, POSIX_FADV_DONTNEED)
        }
    }

    package mutating func list() throws(DiskFailure) -> [FileName] {
        let number = openat(directory.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { throw failure("list", nil) }
        guard let stream = fdopendir(number) else {
            let problem = failure("list", nil)
            close(number)
            throw problem
        }
        defer { closedir(stream) }
        var names: [FileName] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                guard errno == 0 else { throw failure("list", nil) }
                return names.sorted()
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: $0.pointee)) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(FileName(name)) }
        }
    }

    package mutating func size(of file: FileName) throws(DiskFailure) -> UInt64 {
        let descriptor = try descriptor(of: file)
        var status = stat()
        guard fstat(descriptor.number, &status) == 0 else { throw failure("measure", file) }
        return UInt64(status.st_size)
    }

    package mutating func read(_ file: FileName, at offset: UInt64, count: Int) throws(DiskFailure) -> [UInt8] {
        let descriptor = try descriptor(of: file)
        // No larger a buffer than there are bytes, whatever was asked for.
        let size = try size(of: file)
        guard offset < size, count > 0 else { return [] }
        var error: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: min(count, Int(clamping: size - offset))) { buffer, filled in
            while filled < buffer.count {
                let count = pread(
                    descriptor.number, buffer.baseAddress.map { $0 + filled }, buffer.count - filled, off_t(offset) + off_t(filled))
                if count < 0, errno == EINTR { continue }
                if count < 0 { error = errno }
                guard count > 0 else { return }
                filled += count
            }
        }
        guard error == 0 else { throw failure("read", file, error) }
        return bytes
    }

    package mutating func create(_ file: FileName) throws(DiskFailure) {
        let number = openat(directory.number, checked(file), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw failure("create", file) }
        remember(file, Descriptor(number))
    }

    package mutating func write(_ bytes: [UInt8], to file: FileName, at offset: UInt64) throws(DiskFailure) {
        let descriptor = try descriptor(of: file)
        let isWritten = bytes.withUnsafeBytes { bytes in
            var written = 0
            while written < bytes.count {
                let count = pwrite(
                    descriptor.number, bytes.baseAddress.map { $0 + written }, bytes.count - written, off_t(offset) + off_t(written))
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return false }
                written += count
            }
            return true
        }
        guard isWritten else { throw failure("write", file) }
    }

    package mutating func synchronize(_ file: FileName) throws(DiskFailure) {
        guard fdatasync(try descriptor(of: file).number) == 0 else { throw failure("synchronize", file) }
    }

    package mutating func rename(_ file: FileName, to: FileName) throws(DiskFailure) {
        guard renameat(directory.number, checked(file), directory.number, checked(to)) == 0 else { throw failure("rename", file) }
        guard file != to else { return }
        open.removeAll { $0.name == to }
        for place in open.indices where open[place].name == file { open[place].name = to }
    }

    package mutating func remove(_ file: FileName) throws(DiskFailure) {
        guard unlinkat(directory.number, checked(file), 0) == 0 else { throw failure("remove", file) }
        open.removeAll { $0.name == file }
    }

    package mutating func synchronizeDirectory() throws(DiskFailure) {
        guard fsync(directory.number) == 0 else { throw failure("synchronize the directory", nil) }
    }

    // MARK: Inside

    private mutating func descriptor(of file: FileName) throws(DiskFailure) -> Descriptor {
        if let last = open.last, last.name == file { return last.descriptor }
        if let place = open.firstIndex(where: { $0.name == file }) {
            let found = open.remove(at: place)
            open.append(found)
            return found.descriptor
        }
        let number = openat(directory.number, checked(file), O_RDWR | O_CLOEXEC | O_NOFOLLOW)
        guard number >= 0 else { throw failure("open", file) }
        let descriptor = Descriptor(number)
        remember(file, descriptor)
        return descriptor
    }

    private mutating func remember(_ file: FileName, _ descriptor: Descriptor) {
        open.append((file, descriptor))
        if open.count > FileDisk.openFiles { open.removeFirst() }
    }

    private func checked(_ file: FileName) -> String {
        precondition(!file.name.isEmpty && !file.name.contains("/"), "a file name of the journal is no path")
        return file.name
    }

    private func failure(_ operation: String, _ file: FileName?, _ number: Int32 = errno) -> DiskFailure {
        switch (number, file) {
        case (ENOSPC, _), (EDQUOT, _): .full
        case (ENOENT, let file?): .notFound(file)
        case (EEXIST, let file?): .alreadyExists(file)
        default: .failed(operation: operation, FileName(file.map { path + "/" + $0.name } ?? path), reason: systemReason(number))
        }
    }
}
