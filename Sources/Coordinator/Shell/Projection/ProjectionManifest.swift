// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which files a member has projected, and the hash of what it wrote: by this it knows its own from what another hand has changed, also
// after a restart. Kept in the state directory, one line a fact, written *before* the file that it speaks of: a process that is killed in
// between finds a file that it may have written, old or new, and never takes its own for somebody else's.
//
// A manifest that is lost or damaged does no harm: files that are as they should be are taken for our own, others are kept aside once.

import DispatcherState
import Glibc
import PKI
import Platform

struct ProjectionManifest {
    struct Entry: Hashable, Sendable {
        /// Of what we may have written, oldest first: one, until something is announced and not yet seen to be in place.
        fileprivate(set) var hashes: [String]
        /// As it was when it was last seen to have the last content; nil: not seen since the start.
        fileprivate(set) var mark: FileMark?

        var hash: String? { hashes.last }
        func isOurs(_ hash: String) -> Bool { hashes.contains(hash) }
    }

    private static let header = "ced-projection 1"
    private static let sizeLimit = 64 << 20
    /// Contents of one file that are remembered: the last processes may all have been killed before they wrote what they announced.
    private static let hashesLimit = 8
    /// Below this it is not worth writing anew.
    private static let smallestCompaction = 1 << 20

    private let path: String
    private(set) var entries: [ProjectedPath: Entry] = [:]
    private var bytesWritten = 0
    private var bytesWhenCompact = 0

    /// Reads what is there; a line that cannot be read counts for nothing.
    init(path: String) {
        self.path = path
        // Missing, too large or unreadable: begin with nothing; an append that fails as well is reported.
        let bytes = (try? DurableFile.read(path, limit: Self.sizeLimit)) ?? []
        // What ends in the middle of a line is written anew before anything is added.
        bytesWritten = bytes.last == 10 ? bytes.count : 0
        let lines = bytes.split(separator: 10).map { String(decoding: $0, as: UTF8.self) }
        guard lines.first == Self.header else { return }
        for line in lines.dropFirst() {
            let parts = line.split(separator: " ", maxSplits: 1).map(String.init)
            guard parts.count == 2, let file = ProjectedPath(parts[1]) else { continue }
            if parts[0] == "-" { entries[file] = nil } else if parts[0].utf8.count == 64 { note(file, parts[0]) }
        }
    }

    subscript(path: ProjectedPath) -> Entry? { entries[path] }

    /// The file was seen to have the content that was announced last.
    mutating func see(_ path: ProjectedPath, as mark: FileMark?) {
        guard let hash = entries[path]?.hash else { return }
        entries[path] = Entry(hashes: [hash], mark: mark)
    }

    /// Before the files are written: what they will contain.
    mutating func announce(_ files: [(path: ProjectedPath, hash: String)]) throws(FileProblem) {
        let news = files.filter { entries[$0.path]?.hash != $0.hash }
        try append(news.map { "\($0.hash) \($0.path)" })
        for file in news { note(file.path, file.hash) }
    }

    /// After the files are gone.
    mutating func forget(_ paths: [ProjectedPath]) throws(FileProblem) {
        try append(paths.map { "- \($0)" })
        for path in paths { entries[path] = nil }
    }

    private mutating func note(_ path: ProjectedPath, _ hash: String) {
        let known = entries[path]?.hashes.filter { $0 != hash } ?? []
        entries[path] = Entry(hashes: known.suffix(Self.hashesLimit - 1) + [hash], mark: nil)
    }

    private mutating func append(_ lines: [String]) throws(FileProblem) {
        guard !lines.isEmpty else { return }
        if bytesWritten == 0 || bytesWritten > max(Self.smallestCompaction, 4 * bytesWhenCompact) { try compact() }
        let bytes = Array((lines.joined(separator: "\n") + "\n").utf8)
        let written = bytesWritten
        // Should it fail half-way: written anew the next time.
        bytesWritten = 0
        try DurableFile.append(bytes, to: path)
        bytesWritten = written + bytes.count
    }

    private mutating func compact() throws(FileProblem) {
        var text = Self.header + "\n"
        for (path, entry) in entries.sorted(by: { $0.key < $1.key }) {
            for hash in entry.hashes { text += "\(hash) \(path)\n" }
        }
        try DurableFile.write(Array(text.utf8), to: path, mode: 0o600)
        bytesWritten = text.utf8.count
        bytesWhenCompact = bytesWritten
    }
}

extension ProjectedPath {
    /// As `description` writes it. A line of the manifest names no file outside of the roots.
    fileprivate init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard (2...3).contains(parts.count), let root = Root(rawValue: String(parts[0])),
            parts.dropFirst().allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." })
        else { return nil }
        self.init(root, parts.dropFirst().joined(separator: "/"))
    }
}

func projectionHash(_ content: [UInt8]) -> String { hexadecimal(sha256(content)) }
