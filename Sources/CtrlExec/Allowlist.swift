// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's scripts.conf: which scripts may run, by name (protocol page, 8.2).

package struct Allowlist: Hashable, Sendable {
    package struct Script: Hashable, Sendable {
        package let name: ScriptName
        /// Absolute.
        package let path: String
        /// The annotation `profile=…`; `default` without one.
        package let profile: String
    }

    /// Sorted by name; of entries with the same name the last one wins.
    package private(set) var scripts: [Script] = []
    /// Lines that were skipped, and why.
    package private(set) var warnings: [ConfigurationWarning] = []

    package init() {}

    /// `name = /absolute/path`, with `profile=…` before or after the path. Malformed lines are skipped with a warning, never guessed.
    package init(text: String, path file: String) {
        for (number, line) in text.numberedLines {
            let trimmed = line.trimmedOfWhiteSpace
            if trimmed.isEmpty || trimmed.utf8.first == 35 { continue }
            func skip(_ message: String) { warnings.append(ConfigurationWarning(path: file, line: number, message)) }
            guard let equals = trimmed.firstIndex(of: "=") else {
                skip("expected 'name = /absolute/path'; the line is skipped")
                continue
            }
            let left = trimmed[..<equals].trimmedOfWhiteSpace
            guard let name = ScriptName(left) else {
                skip("'\(left)' is no script name (letters, digits, '_' and '-'); the line is skipped")
                continue
            }
            var paths: [String] = []
            var profile = "default"
            for word in trimmed[trimmed.index(after: equals)...].wordsBetweenWhiteSpace {
                if let (key, value) = Allowlist.annotation(word) {
                    if key == "profile" { profile = value }
                } else {
                    paths.append(word)
                }
            }
            guard paths.count == 1, let path = paths.first else {
                skip(paths.isEmpty ? "'\(name)' has no path; the line is skipped" : "'\(name)' has more than one path; the line is skipped")
                continue
            }
            guard path.utf8.first == 47 else {
                skip("'\(path)' is no absolute path; the line is skipped")
                continue
            }
            insert(Script(name: name, path: path, profile: profile))
        }
    }

    package subscript(name: ScriptName) -> Script? { scripts.first { $0.name == name } }

    private mutating func insert(_ script: Script) {
        scripts.removeAll { $0.name == script.name }
        scripts.insert(script, at: scripts.firstIndex { script.name < $0.name } ?? scripts.count)
    }

    /// `[a-z_]+=…`
    private static func annotation(_ word: String) -> (key: String, value: String)? {
        guard let equals = word.firstIndex(of: "="), equals != word.startIndex else { return nil }
        let key = word[..<equals]
        guard key.utf8.allSatisfy({ (97...122).contains($0) || $0 == 95 }) else { return nil }
        return (String(key), String(word[word.index(after: equals)...]))
    }
}
