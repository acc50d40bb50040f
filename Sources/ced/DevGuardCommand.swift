// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The guard of `ced dev`: ends what `ced dev` started if that one is killed and can do it no more. It reads process ids, one a line, from
// its standard input, whose other end only `ced dev` holds; the end of the input means that `ced dev` is gone.

import ArgumentParser
import Glibc

struct DevGuardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev-guard", abstract: "Ends the processes named on standard input once that ends.", shouldDisplay: false)

    func run() throws {
        for ignored in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { signal(ignored, SIG_IGN) }
        var guarded: [Guarded] = []
        while let line = readLine() {
            // `+PID`: end it later. `-PID`: it has ended.
            guard let pid = pid_t(line.dropFirst()), pid > 1 else { continue }
            guarded.removeAll { $0.pid == pid }
            if line.first == "+", let started = Self.startTime(of: pid) { guarded.append(Guarded(pid: pid, started: started)) }
        }
        for sent in [SIGTERM, SIGKILL] {
            // A process id that is used again has started at another time.
            let living = guarded.filter { Self.startTime(of: $0.pid) == $0.started }
            for process in living { kill(process.pid, sent) }
            for _ in 0..<50 where living.contains(where: { Self.startTime(of: $0.pid) == $0.started }) { usleep(100_000) }
        }
    }

    private struct Guarded {
        let pid: pid_t
        let started: String
    }

    /// Field 22 of `/proc/PID/stat`; nil if there is no such process or it only waits to be buried.
    private static func startTime(of pid: pid_t) -> String? {
        guard let file = fopen("/proc/\(pid)/stat", "r") else { return nil }
        defer { fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 1024)
        let count = fread(&buffer, 1, buffer.count, file)
        // The name stands in parentheses and may contain anything.
        guard let close = buffer.prefix(count).lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = String(decoding: buffer[(close + 1)..<count], as: UTF8.self).split(separator: " ")
        guard fields.count > 19, fields[0] != "Z" else { return nil }
        return String(fields[19])
    }
}
