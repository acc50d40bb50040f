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
        var guarded: [RunningProcess] = []
        while let line = readLine() {
            // `+PID`: end it later. `-PID`: it has ended.
            guard let pid = pid_t(line.dropFirst()), pid > 1 else { continue }
            guarded.removeAll { $0.pid == pid }
            if line.first == "+", let process = RunningProcess(pid) { guarded.append(process) }
        }
        // Scripts too, which an agent lets go on when it ends.
        guarded += RunningProcess.descendants(of: guarded.filter(\.isRunning).map(\.pid))
        for sent in [SIGTERM, SIGKILL] {
            let living = guarded.filter(\.isRunning)
            for process in living { kill(process.pid, sent) }
            for _ in 0..<50 where living.contains(where: \.isRunning) { usleep(100_000) }
        }
    }
}
