// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A state that went through a snapshot's bytes is the state, down to what no hash covers: the order in which things are forgotten. So whoever
// begins from a snapshot goes on exactly as those that applied every entry.
//
// To write and read the whole state takes time in proportion to it. So it is done at intervals, at the end of a run, and in one seed of four
// whenever there is something in the state that was in none looked at before (each part, each phase of a rotation, each way to speak with
// agents).

import Consensus
import CtrlExec
import DispatcherState
import Wire

package struct ImageFidelity: Sendable {
    /// So many entries apart.
    private static let interval: UInt64 = 256
    /// What was in the states that were looked at.
    private var seen: UInt64 = 0
    private let looksAtEveryPart: Bool
    package init(looksAtEveryPart: Bool = true) { self.looksAtEveryPart = looksAtEveryPart }

    /// The state behind each committed entry. True if it was looked at.
    @discardableResult
    package mutating func committed(_ state: DispatcherState) throws(Broken) -> Bool {
        let isTime = state.appliedIndex.position % ImageFidelity.interval == 0
        guard looksAtEveryPart || isTime else { return false }
        let parts = ImageFidelity.parts(of: state)
        guard parts & ~seen != 0 || isTime else { return false }
        seen |= parts
        try survives(state)
        return true
    }

    /// What there is in a state, a bit for each thing that may be there or not.
    private static func parts(of state: DispatcherState) -> UInt64 {
        var parts: UInt64 = 0
        func note(_ bit: UInt64, _ isThere: Bool) { if isThere { parts |= 1 << bit } }
        note(0, state.pairingOpenUntil != nil)
        note(1, state.machineVersion > .first)
        note(2, !state.operators.isEmpty)
        note(3, state.nextExpiry != nil)
        for pairing in state.pairings { note(pairing.obligation == nil ? 4 : 5, true) }
        for obligation in state.obligations {
            switch obligation.purpose {
            case .operatorCertificate: note(6, true)
            case .agentCertificate: note(7, true)
            case .dispatcherIdentity: note(8, true)
            case .memberCertificate: note(40, true)
            }
        }
        for member in state.members {
            switch member.phase {
            case .joining: note(41, true)
            case .staying: note(42, true)
            case .leaving: note(43, true)
            }
        }
        for invitation in state.invitations { note(invitation.binding == nil ? 44 : 45, true) }
        note(46, !state.formerMembers.isEmpty)
        note(47, !state.learners.isEmpty)
        if let rotation = state.rotation {
            if case .making = rotation.stage { note(9, true) } else { note(10, true) }
            note(11, rotation.isCompromised)
        }
        for identity in state.identities {
            switch identity.phase {
            case .prepared: note(12, true)
            case .current: note(13, true)
            case .previous: note(14, true)
            case .retired: note(15, true)
            case .aborting: note(16, true)
            case .aborted: note(17, true)
            }
        }
        for revocation in state.revocations {
            switch revocation.subject {
            case .agent: note(18, true)
            case .operatorNamed: note(19, true)
            case .unknown: note(20, true)
            }
        }
        for agent in state.agents {
            note(21, agent.tags != .none)
            note(22, agent.confirmedIdentities.count > 1)
            note(23, !agent.forgottenIdentities.isEmpty)
            switch agent.dialect {
            case nil: note(24, true)
            case .single: note(25, true)
            case .script: note(26, true)
            case .endpoint: note(27, true)
            }
        }
        return parts
    }

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
