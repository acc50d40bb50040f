// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Why a member does not start from the journal that it was given.

package enum JournalRefusal: Error, Hashable, Sendable {
    /// No journal here: never initialised, or the disk is lost.
    case missing
    /// A record that was durable does not read back.
    case damaged(FileName, offset: UInt64, reason: String)
    case unknownFormat(UInt32)
    /// The log was cut behind a snapshot that is not here.
    case snapshotLost(begins: SnapshotPlace, newest: SnapshotPlace?)
    case disk(DiskFailure)
}

extension JournalRefusal: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missing: "this member was never initialised or has lost its disk; it must not come back under its old id"
        case .damaged(let file, let offset, let reason):
            "the journal is damaged in \(file) at byte \(offset): \(reason); this member must not come back under its old id: "
                + "remove it from the cluster and join it anew"
        case .unknownFormat(let format):
            "the journal has format \(format) and this release reads format \(JournalFormat.current): start the release that wrote it"
        case .snapshotLost(let begins, let newest):
            "the journal begins behind \(begins), and "
                + (newest.map { "the newest snapshot is the one behind \($0)" } ?? "no snapshot is here")
                + ": a snapshot is lost; this member must not come back under its old id: remove it from the cluster and join it anew"
        case .disk(let failure): "cannot read the journal: \(failure)"
        }
    }
}
