// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Files that other hands may change: nothing that stood there is lost, whatever it was.

import Glibc
import Platform
import Testing

@Suite("A shared file")
struct SharedFileTests {
    private let directory = TemporaryDirectory()
    private var path: String { directory.path + "/file" }
    private var former: String { directory.path + "/former" }

    private func put(_ text: String, at place: String) throws { try DurableFile.write(Array(text.utf8), to: place, mode: 0o644) }
    private func text(_ place: String) throws -> String? {
        try SharedFile.content(of: place).map { String(decoding: $0, as: UTF8.self) }
    }
    private func replace(_ text: String) throws -> Bool {
        try SharedFile.replace(Array(text.utf8), at: path, mode: 0o640, beside: directory.path + "/beside", former: former)
    }

    @Test("appears as a whole, with its mode, and leaves nothing beside")
    func appears() throws {
        #expect(try replace("new") == false)
        #expect(try text(path) == "new")
        #expect(try FileMark(of: path)?.mode == 0o640)
        #expect(try SharedFile.names(in: directory.path) == ["file"])
    }

    @Test("gives back what stood there, the very file")
    func givesBack() throws {
        try put("somebody's", at: path)
        // Somebody writes on while it is replaced.
        let writer = open(path, O_WRONLY | O_APPEND)
        defer { close(writer) }
        #expect(try replace("new") == true)
        #expect(write(writer, " work", 5) == 5)
        #expect(try text(path) == "new")
        #expect(try text(former) == "somebody's work")
        #expect(try SharedFile.names(in: directory.path) == ["file", "former"])
    }

    @Test("does not write through a link that stands in its place, and gives the link back")
    func link() throws {
        try put("victim", at: directory.path + "/victim")
        #expect(symlink(directory.path + "/victim", path) == 0)
        #expect(try replace("new") == true)
        #expect(try text(directory.path + "/victim") == "victim")
        #expect(try FileMark(of: path)?.isRegular == true)
        #expect(try FileMark(of: former)?.isRegular == false)
    }

    @Test("takes the place of a directory, and gives that back with all that is in it")
    func directoryInItsPlace() throws {
        try DurableFile.makeDirectory(path, mode: 0o755)
        try put("inside", at: path + "/inside")
        #expect(try replace("new") == true)
        #expect(try text(path) == "new")
        #expect(try text(former + "/inside") == "inside")
    }

    @Test("is not replaced while something lies where the former file would go")
    func formerIsTaken() throws {
        try put("old", at: path)
        try put("left over", at: former)
        #expect(throws: FileProblem.self) { try replace("new") }
        #expect(try text(path) == "old")
        #expect(try text(former) == "left over")
        #expect(try SharedFile.names(in: directory.path) == ["file", "former"])
    }

    @Test("that was taken away is kept under the first name that is free")
    func keeps() throws {
        try put("a", at: path)
        try put("taken", at: path + "-1")
        #expect(try SharedFile.withdraw(path, to: former))
        #expect(try SharedFile.withdraw(path, to: former) == false)
        let kept = try SharedFile.keep(former, asFirstFree: (1...3).map { "\(path)-\($0)" })
        #expect(kept == path + "-2")
        #expect(try text(path + "-1") == "taken")
        #expect(try text(kept) == "a")
    }

    @Test("that is too large, or no file, has no content")
    func content() throws {
        try put("12345", at: path)
        #expect(try SharedFile.content(of: path, limit: 4) == nil)
        #expect(try SharedFile.content(of: path, limit: 5)?.count == 5)
        #expect(try SharedFile.content(of: directory.path) == nil)
        #expect(try SharedFile.content(of: path + "-missing") == nil)
    }

    @Test("has another mark when anything about it has changed")
    func marks() throws {
        try put("1", at: path)
        let first = try #require(try FileMark(of: path))
        #expect(try FileMark(of: path) == first)
        try put("1", at: path)
        let again = try #require(try FileMark(of: path))
        #expect(again != first)
        try SharedFile.setMode(0o600, of: path)
        #expect(try FileMark(of: path) != again)
        #expect(try FileMark(of: path + "-missing") == nil)
    }
}

@Test("the room on a file system is known, and a path that is none is said")
func diskSpace() throws {
    let space = try DiskSpace(at: "/")
    #expect(space.totalBytes > 0 && space.freeBytes <= space.totalBytes)
    #expect(throws: FileProblem.self) { try DiskSpace(at: "/nonexistent") }
}
