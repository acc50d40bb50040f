// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Makes the files as they should be: writes what differs, removes what is no more, and looks after what other hands have done meanwhile.
// A value on whichever thread holds it; it blocks for as long as the file system does.
//
// Promises: a reader sees a file whole, old or new. Only files that are known to be our own are removed. What another hand has changed is
// never lost: it is kept beside its place as `NAME.changed-by-hand-TIME`, said in the log and in the status, and then the file is as it
// should be again. Whoever changes one file again and again is somebody who believes that it is his: after `keptLimit` copies it is left
// as he wrote it, and that is said too.

import Consensus
import CtrlExec
import DispatcherState
import Logging
import Platform

struct ProjectionWriter {
    /// Copies of one file that are kept aside.
    static let keptLimit = 10
    /// A larger file is not ours.
    private static let contentLimit = 1 << 20
    /// Names below these are used for a moment each; one at a time is written.
    private static let beside = ".ced-projection.new"
    private static let former = ".ced-projection.former"
    private static let keptMark = ".changed-by-hand-"

    let settings: ProjectionSettings
    private let say: @Sendable (Logger.Level, LogLine) -> Void
    private var manifest: ProjectionManifest
    /// Files kept aside and still there.
    private(set) var kept: [String] = []
    private var hasBegun = false
    /// What failed in the pass that runs, and the roots that nothing more is tried in.
    private var failures: [Failure] = []
    private var brokenRoots: [ProjectedPath.Root] = []
    /// Written again because somebody had removed them.
    private var restored: [String] = []
    /// Reasons said in the log already, until a pass goes through.
    private var said: Set<String> = []

    private struct Failure {
        let text: String
        /// A thousand files that cannot be written for one reason are one failure.
        let reason: String
    }

    init(settings: ProjectionSettings, manifest path: String, say: @escaping @Sendable (Logger.Level, LogLine) -> Void) {
        self.settings = settings
        self.say = say
        manifest = ProjectionManifest(path: path)
    }

    /// Everything, and nothing besides.
    ///
    /// - Returns: what could not be done, in one sentence; nil: all is as it should be.
    mutating func rebuild(_ files: [ProjectedFile], now: WallClock) -> String? {
        begin()
        kept.removeAll(where: isGone)
        if !hasBegun { takeUp(now) }
        makeFolders()
        let wanted = Set(files.map(\.path))
        write(files, now)
        remove(manifest.entries.keys.filter { !wanted.contains($0) }.sorted(), now)
        if !hasBegun, failures.isEmpty { say(.info, LogLine("projection-rebuilt", ("FILES", files.count))) }
        hasBegun = hasBegun || failures.isEmpty
        return end()
    }

    /// These, and only these.
    mutating func update(_ parts: [ProjectedPartState], now: WallClock) -> String? {
        begin()
        var files: [ProjectedFile] = []
        var gone: [ProjectedPath] = []
        for part in parts {
            switch part {
            case .file(let file): files.append(file)
            case .absent(let path): if manifest[path] != nil { gone.append(path) }
            }
        }
        write(files, now)
        remove(gone, now)
        return end()
    }

    /// Whether some file is not as it was left: then everything must be looked at. Reads nothing.
    mutating func isDisturbed() -> Bool {
        kept.removeAll(where: isGone)
        return manifest.entries.contains { path, entry in
            guard let mark = entry.mark else { return false }
            // What cannot even be examined cannot be mended by writing; the pass that follows says so.
            return (try? FileMark(of: settings.place(of: path))) != mark
        }
    }

    // MARK: One pass

    private mutating func begin() {
        failures = []
        brokenRoots = []
        restored = []
    }

    private mutating func end() -> String? {
        if let first = restored.first {
            // Whoever removes a folder has removed ten thousand.
            let reason = restored.count == 1 ? "somebody removed it" : "somebody removed it and \(restored.count - 1) others"
            say(.warning, LogLine("projection-restored", ("FILE", first), ("REASON", reason)))
        }
        guard let first = failures.first else {
            if !said.isEmpty { say(.info, LogLine("projection-recovered")) }
            said = []
            return nil
        }
        for failure in failures where said.count < 100 && said.insert(failure.reason).inserted {
            say(.error, LogLine("projection-fail", ("ERROR", failure.text)))
        }
        return first.text
    }

    /// - Parameter stopsRoot: nothing else would go better there.
    private mutating func failed(_ root: ProjectedPath.Root, _ text: String, reason: String? = nil, stopsRoot: Bool) {
        let failure = Failure(text: text, reason: reason ?? text)
        if !failures.contains(where: { $0.reason == failure.reason }) { failures.append(failure) }
        if stopsRoot { brokenRoots.append(root) }
    }

    private mutating func failed(_ root: ProjectedPath.Root, _ problem: FileProblem) {
        failed(
            root, problem.description, reason: "\(problem.operation) \(problem.number) in \(directory(of: problem.path))",
            stopsRoot: problem.concernsTheDirectory)
    }

    private mutating func makeFolders() {
        for root in ProjectedPath.Root.allCases {
            let directory = settings.directory(of: root)
            guard DurableFile.exists(directory) else {
                failed(
                    root,
                    "\(directory) does not exist, so that ctrl-exec's files are not kept there (install -d \(directory), or say where with "
                        + "\(root.configurationKey), or 'projection = off')", stopsRoot: true)
                continue
            }
            for folder in ProjectionSettings.folders where folder.root == root {
                do throws(FileProblem) {
                    try DurableFile.makeDirectory(directory + "/" + folder.name, mode: folder.mode)
                } catch {
                    failed(root, error)
                }
            }
        }
    }

    private mutating func write(_ files: [ProjectedFile], _ now: WallClock) {
        var due: [(file: ProjectedFile, hash: String)] = []
        for file in files where !brokenRoots.contains(file.path.root) {
            let hash = projectionHash(file.content)
            do throws(FileProblem) {
                if try !isInPlace(file, hash) { due.append((file, hash)) }
            } catch {
                failed(file.path.root, error)
            }
        }
        do throws(FileProblem) {
            try manifest.announce(due.map { ($0.file.path, $0.hash) })
        } catch {
            // Without it the next start would not know its own files.
            for root in ProjectedPath.Root.allCases { failed(root, error.description, stopsRoot: true) }
            return
        }
        for (file, hash) in due where !brokenRoots.contains(file.path.root) {
            do throws(FileProblem) {
                try put(file, hash, now)
            } catch {
                failed(file.path.root, error)
            }
        }
    }

    /// Whether the file is as it should be; takes one for our own that is.
    private mutating func isInPlace(_ file: ProjectedFile, _ hash: String) throws(FileProblem) -> Bool {
        let place = settings.place(of: file.path)
        guard let mark = try FileMark(of: place) else { return false }
        let entry = manifest[file.path]
        guard entry?.hash != hash || entry?.mark != mark else { return mark.mode == file.mode }
        guard let content = try SharedFile.content(of: place, limit: Self.contentLimit), projectionHash(content) == hash else {
            return false
        }
        try manifest.announce([(file.path, hash)])
        if mark.mode != file.mode { try SharedFile.setMode(file.mode, of: place) }
        manifest.see(file.path, as: try FileMark(of: place))
        return true
    }

    private mutating func put(_ file: ProjectedFile, _ hash: String, _ now: WallClock) throws(FileProblem) {
        let place = settings.place(of: file.path)
        let directory = directory(of: place)
        let former = directory + "/" + Self.former
        let isThere = try FileMark(of: place) != nil
        if isThere, try !isOurs(place, file.path), copies(of: place) >= Self.keptLimit {
            return failed(
                file.path.root,
                "\(place) is changed by another hand again and again, and is left as it is now (whatever writes it, let it stop; then remove "
                    + "\(place)\(Self.keptMark)*)", stopsRoot: false)
        }
        if try SharedFile.replace(
            file.content, at: place, mode: file.mode, beside: directory + "/" + Self.beside, former: former)
        {
            try dispose(former, of: place, file.path, now)
        } else if manifest[file.path]?.mark != nil {
            restored.append(place)
        }
        manifest.see(file.path, as: try FileMark(of: place))
    }

    private mutating func remove(_ paths: [ProjectedPath], _ now: WallClock) {
        var gone: [ProjectedPath] = []
        for path in paths where !brokenRoots.contains(path.root) {
            let place = settings.place(of: path)
            let former = directory(of: place) + "/" + Self.former
            do throws(FileProblem) {
                if try SharedFile.withdraw(place, to: former) { try dispose(former, of: place, path, now) }
                gone.append(path)
            } catch {
                // A folder that is gone has taken its files along.
                if error.isMissing { gone.append(path) } else { failed(path.root, error) }
            }
        }
        do throws(FileProblem) {
            try manifest.forget(gone)
        } catch {
            for root in ProjectedPath.Root.allCases { failed(root, error.description, stopsRoot: true) }
        }
    }

    // MARK: What other hands have done

    /// Removes what we wrote, keeps what somebody else did.
    private mutating func dispose(_ former: String, of place: String, _ path: ProjectedPath, _ now: WallClock) throws(FileProblem) {
        if try isOurs(former, path) { return try SharedFile.remove(former) }
        let time = ISO8601Time.text(unixSeconds: now.secondsSince1970).filter { $0 != "-" && $0 != ":" }
        // A long name makes room for what is appended.
        let folder = directory(of: place)
        let name = String(decoding: place.utf8.dropFirst(folder.utf8.count + 1).prefix(200), as: UTF8.self)
        let first = "\(folder)/\(name)\(Self.keptMark)\(time)"
        let copy = try SharedFile.keep(former, asFirstFree: [first] + (2...100).map { "\(first)-\($0)" })
        kept.append(copy)
        say(
            .warning,
            LogLine("projection-changed-by-hand", ("FILE", place), ("KEPT", copy), ("REASON", "edits have no effect; use the ced command")))
    }

    /// True as well for what a power cut leaves of a file that was not synchronized: nothing, or zeros.
    private func isOurs(_ place: String, _ path: ProjectedPath) throws(FileProblem) -> Bool {
        guard let content = try SharedFile.content(of: place, limit: Self.contentLimit) else { return false }
        return content.allSatisfy { $0 == 0 } || manifest[path]?.isOurs(projectionHash(content)) == true
    }

    private func copies(of place: String) -> Int { kept.count { $0.hasPrefix(place + Self.keptMark) } }

    /// What the last process left: files kept aside, and one that was being replaced when it ended.
    private mutating func takeUp(_ now: WallClock) {
        kept = []
        for directory in settings.directories {
            do throws(FileProblem) {
                guard try FileMark(of: directory) != nil else { continue }
                try SharedFile.remove(directory + "/" + Self.beside)
                let former = directory + "/" + Self.former
                if try FileMark(of: former) != nil {
                    // Whose place it had is not known; what it contains is.
                    let content = try SharedFile.content(of: former, limit: Self.contentLimit)
                    let hash = content.map(projectionHash)
                    if let hash, manifest.entries.values.contains(where: { $0.isOurs(hash) }) {
                        try SharedFile.remove(former)
                    } else {
                        let time = ISO8601Time.text(unixSeconds: now.secondsSince1970).filter { $0 != "-" && $0 != ":" }
                        let first = "\(directory)/unnamed\(Self.keptMark)\(time)"
                        _ = try SharedFile.keep(former, asFirstFree: [first] + (2...100).map { "\(first)-\($0)" })
                    }
                }
                kept += try SharedFile.names(in: directory).filter { $0.contains(Self.keptMark) }.map { "\(directory)/\($0)" }
            } catch {
                failed(.data, error.description, stopsRoot: false)
            }
        }
    }

    /// What cannot be examined is still there.
    private func isGone(_ path: String) -> Bool {
        do throws(FileProblem) { return try FileMark(of: path) == nil } catch { return false }
    }

    private func directory(of place: String) -> String {
        guard let slash = place.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return String(place[..<slash])
    }
}

extension ProjectionSettings {
    /// Every directory that files are projected into.
    var directories: [String] {
        ProjectedPath.Root.allCases.flatMap { root in
            [directory(of: root)] + Self.folders.filter { $0.root == root }.map { directory(of: root) + "/" + $0.name }
        }
    }
}

extension ProjectedPath.Root {
    var configurationKey: String {
        switch self {
        case .configuration: "projection_config_directory"
        case .data: "projection_data_directory"
        }
    }
}

extension FileProblem {
    /// No other file there would fare better: the disk is full, or the directory is gone.
    fileprivate var concernsTheDirectory: Bool { isMissing || isFull || isReadOnly }
}
