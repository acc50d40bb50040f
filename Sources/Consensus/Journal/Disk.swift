// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The disk as the journal sees it: synchronous, and able to fail. `FileDisk` (Platform) and `SimulatedDisk` (Simulation) pass one suite.

/// A name inside the journal's directory; no path.
package struct FileName: Comparable, Hashable, Sendable, CustomStringConvertible {
    package let name: String
    package init(_ name: String) { self.name = name }
    package static func < (left: FileName, right: FileName) -> Bool { left.name < right.name }
    package var description: String { name }
}

package enum DiskFailure: Error, Hashable, Sendable {
    case full
    case notFound(FileName)
    case alreadyExists(FileName)
    /// Anything else; the text is the operating system's.
    case failed(operation: String, FileName?, reason: String)
}

extension DiskFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .full: "no space left on the disk"
        case .notFound(let file): "\(file) does not exist"
        case .alreadyExists(let file): "\(file) exists already"
        case .failed(let operation, let file?, let reason): "cannot \(operation) \(file): \(reason)"
        case .failed(let operation, nil, let reason): "cannot \(operation): \(reason)"
        }
    }
}

/// A directory of flat files. What was written is durable only after `synchronize` of the file, and a new, renamed or removed name
/// only after `synchronizeDirectory`. A failed synchronization is never repeated: the caller gives the disk up.
package protocol Disk: Sendable {
    /// Names in sorted order.
    mutating func list() throws(DiskFailure) -> [FileName]
    mutating func size(of file: FileName) throws(DiskFailure) -> UInt64
    /// Up to `count` bytes from `offset`; fewer at the end of the file.
    mutating func read(_ file: FileName, at offset: UInt64, count: Int) throws(DiskFailure) -> [UInt8]
    /// Makes an empty file; fails if there is one.
    mutating func create(_ file: FileName) throws(DiskFailure)
    /// Writes all the bytes; the file grows as needed (a gap reads as zeros).
    mutating func write(_ bytes: [UInt8], to file: FileName, at offset: UInt64) throws(DiskFailure)
    mutating func synchronize(_ file: FileName) throws(DiskFailure)
    /// Replaces `to` if there is one.
    mutating func rename(_ file: FileName, to: FileName) throws(DiskFailure)
    mutating func remove(_ file: FileName) throws(DiskFailure)
    mutating func synchronizeDirectory() throws(DiskFailure)
}
