// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The serials that count no more, where every check of a peer looks them up: in the handshake, at each request, and, when the list has
// grown, at every connection that is open.

import CtrlExec
import Synchronization

package final class RevocationList: Sendable {
    private struct State {
        var serials: Set<SerialNumber> = []
        var watchers: [@Sendable () -> Void] = []
    }
    private let state = Mutex(State())

    package init() {}

    package func contains(_ serial: SerialNumber) -> Bool { state.withLock { $0.serials.contains(serial) } }

    /// Takes effect before this returns; then whoever watches is told.
    package func replace(with serials: [SerialNumber]) {
        let watchers = state.withLock { state in
            state.serials = Set(serials)
            return state.watchers
        }
        for watcher in watchers { watcher() }
    }

    /// `act` is called after every change, on whichever thread made it.
    package func onChange(_ act: @escaping @Sendable () -> Void) { state.withLock { $0.watchers.append(act) } }
}
