// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member knows of itself that its pure part does not: its disk, its own certificate, the files that it keeps for people. Gathered
// by the shell, told to whoever asks how the member is; decides nothing.

import Consensus

package struct MemberFacts: Hashable, Sendable {
    package struct DiskSpace: Hashable, Sendable {
        /// What a process without privileges may still write.
        package var freeBytes: UInt64
        package var totalBytes: UInt64
        package init(freeBytes: UInt64, totalBytes: UInt64) {
            self.freeBytes = freeBytes
            self.totalBytes = totalBytes
        }
    }

    package enum Projection: Hashable, Sendable {
        /// The configuration says so, or nothing says where.
        case off
        /// The files are written once the member has caught up.
        case waiting
        case following
        /// One sentence.
        case failing(String)
    }

    /// Of the file system with the state directory; nil: not known.
    package var disk: DiskSpace?
    /// When the member's own certificate ends.
    package var certificateNotAfter: WallClock?
    package var projection: Projection
    /// Projected files that another hand had changed, kept aside and not looked at yet; and one of them.
    package var keptAside: UInt32
    package var keptAsideExample: String
    /// Where it serves operators; nil: not said.
    package var operationsPort: UInt16?
    package init(
        disk: DiskSpace? = nil, certificateNotAfter: WallClock? = nil, projection: Projection = .off, keptAside: UInt32 = 0,
        keptAsideExample: String = "", operationsPort: UInt16? = nil
    ) {
        self.disk = disk
        self.certificateNotAfter = certificateNotAfter
        self.projection = projection
        self.keptAside = keptAside
        self.keptAsideExample = keptAsideExample
        self.operationsPort = operationsPort
    }

    /// Of a sentence or a path, in bytes; the shell cuts what is longer.
    package static let textLimit = 400
}
