// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What ends a command on this host otherwise than well: one line for people on stderr, an exit status for scripts.

import ArgumentParser
import Coordinator
import CtrlExec
import PKI
import Platform

/// A sentence for people and a code for scripts.
struct CommandFailure: Error, CustomStringConvertible {
    let code: CtrlExec.ExitCode
    let description: String
    init(_ code: CtrlExec.ExitCode, _ description: String) {
        self.code = code
        self.description = description
    }
}

extension CommandFailure {
    /// What other rooms throw, with the code that fits. Nil for what the argument parser says better itself.
    init?(_ error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure
        case let error as ConfigurationError: self.init(.configuration, error.description)
        case let problem as FileProblem: self.init(problem.isPermission ? .permission : .failed, problem.description)
        case let failure as PKIFailure: self.init(.failed, failure.description)
        case let refusal as DirectoryLock.Refusal: self.init(.failed, refusal.description)
        case let refusal as StartRefusal: self.init(refusal.isPermanent ? .configuration : .failed, refusal.description)
        default: return nil
        }
    }
}
