// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The words of a rotation: how an agent is told, what it is told next, and what is under way. What follows from them is in
// `DispatcherState+Rotation.swift`.

import Consensus
import CtrlExec

/// How an agent is told which serials to trust (protocol page, 16.4).
package enum AgentDialect: String, Hashable, Sendable, CaseIterable {
    /// A script with one argument that overwrites the only serial that the agent keeps.
    case single = "0.8"
    /// A script that adds a serial, or removes one.
    case script = "0.9"
    /// `/rotate-serial`.
    case endpoint = "0.11"

    /// What an agent of this release speaks; nil if the text names no release.
    package init?(version: String) {
        if version.hasPrefix("cea") {
            self = .endpoint
            return
        }
        let parts = version.utf8.split(separator: 46, omittingEmptySubsequences: false).map { part in
            Int(String(decoding: part.prefix { (48...57).contains($0) }, as: UTF8.self))
        }
        guard parts.count >= 2, let major = parts[0], let minor = parts[1] else { return nil }
        let patch = parts.count > 2 ? parts[2] ?? 0 : 0
        switch (major, minor, patch) {
        case (0, ...8, _): self = .single
        case (0, 9...10, _), (0, 11, 0): self = .script
        default: self = .endpoint
        }
    }
}

/// An agent as it was paired: what was learned of it says nothing about another that was paired under its name since.
package struct AgentKey: Hashable, Sendable {
    package let name: AgentName
    package let pairing: Reqid
    package init(name: AgentName, pairing: Reqid) {
        self.name = name
        self.pairing = pairing
    }
}

/// What an agent must be told next.
package enum AgentStep: Hashable, Sendable {
    case announce(SerialNumber)
    /// Sent over the other identity and over no third: an agent that does not trust that one turns the removal away, so that none is ever
    /// left with nothing.
    case remove(SerialNumber, over: SerialNumber)
}

/// A rotation from its beginning until the new identity is current.
package struct Rotation: Hashable, Sendable {
    /// 30 days.
    package static let defaultOverlapMilliseconds: UInt64 = 30 * 86_400_000
    /// Ten years: as long as a CA lives.
    package static let overlapLimitMilliseconds: UInt64 = 3_650 * 86_400_000

    package enum Stage: Hashable, Sendable {
        /// Key and certificate are being made.
        case making(ObligationID)
        case prepared(SerialNumber)
    }
    package var stage: Stage
    /// How long the previous identity stays trusted after the new one became current.
    package let overlapMilliseconds: UInt64
    package let isCompromised: Bool
    package let started: ClusterTime
    package let startedAt: WallClock
    package init(stage: Stage, overlapMilliseconds: UInt64, isCompromised: Bool, started: ClusterTime, startedAt: WallClock) {
        self.stage = stage
        self.overlapMilliseconds = overlapMilliseconds
        self.isCompromised = isCompromised
        self.started = started
        self.startedAt = startedAt
    }
}

/// The last rotation whose identity became current, for people: nothing is decided by it.
package struct RotationRecord: Hashable, Sendable {
    package let serial: SerialNumber
    /// The identity that it replaced.
    package let previous: SerialNumber?
    package let startedAt: WallClock
    package let activatedAt: WallClock
    package let overlapMilliseconds: UInt64
    /// When the replaced identity was retired; nil while somebody may still trust it.
    package var previousRetiredAt: WallClock?
    package init(
        serial: SerialNumber, previous: SerialNumber?, startedAt: WallClock, activatedAt: WallClock, overlapMilliseconds: UInt64,
        previousRetiredAt: WallClock?
    ) {
        self.serial = serial
        self.previous = previous
        self.startedAt = startedAt
        self.activatedAt = activatedAt
        self.overlapMilliseconds = overlapMilliseconds
        self.previousRetiredAt = previousRetiredAt
    }
}

/// What becomes of an identity beside its phase.
package struct IdentityUse: Hashable, Sendable {
    /// The members that can present it, in order.
    package internal(set) var holders: [MemberID]
    /// Of a previous identity: not before is it taken from any agent.
    package internal(set) var retireAt: ClusterTime?
    package init(holders: [MemberID], retireAt: ClusterTime? = nil) {
        self.holders = holders
        self.retireAt = retireAt
    }
}

/// Why an identity is not retired yet.
package struct RetirementWait: Hashable, Sendable {
    package var milliseconds: UInt64
    /// Configured members that do not hold the current identity.
    package var members: [MemberID]
    /// Agents that have not confirmed its successor, or have not been told to forget it yet.
    package var agents: [AgentName]
}

/// What a leader asks of one agent.
package enum AgentTask: Hashable, Sendable {
    /// Find out how it is told, and which identity it accepts.
    case learn
    case announce(SerialNumber)
    case remove(SerialNumber)
}

/// What came of it.
package struct AgentTaskAnswer: Hashable, Sendable {
    package enum Result: Hashable, Sendable {
        /// The agent is now as it was asked to be, however often it was asked.
        case done
        case learned(AgentDialect)
        /// It answered, and it is not.
        case refused(String)
        /// Nobody knows whether it heard.
        case unreachable(String)
        /// The lease was over before it began; nothing was sent.
        case dropped
    }
    package var result: Result
    /// The identity that it let in; nil: none of those that were presented.
    package var accepted: SerialNumber?
    /// Those that it turned away, with the proof that nothing ran.
    package var refused: [SerialNumber]
    package init(_ result: Result, accepted: SerialNumber? = nil, refused: [SerialNumber] = []) {
        self.result = result
        self.accepted = accepted
        self.refused = refused
    }
}
