// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The whole state as plain lists: what a snapshot holds. An image is only data and may be anything that bytes can say; a state is made from
// one by `DispatcherState.init(genesis:image:)` alone, which refuses what no sequence of entries could have left behind in a way that apply
// relies on: keys out of order or twice, more than the limits, an expiry without its record. The genesis is not in it: every journal has
// its own, and the image names it by hash.

import Consensus
import CtrlExec

package struct StateImage: Hashable, Sendable {
    /// What is kept under one request.
    package struct Kept: Hashable, Sendable {
        package var fingerprint: Fingerprint
        package var outcome: Outcome
        package init(fingerprint: Fingerprint, outcome: Outcome) {
            self.fingerprint = fingerprint
            self.outcome = outcome
        }
    }
    /// Under an id that a caller chose.
    package struct Client: Hashable, Sendable {
        package var text: String
        package var principal: Principal
        package var kept: Kept
        package init(text: String, principal: Principal, kept: Kept) {
            self.text = text
            self.principal = principal
            self.kept = kept
        }
    }
    /// Under ids that one run of a member minted.
    package struct Session: Hashable, Sendable {
        package struct Record: Hashable, Sendable {
            package var sequence: UInt64
            package var principal: Principal
            package var kept: Kept
            package init(sequence: UInt64, principal: Principal, kept: Kept) {
                self.sequence = sequence
                self.principal = principal
                self.kept = kept
            }
        }
        package var id: UInt64
        package var answeredThrough: UInt64
        package var lastUsed: ClusterTime
        package var records: [Record]
        package init(id: UInt64, answeredThrough: UInt64, lastUsed: ClusterTime, records: [Record]) {
            self.id = id
            self.answeredThrough = answeredThrough
            self.lastUsed = lastUsed
            self.records = records
        }
    }
    /// When a client's record or a session is looked at again. Each has exactly one.
    package struct Expiry: Hashable, Sendable {
        package enum What: Hashable, Sendable {
            /// The place in `clients`.
            case client(Int)
            /// The place in `sessions`.
            case session(Int)
        }
        package var at: ClusterTime
        package var what: What
        package init(at: ClusterTime, what: What) {
            self.at = at
            self.what = what
        }
    }
    package struct OpenObligation: Hashable, Sendable {
        package var obligation: Obligation
        /// In the order in which they began to wait.
        package var waiters: [RequestKey]
        package init(obligation: Obligation, waiters: [RequestKey]) {
            self.obligation = obligation
            self.waiters = waiters
        }
    }
    package struct Decided: Hashable, Sendable {
        package var decision: PairingDecision
        package var name: AgentName
        package var serial: SerialNumber?
        package var at: ClusterTime
        package init(decision: PairingDecision, name: AgentName, serial: SerialNumber?, at: ClusterTime) {
            self.decision = decision
            self.name = name
            self.serial = serial
            self.at = at
        }
    }
    package struct Use: Hashable, Sendable {
        package var serial: SerialNumber
        package var use: IdentityUse
        package init(serial: SerialNumber, use: IdentityUse) {
            self.serial = serial
            self.use = use
        }
    }

    /// `DispatcherState.hash(of:)` of the genesis that the state grew from.
    package var genesisHash: UInt64
    package var time: ClusterTime
    package var appliedIndex: LogIndex
    package var stateHash: UInt64
    package var nextSerialCounter: UInt64
    package var rotationIndex: LogIndex
    package var machineVersion: MachineVersion
    /// Sorted by text and principal.
    package var clients: [Client] = []
    /// Sorted by id; the records by sequence and principal.
    package var sessions: [Session] = []
    /// In the order in which they are looked at.
    package var expiries: [Expiry] = []
    /// Oldest first.
    package var obligations: [OpenObligation] = []
    /// Sorted by name.
    package var agents: [AgentRecord] = []
    /// Oldest first.
    package var waiting: [QueuedPairing] = []
    package var pairingOpenUntil: ClusterTime?
    /// In the order in which they were decided.
    package var decided: [Decided] = []
    /// Sorted by name and serial.
    package var operators: [OperatorRecord] = []
    /// Oldest first.
    package var identities: [Identity] = []
    /// Sorted by serial.
    package var uses: [Use] = []
    package var rotation: Rotation?
    package var lastRotation: RotationRecord?
    /// Sorted by serial.
    package var revocations: [RevocationRecord] = []
    package var revocationIndex: LogIndex = .zero
    /// Sorted by id, as are invitations and former members.
    package var members: [KnownMember] = []
    package var invitations: [Invitation] = []
    package var formerMembers: [FormerMember] = []
    /// Sorted.
    package var voters: [MemberID] = []
    package var learners: [MemberID] = []
    package var membershipIndex: LogIndex = .zero

    package init(
        genesisHash: UInt64, time: ClusterTime, appliedIndex: LogIndex, stateHash: UInt64, nextSerialCounter: UInt64,
        rotationIndex: LogIndex, machineVersion: MachineVersion
    ) {
        self.genesisHash = genesisHash
        self.time = time
        self.appliedIndex = appliedIndex
        self.stateHash = stateHash
        self.nextSerialCounter = nextSerialCounter
        self.rotationIndex = rotationIndex
        self.machineVersion = machineVersion
    }
}

/// Why an image is no state of this cluster, in words.
package enum StateImageFlaw: Error, Hashable, Sendable, CustomStringConvertible {
    /// It grew from another genesis.
    case foreignGenesis
    /// More of something than a state ever holds.
    case tooMany(String, count: Int, limit: Int)
    /// The list is not sorted, or names something twice.
    case unordered(String)
    /// A part names another that is not there, or that belongs elsewhere.
    case inconsistent(String)

    package var description: String {
        switch self {
        case .foreignGenesis: "the snapshot is of another cluster, or of another incarnation of this one"
        case .tooMany(let what, let count, let limit): "the snapshot holds \(count) \(what), and a state at most \(limit)"
        case .unordered(let what): "the snapshot's \(what) are out of order, or one is there twice"
        case .inconsistent(let what): "the snapshot contradicts itself: \(what)"
        }
    }
}
