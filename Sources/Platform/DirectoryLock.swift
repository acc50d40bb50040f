// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One process a state directory. The kernel lets go of the lock when the process ends, however it ends; the pid in the file is for people.

import Glibc

package struct DirectoryLock: Sendable {
    package enum Refusal: Error, Hashable, Sendable, CustomStringConvertible {
        /// Another process has it; its pid if it could be read.
        case held(directory: String, pid: Int32?)
        case file(FileProblem)

        package var description: String {
            switch self {
            case .held(let directory, let pid?):
                "\(directory) is in use by process \(pid) (stop that process first, or give another --directory)"
            case .held(let directory, nil): "\(directory) is in use by another process (stop it first, or give another --directory)"
            case .file(let problem): problem.description
            }
        }
    }

    private let descriptor: Descriptor

    /// Takes the lock or refuses at once. Held for as long as the value lives; a copy keeps it too.
    package init(directory: String) throws(Refusal) {
        let path = directory + "/lock"
        let number = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard number >= 0 else { throw .file(FileProblem("open", path)) }
        descriptor = Descriptor(number)
        while flock(number, LOCK_EX | LOCK_NB) != 0 {
            if errno == EINTR { continue }
            guard errno == EWOULDBLOCK else { throw .file(FileProblem("lock", path)) }
            throw .held(directory: directory, pid: DirectoryLock.pid(in: number))
        }
        // For people only: a full disk keeps nobody from holding the lock.
        if ftruncate(number, 0) == 0 { _ = DurableFile.writeAll(Array("\(getpid())\n".utf8)[...], to: number) }
    }

    /// The process that has the directory now; nil: none that can be seen. Takes no lock itself, so that it keeps nobody from starting.
    package static func holder(of directory: String) -> Int32? {
        var status = stat()
        guard stat(directory + "/lock", &status) == 0, let locks = try? DurableFile.read("/proc/locks") else {
            // Without a lock file nobody has it; without /proc nobody can say.
            return nil
        }
        // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; device numbers differ on some file systems, the inode does not.
        for line in String(decoding: locks, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count > 5, words[1] == "FLOCK", words[5].split(separator: ":").last == "\(status.st_ino)" else { continue }
            return Int32(words[4])
        }
        return nil
    }

    private static func pid(in descriptor: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0, let line = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").first else { return nil }
        return Int32(line)
    }
}
