// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The loop that steps the member and the journal's thread go before whatever else the machine does: they need little, and a heartbeat that
// waits behind a burst of signatures or somebody's compiler costs an election.

import Glibc

/// Of the calling thread. Where it is not permitted (neither root nor `LimitNICE=`) things stay as they are.
func raiseThreadPriority() { _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -10) }
