// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Why `cea` ends, with the code that tells scripts which kind of failure it was.

import CtrlExec

package struct AgentFailure: Error, Sendable, CustomStringConvertible {
    package let exitCode: ExitCode
    /// One line for a person: what happened, to what, what to do next.
    package let description: String

    package init(_ exitCode: ExitCode, _ description: String) {
        self.exitCode = exitCode
        self.description = description
    }
    package init(_ error: ConfigurationError) { self.init(.configuration, error.description) }
}
