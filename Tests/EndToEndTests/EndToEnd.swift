// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The built binaries as real processes on loopback. Each check is a script beside this file over the harness that the demo uses too
// (`ops/playground.py`); here they become tests, one after the other, because parallel clusters on two cores cause elections.

import Foundation
import Testing

@Suite("real processes", .serialized)
struct EndToEnd {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    /// Where this test's own bundle lies, beside `ced` and `cea` of the same build.
    static let binaries = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()

    /// Runs a script in a fresh directory and gives its exit status and output.
    static func run(_ script: URL, environment: [String: String] = [:]) throws -> (status: Int32, output: String) {
        let directory = FileManager.default.temporaryDirectory.appending(path: "ced-test-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let process = Process()
        process.executableURL = script
        process.arguments = [binaries.path]
        var variables = ProcessInfo.processInfo.environment
        variables["DEMO_DIR"] = directory.appending(path: "demo").path
        variables["CHECK_DIR"] = directory.appending(path: "check").path
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        // `make rotation-300` has all of them; so many take longer than everything else together.
        if variables["ROTATION_AGENTS"] == nil { variables["ROTATION_AGENTS"] = "60" }
        variables.merge(environment) { $1 }
        process.environment = variables
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, text)
    }

    @Test("the demo's checks all hold")
    func demoHolds() throws {
        let demo = try Self.run(Self.root.appending(path: "ops/demo"))
        #expect(demo.status == 0, "\(demo.output)")
        #expect(demo.output.contains(" passed, 0 failed"), "\(demo.output)")
    }

    @Test("the demo fails, and names its rows, when two of three members die")
    func brokenDemoFails() throws {
        let demo = try Self.run(Self.root.appending(path: "ops/demo"), environment: ["DEMO_BREAK": "1"])
        #expect(demo.status == 1, "\(demo.output)")
        #expect(demo.output.contains("FAIL  the leader dies; exclusive operations go on"), "\(demo.output)")
    }

    @Test(
        "a check over real processes",
        arguments: [
            "leader-dies-five-times", "transfer-under-load", "rotation", "files", "bad-input", "api", "pairing-session", "readme",
            "systemd", "cut-off", "full-disk", "snapshots", "upgrade", "haproxy", "install", "members", "versions",
        ])
    func check(name: String) throws {
        let check = try Self.run(Self.root.appending(path: "Tests/EndToEndTests/checks/\(name)"))
        #expect(check.status == 0, "\(check.output)")
        // A machine that cannot try something says so where people see it; CI counts it as failed (CED_CI=1).
        for line in check.output.split(separator: "\n") where line.hasPrefix("NOT RUN") { print("\(name): \(line)") }
    }
}
