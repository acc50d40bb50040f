// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The exit codes of `ced` and `cea`, so that scripts can tell.

package enum ExitCode: Int32, Sendable {
    case done = 0
    /// A host or the operation failed.
    case failed = 1
    /// `wait` ended before the run did.
    case waitTimedOut = 2
    case usage = 64
    case noMemberReachable = 69
    /// No leader within the deadline.
    case noLeaderInTime = 75
    case permission = 77
    case configuration = 78
}
