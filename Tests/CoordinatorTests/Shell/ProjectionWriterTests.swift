// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The files on a real disk: they become what they should be, and what other hands have done is never lost.

import Consensus
import CtrlExec
import DispatcherState
import Foundation
import Logging
import Platform
import Synchronization
import Testing

@testable import Coordinator

/// Two roots, a state directory and what was logged, for one test.
final class ProjectionPlace: Sendable {
    let base: String
    let log = Mutex<[String]>([])
    var settings: ProjectionSettings {
        ProjectionSettings(configurationDirectory: base + "/etc", dataDirectory: base + "/var")
    }

    init() throws {
        base = FileManager.default.temporaryDirectory.appending(path: "ced-projection-\(UUID().uuidString.prefix(8))").path
        for name in ["etc", "var"] { try DurableFile.makeDirectory("\(base)/\(name)", mode: 0o755) }
    }
    // A directory of the test's own below the temporary one; what is left of it does no harm.
    deinit { try? FileManager.default.removeItem(atPath: base) }

    /// As after a start of the member.
    func writer() -> HeldWriter { HeldWriter(makeWriter()) }
    func makeWriter() -> ProjectionWriter {
        ProjectionWriter(settings: settings, manifest: base + "/manifest") { [self] level, line in
            log.withLock { $0.append("\(level) \(line)") }
        }
    }

    func path(_ name: String) -> String { base + "/" + name }
    func put(_ text: String, _ name: String) throws { try Data(text.utf8).write(to: URL(filePath: path(name))) }
    func text(_ name: String) throws -> String? { try SharedFile.content(of: path(name)).map { String(decoding: $0, as: UTF8.self) } }
    func mark(_ name: String) throws -> FileMark? { try FileMark(of: path(name)) }
    /// Names of regular files below the roots, in order.
    var names: [String] {
        (FileManager.default.enumerator(atPath: base)?.compactMap { $0 as? String } ?? []).filter {
            var isDirectory: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: path($0), isDirectory: &isDirectory)
            return !isDirectory.boolValue && $0 != "manifest"
        }.sorted()
    }
    var keptAside: [String] { names.filter { $0.contains(".changed-by-hand-") } }
    func logged(_ word: String) -> Int { log.withLock { $0.count { $0.contains(word) } } }
}

/// The macros of the tests cannot look at a value that changes while they look.
final class HeldWriter {
    private var writer: ProjectionWriter
    init(_ writer: ProjectionWriter) { self.writer = writer }
    func rebuild(_ files: [ProjectedFile], now: WallClock) -> String? { writer.rebuild(files, now: now) }
    func update(_ parts: [ProjectedPartState], now: WallClock) -> String? { writer.update(parts, now: now) }
    func isDisturbed() -> Bool { writer.isDisturbed() }
    var kept: [String] { writer.kept }
}

@Suite("Projected files")
struct ProjectionWriterTests {
    private static let now = WallClock(secondsSince1970: 1_800_000_000)
    private let place: ProjectionPlace
    init() throws { place = try ProjectionPlace() }

    private func file(_ name: String, _ text: String, mode: UInt32 = 0o644, root: ProjectedPath.Root = .data) -> ProjectedFile {
        ProjectedFile(path: ProjectedPath(root, name), content: Array(text.utf8), mode: mode)
    }
    private func agent(_ name: String, _ text: String) -> ProjectedFile { file("agents/\(name).json", text) }

    @Test("are written with their modes into folders that are made for them, and removed with their agents")
    func written() throws {
        let writer = place.writer()
        let files = [file("ca.crt", "CA", root: .configuration), agent("web-1", "1"), file("rotation.json", "{}", mode: 0o640)]
        #expect(writer.rebuild(files, now: Self.now) == nil)
        #expect(place.names == ["etc/ca.crt", "var/agents/web-1.json", "var/rotation.json"])
        #expect(try place.text("var/agents/web-1.json") == "1")
        #expect(try place.mark("var/rotation.json")?.mode == 0o640)
        #expect(writer.update([.file(agent("web-2", "2")), .absent(agent("web-1", "").path)], now: Self.now) == nil)
        #expect(place.names == ["etc/ca.crt", "var/agents/web-2.json", "var/rotation.json"])
        #expect(!writer.isDisturbed())
    }

    @Test("that are as they should be are not touched, in one process or the next")
    func untouched() throws {
        let writer = place.writer()
        let files = [agent("web-1", "1"), agent("web-2", "2")]
        _ = writer.rebuild(files, now: Self.now)
        let marks = try [place.mark("var/agents/web-1.json"), place.mark("var/agents/web-2.json")]
        #expect(writer.rebuild(files, now: Self.now) == nil)
        let next = place.writer()
        #expect(next.rebuild(files, now: Self.now) == nil)
        #expect(try [place.mark("var/agents/web-1.json"), place.mark("var/agents/web-2.json")] == marks)
    }

    @Test(
        "that another hand changed are kept aside and put right, whether it is noticed by looking, at the next change or at the next start")
    func changedByHand() throws {
        let writer = place.writer()
        _ = writer.rebuild([agent("web-1", "1"), agent("web-2", "2"), agent("web-3", "3")], now: Self.now)
        try place.put("mine", "var/agents/web-1.json")
        #expect(writer.isDisturbed())
        #expect(writer.rebuild([agent("web-1", "1"), agent("web-2", "2"), agent("web-3", "3")], now: Self.now) == nil)
        #expect(!writer.isDisturbed())
        try place.put("mine too", "var/agents/web-2.json")
        #expect(writer.update([.file(agent("web-2", "two"))], now: Self.now) == nil)
        try place.put("and this", "var/agents/web-3.json")
        let next = place.writer()
        #expect(next.rebuild([agent("web-1", "1"), agent("web-2", "two"), agent("web-3", "3")], now: Self.now) == nil)
        #expect(
            place.names == [
                "var/agents/web-1.json", "var/agents/web-1.json.changed-by-hand-20270115T080000Z", "var/agents/web-2.json",
                "var/agents/web-2.json.changed-by-hand-20270115T080000Z", "var/agents/web-3.json",
                "var/agents/web-3.json.changed-by-hand-20270115T080000Z",
            ])
        #expect(try place.text("var/agents/web-1.json.changed-by-hand-20270115T080000Z") == "mine")
        #expect(try place.text("var/agents/web-2.json") == "two")
        #expect(place.logged("projection-changed-by-hand") == 3)
        // Those of earlier runs count too, until somebody has looked at them.
        #expect(next.kept.count == 3)
        try FileManager.default.removeItem(atPath: place.path(place.keptAside[0]))
        #expect(!next.isDisturbed())
        #expect(next.kept.count == 2)
    }

    @Test("keep what is no file as well: a link is not followed, a directory not emptied")
    func linksAndDirectories() throws {
        let writer = place.writer()
        try place.put("victim", "victim")
        #expect(symlink(place.path("victim"), place.path("etc/ca.crt")) == 0)
        try DurableFile.makeDirectory(place.path("etc/dispatcher.crt"), mode: 0o755)
        try place.put("inside", "etc/dispatcher.crt/inside")
        let files = [file("ca.crt", "CA", root: .configuration), file("dispatcher.crt", "D", root: .configuration)]
        #expect(writer.rebuild(files, now: Self.now) == nil)
        #expect(try place.text("victim") == "victim")
        #expect(try place.text("etc/ca.crt") == "CA" && place.text("etc/dispatcher.crt") == "D")
        #expect(try place.text("etc/dispatcher.crt.changed-by-hand-20270115T080000Z/inside") == "inside")
    }

    @Test("of others are left alone, and ours that somebody changed are not removed with their agent")
    func others() throws {
        let writer = place.writer()
        _ = writer.rebuild([agent("web-1", "1")], now: Self.now)
        try place.put("not ours", "var/agents/laptop.json")
        try place.put("changed", "var/agents/web-1.json")
        #expect(writer.rebuild([], now: Self.now) == nil)
        #expect(place.names == ["var/agents/laptop.json", "var/agents/web-1.json.changed-by-hand-20270115T080000Z"])
        #expect(writer.update([.absent(agent("laptop", "").path)], now: Self.now) == nil)
        #expect(try place.text("var/agents/laptop.json") == "not ours")
    }

    @Test("that stood there before with the same content are taken over as they are; with another they are kept aside")
    func takenOver() throws {
        try place.put("CA", "etc/ca.crt")
        try place.put("older dispatcher", "etc/dispatcher.crt")
        let mark = try place.mark("etc/ca.crt")
        let writer = place.writer()
        #expect(
            writer.rebuild([file("ca.crt", "CA", root: .configuration), file("dispatcher.crt", "D", root: .configuration)], now: Self.now)
                == nil)
        #expect(try place.mark("etc/ca.crt") == mark)
        #expect(place.keptAside == ["etc/dispatcher.crt.changed-by-hand-20270115T080000Z"])
    }

    @Test("survive an end between what was planned and what was written: own files are never taken for somebody else's")
    func killedInBetween() throws {
        let writer = place.writer()
        _ = writer.rebuild([agent("web-1", "1"), agent("web-2", "2")], now: Self.now)
        // Planned, not written.
        var manifest = ProjectionManifest(path: place.path("manifest"))
        try manifest.announce([(agent("web-1", "").path, projectionHash(Array("one".utf8)))])
        // Written to the end, but for the removal of the former file and of the one beside.
        try place.put("2", "var/agents/.ced-projection.former")
        try place.put("half", "var/agents/.ced-projection.new")
        let next = place.writer()
        #expect(next.rebuild([agent("web-1", "uno"), agent("web-2", "2")], now: Self.now) == nil)
        #expect(place.names == ["var/agents/web-1.json", "var/agents/web-2.json"])
        #expect(try place.text("var/agents/web-1.json") == "uno")
        #expect(place.logged("changed-by-hand") == 0)
    }

    @Test("of somebody else that were set aside when the process was killed are still kept")
    func killedWhileSettingAside() throws {
        try DurableFile.makeDirectory(place.path("var/agents"), mode: 0o770)
        try place.put("somebody's", "var/agents/.ced-projection.former")
        let writer = place.writer()
        #expect(writer.rebuild([agent("web-1", "1")], now: Self.now) == nil)
        #expect(try place.text("var/agents/unnamed.changed-by-hand-20270115T080000Z") == "somebody's")
        #expect(writer.kept.count == 1)
    }

    @Test("that a power cut has emptied are written anew and are nobody's work", arguments: ["", "\u{0}\u{0}\u{0}"])
    func emptied(content: String) throws {
        let writer = place.writer()
        _ = writer.rebuild([agent("web-1", "1")], now: Self.now)
        try place.put(content, "var/agents/web-1.json")
        let next = place.writer()
        #expect(next.rebuild([agent("web-1", "one")], now: Self.now) == nil)
        #expect(try place.text("var/agents/web-1.json") == "one")
        #expect(place.keptAside.isEmpty)
    }

    @Test("with another mode get theirs back, and nothing is kept aside for that")
    func modes() throws {
        let writer = place.writer()
        _ = writer.rebuild([file("rotation.json", "{}", mode: 0o640)], now: Self.now)
        try SharedFile.setMode(0o666, of: place.path("var/rotation.json"))
        #expect(writer.isDisturbed())
        #expect(writer.rebuild([file("rotation.json", "{}", mode: 0o640)], now: Self.now) == nil)
        #expect(try place.mark("var/rotation.json")?.mode == 0o640)
        #expect(place.keptAside.isEmpty)
    }

    @Test("that somebody writes again and again are left as he wrote them in the end, and that is said")
    func contested() throws {
        let writer = place.writer()
        for round in 1...ProjectionWriter.keptLimit {
            try place.put("mine \(round)", "etc/ca.crt")
            #expect(writer.rebuild([file("ca.crt", "CA", root: .configuration)], now: Self.now) == nil)
            #expect(try place.text("etc/ca.crt") == "CA")
        }
        try place.put("mine for ever", "etc/ca.crt")
        for _ in 1...3 {
            let problem = try #require(writer.rebuild([file("ca.crt", "CA", root: .configuration), agent("web-1", "1")], now: Self.now))
            #expect(problem.hasPrefix("\(place.path("etc/ca.crt")) is changed by another hand again and again"))
        }
        #expect(try place.text("etc/ca.crt") == "mine for ever")
        #expect(try place.text("var/agents/web-1.json") == "1")
        #expect(place.keptAside.count == ProjectionWriter.keptLimit)
        #expect(place.logged("projection-fail") == 1)
        for name in place.keptAside { try FileManager.default.removeItem(atPath: place.path(name)) }
        #expect(writer.rebuild([file("ca.crt", "CA", root: .configuration), agent("web-1", "1")], now: Self.now) == nil)
        #expect(try place.text("etc/ca.crt") == "CA")
        #expect(place.logged("projection-recovered") == 1)
    }

    @Test("of a root that is missing are said to be, once; those of the other are written, and all of them when it is there")
    func missingRoot() throws {
        try FileManager.default.removeItem(atPath: place.path("etc"))
        let writer = place.writer()
        let files = [file("ca.crt", "CA", root: .configuration), agent("web-1", "1")]
        for _ in 1...3 {
            let problem = try #require(writer.rebuild(files, now: Self.now))
            #expect(problem.contains("\(place.path("etc")) does not exist") && problem.contains("install -d"))
        }
        #expect(place.logged("projection-fail") == 1)
        #expect(place.names == ["var/agents/web-1.json"])
        try DurableFile.makeDirectory(place.path("etc"), mode: 0o755)
        #expect(writer.rebuild(files, now: Self.now) == nil)
        #expect(place.names == ["etc/ca.crt", "var/agents/web-1.json"])
    }

    @Test("one of which cannot be written do not keep the others back")
    func oneFails() throws {
        let long = String(repeating: "x", count: 253)
        let writer = place.writer()
        let problem = try #require(writer.rebuild([agent(long, "?"), agent("web-1", "1")], now: Self.now))
        #expect(problem.contains("file name too long"))
        #expect(place.names == ["var/agents/web-1.json"])
    }

    @Test("are known for our own although the manifest is damaged or lost, where they are as they should be", arguments: [true, false])
    func manifestLost(isDamaged: Bool) throws {
        let writer = place.writer()
        _ = writer.rebuild([agent("web-1", "1"), agent("web-2", "2")], now: Self.now)
        if isDamaged {
            try place.put("ced-projection 1\n\u{0}garbage\n- etc/../../secret\nshort etc/ca.crt\ncut off in the mid", "manifest")
        } else {
            try FileManager.default.removeItem(atPath: place.path("manifest"))
        }
        let next = place.writer()
        #expect(next.rebuild([agent("web-1", "1"), agent("web-2", "2")], now: Self.now) == nil)
        #expect(place.keptAside.isEmpty)
        let third = place.writer()
        #expect(third.rebuild([agent("web-2", "2")], now: Self.now) == nil)
        #expect(place.names == ["var/agents/web-2.json"])
    }

    @Test("leave a manifest that does not grow with every change")
    func manifestIsBounded() throws {
        var manifest = ProjectionManifest(path: place.path("manifest"))
        let path = ProjectedPath(.data, "agents/web-1.json")
        for round in 0..<20_000 { try manifest.announce([(path, projectionHash(Array("\(round)".utf8)))]) }
        let size = try #require(
            try FileManager.default.attributesOfItem(atPath: place.path("manifest"))[.size] as? Int)
        #expect(size < 2 << 20)
        let again = ProjectionManifest(path: place.path("manifest"))
        #expect(again[path]?.hash == projectionHash(Array("19999".utf8)))
        #expect(again[path]?.isOurs(projectionHash(Array("19998".utf8))) == true)
    }
}
