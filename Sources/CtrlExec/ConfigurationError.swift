// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is wrong in a configuration file, said so that the line can be put right.

/// Ends a program with `ExitCode.configuration`.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    package let path: String
    /// From 1; nil if the fault is in no single line.
    package let line: Int?
    package let message: String

    package init(path: String, line: Int? = nil, _ message: String) {
        self.path = path
        self.line = line
        self.message = message
    }

    /// `/etc/ctrl-exec-agent/agent.conf:7: 'prot' is no key that I know; did you mean 'port'?`
    package var description: String { line.map { "\(path):\($0): \(message)" } ?? "\(path): \(message)" }
}

/// A thing in a configuration file that does not stop the program but is probably not meant.
package typealias ConfigurationWarning = ConfigurationError
