// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Every play in this folder leaves the trace that stands beside it. A trace changes only in a commit that says why:
// `CED_WRITE_GOLDEN=1 swift test --filter ScenarioTests` writes those anew that differ, and fails.

import Foundation
import Testing

/// One play and the trace that it must leave.
struct Scenario: CustomTestStringConvertible, Sendable {
    let name: String
    var testDescription: String { name }

    static let folder = URL(filePath: #filePath).deletingLastPathComponent()
    var play: URL { Scenario.folder.appending(path: "\(name).txt") }
    var golden: URL { Scenario.folder.appending(path: "\(name).golden") }

    static let all: [Scenario] = {
        let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return files.filter { $0.hasSuffix(".txt") }.sorted().map { Scenario(name: String($0.dropLast(4))) }
    }()
}

@Suite("Scenarios by hand")
struct ScenarioTests {
    @Test("there are plays")
    func some() { #expect(Scenario.all.count >= 10) }

    @Test("the play leaves its trace", arguments: Scenario.all)
    func trace(_ scenario: Scenario) throws {
        let trace = try Play(text: String(contentsOf: scenario.play, encoding: .utf8)).perform()
        let golden = (try? String(contentsOf: scenario.golden, encoding: .utf8)) ?? ""
        if trace == golden { return }
        if ProcessInfo.processInfo.environment["CED_WRITE_GOLDEN"] == "1" { try Data(trace.utf8).write(to: scenario.golden) }
        let (new, old) = (trace.split(separator: "\n"), golden.split(separator: "\n"))
        let place = zip(new, old).enumerated().first { $1.0 != $1.1 }?.offset ?? min(new.count, old.count)
        let shown = place < new.count ? String(new[place]) : "nothing more"
        Issue.record(
            "line \(place + 1) of the trace is '\(shown)', and should be '\(place < old.count ? String(old[place]) : "nothing more")'")
    }

    @Test(
        "a play that asks for what is not so is refused",
        arguments: ["elect a\nexpect leader b", "elect a\nexpect no leader", "fly a", "elect z"])
    func refusals(_ text: String) {
        #expect(throws: StageProblem.self) { try Play(text: text).perform() }
    }

    @Test("a play leaves the same trace each time")
    func repeats() throws {
        let text = "elect a\nask one b issue ann\nuntil reply one operatorIssued\nkill a\nrun 2000\n"
        #expect(try Play(text: text).perform() == Play(text: text).perform())
    }
}
