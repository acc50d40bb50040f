// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A child process of `ced dev`, in a process group of its own so that Ctrl-C in the terminal reaches `ced dev` alone, which then ends
// its children in good order.

import Glibc
import Platform

struct ChildProcess: Sendable {
    let pid: pid_t
    let command: [String]

    /// - Parameters:
    ///   - command: the program's path and its arguments.
    ///   - input: the descriptor that becomes its standard input; nil: /dev/null.
    ///   - output: the file to which its standard output is appended, made if it is not there.
    ///   - errors: likewise for its standard error.
    static func start(_ command: [String], input: Int32? = nil, output: String, errors: String) throws -> ChildProcess {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let input {
            posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
        } else {
            posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigfillset(&defaults)
        var unblocked = sigset_t()
        sigemptyset(&unblocked)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setsigmask(&attributes, &unblocked)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var pid: pid_t = 0
        let status = posix_spawn(&pid, command[0], &actions, &attributes, &arguments, environ)
        guard status == 0 else { throw FileProblem("run", command[0], status) }
        return ChildProcess(pid: pid, command: command)
    }

    /// The exit status (128 plus the signal's number if a signal ended it); nil while it runs.
    func status() -> Int32? {
        var status: Int32 = 0
        let result = waitpid(pid, &status, WNOHANG)
        if result == 0 { return nil }
        // Nobody else waits for it; an error means that there is nothing to wait for any more.
        guard result == pid else { return 255 }
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }

    func send(_ signal: Int32) { kill(pid, signal) }
}

/// The path of this program; `cea` stands beside it.
func ownPath() throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    guard count > 0 else { throw FileProblem("read", "/proc/self/exe") }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
