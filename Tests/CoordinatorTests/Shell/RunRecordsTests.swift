// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Records of runs on a real disk: whole, for a day, within bounds; and how the record of an asynchronous run changes.

import AgentLink
import CoordinatorCore
import CtrlExec
import Foundation
import Synchronization
import Testing

@testable import Coordinator

@Suite("Records of runs")
struct RunRecordsTests {
    /// A store in a directory of its own, with a clock and a log that the test holds.
    private final class Place: Sendable {
        let directory = FileManager.default.temporaryDirectory.appending(path: "ced-runs-\(UUID().uuidString.prefix(8))")
        /// Stands still: how old a record is, is told by the time of its file, which the file system gives it.
        let now = Mutex<Int64>(Int64(Date().timeIntervalSince1970))
        let actions = Mutex<[String]>([])
        deinit {
            // A directory of the test's own; what is left of it does no harm.
            try? FileManager.default.removeItem(at: directory)
        }
        func open(_ bounds: RunRecords.Bounds = RunRecords.Bounds()) -> RunRecords {
            RunRecords(
                directory: directory.path, bounds: bounds, log: { record in self.actions.withLock { $0.append(record.action) } },
                now: { self.now.withLock { $0 } })
        }
        func wait(seconds: Int64, after name: String) throws {
            let written = try #require(attributes(name)[.modificationDate] as? Date)
            now.withLock { $0 = Int64(written.timeIntervalSince1970.rounded(.down)) + seconds }
        }
        var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? []).sorted() }  // none: not made
        func attributes(_ name: String) throws -> [FileAttributeKey: Any] {
            try FileManager.default.attributesOfItem(atPath: directory.appending(path: name).path)
        }
        func write(_ name: String, _ text: String) throws { try Data(text.utf8).write(to: directory.appending(path: name)) }
    }

    @Test("a record is read as it was kept, also by the next process, and is nobody else's to read")
    func keeps() async throws {
        let place = Place()
        let records = place.open()
        #expect(await records.record(of: Reqid(1)) == nil)
        #expect(await records.keep(Array("one".utf8), of: Reqid(1)))
        #expect(await records.keep(Array("two".utf8), of: Reqid(1)))
        #expect(place.names == ["0000000000000001.json"])
        #expect(try place.attributes("0000000000000001.json")[.posixPermissions] as? Int == 0o640)
        await records.close()
        let next = place.open()
        #expect(await next.record(of: Reqid(1)) == Array("two".utf8))
        #expect(await next.extent() == (1, 3))
        await next.close()
        // Who asks a store that is closed is not kept waiting.
        #expect(await next.record(of: Reqid(1)) == nil)
    }

    @Test("after a day it is gone; what others have put there stays, what a dead process has left goes")
    func expires() async throws {
        let place = Place()
        let records = place.open()
        await records.keep([1], of: Reqid(1))
        try place.write("notes.txt", "keep me")
        try place.write("0000000000000002.json.new", "half")
        try place.wait(seconds: 86_400, after: "0000000000000001.json")
        #expect(await records.record(of: Reqid(1)) == [1])
        try place.wait(seconds: 86_401, after: "0000000000000001.json")
        // Shown no more from the very second on, removed at the next sweep.
        #expect(await records.record(of: Reqid(1)) == nil)
        #expect(await records.extent() == (0, 0))
        #expect(place.names == ["notes.txt"])
        await records.close()
    }

    @Test("more than the bounds allow are not kept: the oldest go, and the log says so")
    func bounded() async throws {
        let place = Place()
        var bounds = RunRecords.Bounds()
        bounds.count = 3
        bounds.bytes = 100
        bounds.recordBytes = 60
        let records = place.open(bounds)
        for number in UInt64(1)...4 {
            await records.keep([UInt8](repeating: 7, count: 10), of: Reqid(number))
        }
        #expect(await records.extent() == (3, 30))
        #expect(await records.record(of: Reqid(1)) == nil)
        #expect(await records.record(of: Reqid(2)) != nil)
        #expect(place.actions.withLock { $0 } == ["run-store-evict"])
        // One that is replaced needs no further place.
        await records.keep([1], of: Reqid(4))
        #expect(await records.extent() == (3, 21))
        await records.keep([UInt8](repeating: 7, count: 60), of: Reqid(5))
        await records.keep([UInt8](repeating: 7, count: 60), of: Reqid(6))
        #expect(await records.extent() == (1, 60))
        #expect(await !records.keep([UInt8](repeating: 7, count: 61), of: Reqid(7)))
        #expect(place.actions.withLock { $0.last } == "run-store-fail")
        await records.close()
    }

    @Test("a place that cannot be written to is an error in the log and nothing worse")
    func unwritable() async throws {
        let place = Place()
        try Data("a file".utf8).write(to: place.directory)
        let records = place.open()
        #expect(await !records.keep([1], of: Reqid(1)))
        #expect(await records.record(of: Reqid(1)) == nil)
        #expect(place.actions.withLock { $0.contains("run-store-fail") })
        await records.close()
    }

    // MARK: What they say

    private func result(_ members: KeyValuePairs<String, JSONValue?>) -> JSONValue { .record(members) }

    @Test("a host is pending until it is done or expired; one that is not heard of stays so")
    func machine() throws {
        var record = RunRecord.asynchronous(
            "0123456789abcdef", script: "s",
            results: [
                result(["host": .text("a"), "status": .text("accepted"), "rtt": .text("1ms")]),
                result(["host": .text("b"), "status": .text("accepted")]),
                result(["host": .text("c"), "exit": .integer(-1), "error": .text("script not permitted")]),
                result(["host": .text("d"), "status": .text("error"), "error": .text("timed out")]),
            ], ports: [try #require(AgentName("b")): 7000], submitter: nil, created: 5)
        #expect(record.pending.map(\.host) == ["a", "b:7000"] && record.pending.map(\.name) == ["a", "b"])
        #expect(
            record.json["hosts"]?["c"] == result(["status": .text("error"), "error": .text("script not permitted"), "exit": .integer(-1)]))
        record.note(result(["host": .text("a"), "status": .text("error"), "error": .text("connection refused")]), of: "a")
        #expect(
            record.json["hosts"]?["a"] == result(["status": .text("accepted"), "fetch_error": .text("connection refused")])
                && record.pending.count == 2)
        record.note(result(["status": .text("running")]), of: "a")
        #expect(record.json["hosts"]?["a"] == result(["status": .text("running")]))
        record.note(result(["status": .text("done"), "exit": .integer(0), "stdout": .text("x"), "stderr": .text("")]), of: "a")
        record.note(result(["status": .text("unknown")]), of: "b")
        #expect(record.json["hosts"]?["b"]?["status"] == .text("expired"))
        #expect(record.json["complete"] == .boolean(true) && record.json["pending"] == .array([]) && record.json["created"] == .integer(5))
        // Nobody else is let in by what an agent says.
        record.note(result(["status": .text("running")]), of: "stranger")
        #expect(record.json["hosts"]?["stranger"] == nil)
        #expect(RunRecord(bytes: record.json.bytes) == record)
    }

    @Test("a record that would be too large loses the ends of its longest outputs, and says where")
    func cut() throws {
        let long = String(repeating: "ü", count: 40_000)
        let record = RunRecord.synchronous(
            "0123456789abcdef", script: "s",
            results: [
                result(["host": .text("a"), "exit": .integer(0), "stdout": .text(long), "stderr": .text("short")]),
                result(["host": .text("b"), "exit": .integer(1), "stdout": .text("short")]),
            ], submitter: nil, completed: 1)
        #expect(RunRecord(bytes: record.bytes(limit: 1 << 20)) == record)
        let bytes = record.bytes(limit: 20_001)
        #expect(bytes.count <= 20_001)
        let kept = try #require(RunRecord(bytes: bytes)).json
        guard case .array(let results) = kept["results"] else { throw Surprise("no results") }
        let stdout = results[0]["stdout"]?.scalarText ?? ""
        #expect(results[0]["truncated"] == .boolean(true) && stdout.count > 500 && long.hasPrefix(stdout))
        #expect(results[0]["stderr"] == .text("short") && results[1]["truncated"] == nil && results[1]["stdout"] == .text("short"))
    }

    @Test("what is no record is none", arguments: ["", "[]", "{", "{}", "\"x\""])
    func nonsense(text: String) { #expect(RunRecord(bytes: Array(text.utf8)) == nil) }
}
