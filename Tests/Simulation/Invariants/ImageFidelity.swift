// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A state that went through a snapshot's bytes is the state, down to what no hash covers: the order in which things are forgotten. So whoever
// begins from a snapshot goes on exactly as those that applied every entry.

import Consensus
import DispatcherState
import Wire

package struct ImageFidelity: Sendable {
    package init() {}

    /// Through the bytes that a snapshot would hold.
    package func survives(_ state: DispatcherState) throws(Broken) {
        let restored: DispatcherState
        do {
            restored = try DispatcherState(genesis: state.genesis, image: try StateImage(decoding: try state.image().encoded()))
        } catch {
            throw Broken("ImageFidelity", [], "the state at index \(state.appliedIndex) does not come back from its image: \(error)")
        }
        try isSame(restored, as: state)
    }

    package func isSame(_ restored: DispatcherState, as state: DispatcherState) throws(Broken) {
        guard restored == state, restored.fullStateHash() == state.fullStateHash() else {
            throw Broken("ImageFidelity", [], "what came out of the image at index \(state.appliedIndex) is not what went into it")
        }
    }
}
