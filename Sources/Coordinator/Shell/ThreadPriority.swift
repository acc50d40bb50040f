// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The loop that steps the member and the journal's thread go before whatever else the machine does: they need little, and a heartbeat that
// waits behind a burst of signatures or somebody's compiler costs an election.

import Glibc

/// Of the calling thread. Where it is not permitted (neither root nor `LimitNICE=`) things stay as they are.
func raiseThreadPriority() { _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -10) }

/// As debuggers, `ps -T` and `/proc` show the calling thread; at most 15 bytes. Where there is no `/proc` it keeps the name that it has.
func nameThread(_ name: String) {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    let bytes = Array(name.utf8)
    _ = write(file, bytes, bytes.count)
    close(file)
}
