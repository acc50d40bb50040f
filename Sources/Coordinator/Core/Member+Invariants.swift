// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member can see of itself between two events. Nothing here is asked in production: the simulator asks after every step.

import Consensus
import DispatcherState

extension Member {
    /// Somebody waits for what has happened already: no timer would wake them before their deadline. Nil: nobody does.
    package func waitingViolation() -> String? {
        for call in calls { if let problem = violation(of: call) { return problem } }
        for read in reads { if let problem = violation(of: read) { return problem } }
        return nil
    }

    private func violation(of call: Call) -> String? {
        switch call.stage {
        case .waiting(.none):
            let isServed = isEstablished || (raft.role != .leader && raft.leader != nil)
            return isServed ? "a call waits for a leader that is known" : nil
        case .forwarded(_, let leader, _):
            guard let current = raft.leader, current != leader else { return nil }
            return "a call waits for \(leader), and \(current) leads"
        case .settled(_, let index): return state.appliedIndex >= index ? "a call waits for entry \(index), which is applied" : nil
        case .transferring(let target): return raft.leader == target ? "a call waits for \(target) to lead, which does" : nil
        case .answered: return "a call is answered and still there"
        case .waiting(.some), .proposed, .underway: return nil
        }
    }

    private func violation(of read: PendingRead) -> String? {
        switch read.stage {
        case .waiting(.none): raft.leader != nil ? "a read waits for a leader that is known" : nil
        case .confirmed(let index): state.appliedIndex >= index ? "a read waits for entry \(index), which is applied" : nil
        case .waiting(.some), .asked: nil
        }
    }
}
