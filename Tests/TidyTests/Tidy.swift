// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The rules of the house that a compiler does not know: pure rooms stay pure, files say what they are, and nothing unfinished is left.

import Foundation
import Testing

/// A Swift file of the project, with its path below the project's root.
struct SourceFile: CustomTestStringConvertible {
    let path: String
    let lines: [Substring]
    var testDescription: String { path }

    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    static let all: [SourceFile] = ["Sources", "Tests"].flatMap { folder -> [SourceFile] in
        let base = root.appending(path: folder)
        guard let files = FileManager.default.enumerator(at: base, includingPropertiesForKeys: nil) else { return [] }
        return files.compactMap { item -> SourceFile? in
            guard let url = item as? URL, url.pathExtension == "swift", !url.lastPathComponent.hasSuffix(".pb.swift"),
                let text = try? String(contentsOf: url, encoding: .utf8)
            else { return nil }
            let path = String(url.path.dropFirst(root.path.count + 1))
            return SourceFile(path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false))
        }
    }

    static let pureRooms = ["Sources/Consensus/", "Sources/CtrlExec/", "Sources/Dispatcher/State/", "Sources/Coordinator/Core/"]
    static let pure = all.filter { file in pureRooms.contains { file.path.hasPrefix($0) } }
    static let sources = all.filter { $0.path.hasPrefix("Sources/") }
    static let tests = all.filter { $0.path.hasPrefix("Tests/") && !$0.path.hasPrefix("Tests/TidyTests/") }

    /// A string literal on one line; what a text says to people is not code.
    nonisolated(unsafe) static let literal = #/"(?:[^"\\]|\\.)*"/#

    /// Lines that match, comments and texts left out, as `path:line: text`.
    func findings(_ pattern: Regex<AnyRegexOutput>, inComments: Bool = false) -> [String] {
        lines.enumerated().compactMap { number, line in
            let isComment = line.trimmingPrefix(while: \.isWhitespace).hasPrefix("//")
            let code = inComments ? line : isComment ? "" : line.replacing(SourceFile.literal, with: "")
            return code.contains(pattern) ? "\(path):\(number + 1): \(line)" : nil
        }
    }
}

@Test("the walk finds the sources, so that the other checks cannot pass on nothing")
func walkFindsSources() {
    #expect(SourceFile.pure.count > 20)
    #expect(SourceFile.tests.count > 10)
}

@Test("pure rooms know no clock, no randomness, no concurrency, no I/O and no hashed collection")
func pureRoomsArePure() throws {
    let forbidden = try Regex(
        #"\b(ContinuousClock|SuspendingClock|DispatchTime|SystemRandomNumberGenerator|await|actor)\b|\bTask( ?\{|\.|\()|\basync( |$)|\b(Set|Dictionary)<|\b(Hasher|Date)\(|\.random\(|\.shuffled\(\)|\[[A-Z][A-Za-z]*: ?[A-Z]"#
    )
    #expect(SourceFile.pure.flatMap { $0.findings(forbidden) } == [])
}

@Test("pure rooms import each other and nothing else")
func pureRoomsImportOnlyEachOther() throws {
    let imports = try Regex(#"^ *(package |internal |private |public |@[a-zA-Z_]+ )*import "#)
    let allowed = try Regex(#"import (Consensus|CtrlExec|DispatcherState|Wire)$"#)
    let foreign = SourceFile.pure.flatMap { $0.findings(imports) }.filter { !$0.contains(allowed) }
    #expect(foreign == [])
}

@Test("the simulator never imports Foundation or NIO")
func simulatorIsSmall() throws {
    let forbidden = try Regex(#"import (Foundation|FoundationEssentials|NIO)"#)
    let world = SourceFile.all.filter { $0.path.hasPrefix("Tests/Simulation/World/") || $0.path.hasPrefix("Tests/Simulation/Invariants/") }
    #expect(!world.isEmpty)
    #expect(world.flatMap { $0.findings(forbidden) } == [])
}

@Test("every file begins with the licence line and says what lives in it", arguments: SourceFile.all)
func everyFileHasAHeader(_ file: SourceFile) {
    #expect(file.lines.first == "// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.")
    let essay = file.lines.dropFirst().prefix(6)
    #expect(essay.contains { $0.hasPrefix("// ") || $0.hasPrefix("/// ") }, "no line says what lives here")
}

@Test("nothing in the sources is marked unfinished")
func nothingIsUnfinished() throws {
    let marks = try Regex(#"\b(TODO|FIXME|XXX|HACK|unimplemented|not implemented|stub)\b|fatalError\("#)
    #expect(SourceFile.sources.flatMap { $0.findings(marks, inComments: true) } == [])
}

@Test("tests neither sleep nor are switched off")
func testsDoNotSleep() throws {
    let forbidden = try Regex(#"Task\.sleep|Thread\.sleep|[^a-zA-Z.]u?sleep\(|#expect\(true\)|\.disabled\("#)
    #expect(SourceFile.tests.flatMap { $0.findings(forbidden) } == [])
}

@Test("types are named for what they are")
func noPrivateSynonyms() throws {
    let vague = try Regex(#"\b(class|struct|enum|actor|protocol) [A-Za-z]*(Manager|Helper|Util|Utils)\b"#)
    #expect(SourceFile.all.flatMap { $0.findings(vague) } == [])
}

/// SO_DEBUG has the number of TCP_NODELAY at the other level, and is for root only.
@Test("options of TCP are set at TCP's level")
func optionsHaveTheirLevel() throws {
    let misplaced = try Regex(#"socketOption\(\.tcp_"#)
    #expect(SourceFile.all.flatMap { $0.findings(misplaced) } == [])
}

/// NIO does not set the flag by itself.
@Test("whoever opens sockets does not pass them on to programs that are started")
func socketsAreClosedOnExec() throws {
    let openers = SourceFile.sources.filter { file in
        file.lines.contains { $0.contains("ClientBootstrap(") || $0.contains("ServerBootstrap(") }
    }
    #expect(openers.count > 3)
    #expect(openers.filter { file in !file.lines.contains { $0.contains(".closeOnExec()") } }.map(\.path) == [])
}

@Test("a line of the log's vocabulary is handed over with its fields, not as text")
func logLinesKeepTheirFields() throws {
    let flattened = try Regex(#""\\\(LogLine\("#)
    #expect(SourceFile.sources.flatMap { $0.findings(flattened, inComments: true) } == [])
}
