// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where effects wait for the disk. There is no other way to run one: what the core hands out passes through here.
// Promises: nothing that waits for a write comes out before that write is durable; what comes out together keeps its order.

import Consensus
import CoordinatorCore

package struct EffectGate: Sendable {
    /// Every write up to this one is on disk.
    package private(set) var durable = WriteID.zero
    private var waiting: [(write: WriteID, effect: Effect)] = []
    /// While a disk takes nothing for hours, heartbeats go on asking. Beyond this many the oldest message is lost, as any may be.
    static let waitingLimit = 4096

    package init() {}

    package var waitingCount: Int { waiting.count }

    /// The effect if it may run now; nil: it is kept.
    package mutating func admit(_ effect: Effect) -> Effect? {
        switch effect.gate {
        case .none: return effect
        case .durable(let write):
            if write <= durable { return effect }
            waiting.append((write, effect))
            if waiting.count > Self.waitingLimit, let oldest = waiting.firstIndex(where: { $0.effect.action.isMessage }) {
                waiting.remove(at: oldest)
            }
            return nil
        }
    }

    /// What may run now that this write, and every one before it, is on disk; in the order in which it was admitted.
    package mutating func wrote(_ write: WriteID) -> [Effect] {
        if write > durable { durable = write }
        let open = waiting.filter { $0.write <= durable }.map(\.effect)
        if !open.isEmpty { waiting.removeAll { $0.write <= durable } }
        return open
    }
}

extension Action {
    fileprivate var isMessage: Bool { if case .send = self { true } else { false } }
}
