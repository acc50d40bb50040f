// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which causes a restart can mend: a service manager tries again after those, and leaves it (exit code 78) after the others. What another
// process or the machine's state brings about may pass; what is missing, wrong or forbidden stays so until somebody changes it.

import CtrlExec
import Glibc
import PKI
import Platform
import Transport

extension StartRefusal {
    /// Nil for what is no refusal: a bug, or a failure that says nothing about configuration.
    init?(because cause: any Error) {
        switch cause {
        case let refusal as StartRefusal: self = refusal
        case let error as ConfigurationError: self.init(error.description, isPermanent: true)
        case let failure as PKIFailure: self.init(failure.description, isPermanent: true)
        case let problem as FileProblem: self.init(problem.description, isPermanent: problem.isPermanent)
        case .held(let directory, let pid) as DirectoryLock.Refusal:
            self.init(DirectoryLock.Refusal.held(directory: directory, pid: pid).description, isPermanent: false)
        case .file(let problem) as DirectoryLock.Refusal: self.init(problem.description, isPermanent: problem.isPermanent)
        case let refusal as InheritedSockets.Refusal: self.init(refusal.description, isPermanent: true)
        case let failure as ListenFailure: self.init(failure.description, isPermanent: failure.isPermanent)
        default: return nil
        }
    }
}

extension FileProblem {
    /// The same tomorrow, unless somebody does something about it.
    package var isPermanent: Bool {
        [EACCES, EPERM, ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EFBIG, EINVAL, EROFS, EEXIST].contains(number)
    }
}
