// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Files that must be whole or absent, and the lock of a state directory.

import Glibc
import Platform
import Testing

@Suite("A durable file")
struct DurableFileTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/secret" }

    private func mode(_ path: String) -> mode_t? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o7777 : nil
    }

    @Test("is replaced as a whole and has the mode that was asked for, whatever the umask", arguments: [0o600, 0o644, 0o660] as [mode_t])
    func replaces(mode: mode_t) throws {
        try DurableFile.write(Array("first".utf8), to: path, mode: 0o600)
        try DurableFile.write(Array("second, longer".utf8), to: path, mode: mode)
        #expect(try DurableFile.read(path) == Array("second, longer".utf8))
        #expect(self.mode(path) == mode)
        #expect(!DurableFile.exists(path + ".new"))
    }

    @Test("does not write through a link that lies where it writes first")
    func link() throws {
        let victim = directory.path + "/victim"
        try DurableFile.write([1], to: victim, mode: 0o600)
        #expect(symlink(victim, path + ".new") == 0)
        try DurableFile.write([2], to: path, mode: 0o600)
        #expect(try DurableFile.read(victim) == [1])
        #expect(try DurableFile.read(path) == [2])
    }

    @Test("that is too large is refused")
    func tooLarge() throws {
        try DurableFile.write([UInt8](repeating: 1, count: 100), to: path, mode: 0o600)
        #expect(throws: FileProblem.self) { try DurableFile.read(path, limit: 99) }
        #expect(try DurableFile.read(path, limit: 100).count == 100)
    }

    @Test("that is missing is named with the reason")
    func missing() {
        do throws(FileProblem) {
            _ = try DurableFile.read(path)
            Issue.record("it was read")
        } catch {
            #expect(error.isMissing)
            #expect(error.description == "cannot read \(path): no such file or directory")
        }
    }

    @Test("that may not be read is named with what to do")
    func permission() {
        let problem = FileProblem("read", "/etc/ctrl-exec/ca.key", EACCES)
        #expect(problem.isPermission)
        #expect(problem.description == "cannot read /etc/ctrl-exec/ca.key: permission denied (run as root, or as the user that owns it)")
    }

    @Test("can be renamed and removed, and removing it twice is no error")
    func renameAndRemove() throws {
        try DurableFile.write([1], to: path, mode: 0o600)
        try DurableFile.rename(path, to: path + "2")
        #expect(!DurableFile.exists(path))
        #expect(DurableFile.exists(path + "2"))
        try DurableFile.remove(path + "2")
        try DurableFile.remove(path + "2")
        #expect(!DurableFile.exists(path + "2"))
    }

    @Test("may lie in a directory that is made with those above it")
    func directories() throws {
        let deep = directory.path + "/one/two/three/"
        try DurableFile.makeDirectory(deep, mode: 0o700)
        #expect(mode(deep) == 0o700)
        try DurableFile.makeDirectory(deep, mode: 0o755)
        #expect(mode(deep) == 0o700, "one that is there is left as it is")
    }
}

@Suite("The lock of a directory")
struct DirectoryLockTests {
    private let directory = TemporaryDirectory()

    @Test("is refused while another holds it, naming the process, and free when that lets go")
    func twice() throws {
        var first: DirectoryLock? = try DirectoryLock(directory: directory.path)
        #expect(throws: DirectoryLock.Refusal.held(directory: directory.path, pid: getpid())) {
            _ = try DirectoryLock(directory: directory.path)
        }
        #expect(try DurableFile.read(directory.path + "/lock") == Array("\(getpid())\n".utf8))
        withExtendedLifetime(first) {}
        first = nil
        _ = try DirectoryLock(directory: directory.path)
    }

    @Test("says in words who has it")
    func words() {
        #expect(
            DirectoryLock.Refusal.held(directory: "/var/lib/ctrl-exec/cluster", pid: 4711).description
                == "/var/lib/ctrl-exec/cluster is in use by process 4711 (stop that process first, or give another --directory)")
    }

    @Test("in a directory that is not there is refused with the reason")
    func noDirectory() {
        #expect(throws: DirectoryLock.Refusal.file(FileProblem("open", "/nonexistent/lock", ENOENT))) {
            _ = try DirectoryLock(directory: "/nonexistent")
        }
    }
}
