// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Processes as `/proc` shows them: who descends from whom, and since when, so that `ced dev` leaves nothing behind.

import Glibc

struct RunningProcess: Hashable {
    let pid: pid_t
    let parent: pid_t
    /// A process id that is used again has started at another time.
    let started: String

    var isRunning: Bool { RunningProcess(pid) == self || RunningProcess(pid)?.started == started }

    /// Nil if there is no such process or it only waits to be buried.
    init?(_ pid: pid_t) {
        guard let file = fopen("/proc/\(pid)/stat", "r") else { return nil }
        defer { fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 1024)
        let count = fread(&buffer, 1, buffer.count, file)
        // The name stands in parentheses and may contain anything.
        guard let close = buffer.prefix(count).lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = String(decoding: buffer[(close + 1)..<count], as: UTF8.self).split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", let parent = pid_t(fields[1]) else { return nil }
        self.pid = pid
        self.parent = parent
        started = String(fields[19])
    }

    /// All of which this process may know.
    static func all() -> [RunningProcess] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var found: [RunningProcess] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let pid = pid_t(name), let process = RunningProcess(pid) { found.append(process) }
        }
        return found
    }

    /// Children, and theirs, of these processes.
    static func descendants(of ancestors: [pid_t]) -> [RunningProcess] {
        let all = all()
        var found: [RunningProcess] = []
        var parents = ancestors
        while !parents.isEmpty {
            let children = all.filter { process in parents.contains(process.parent) && !found.contains { $0.pid == process.pid } }
            found += children
            parents = children.map(\.pid)
        }
        return found
    }
}

/// Makes orphans among our descendants our own children, instead of the first process's: who starts agents is there to bury their scripts.
func adoptOrphans() {
    // Swift does not import functions with variable arguments; on Linux integers are passed alike.
    typealias Control = @convention(c) (CInt, CUnsignedLong, CUnsignedLong, CUnsignedLong, CUnsignedLong) -> CInt
    guard let symbol = dlsym(nil, "prctl") else { return }
    // PR_SET_CHILD_SUBREAPER
    _ = unsafeBitCast(symbol, to: Control.self)(36, 1, 0, 0, 0)
}
