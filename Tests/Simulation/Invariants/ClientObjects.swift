// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The objects that clients see, each as if it stood alone and did one thing after the other. What becomes of them inside the cluster (logs,
// reservations, duties) is not known here. Where an answer was lost, what it would have said is not known either: nil stands for it.

import Consensus
import CtrlExec
import DispatcherState

/// A request id of one principal: the first request under it takes it, and its outcome is everybody's.
package struct RequestObject: SequentialObject {
    package enum Action: Hashable, Sendable {
        /// `fingerprint` tells requests apart; nil: no answer.
        case asked(fingerprint: Int, Outcome?)
    }
    private var fingerprint: Int?
    private var outcome: Outcome?
    package init() {}

    package func after(_ action: Action) -> [RequestObject] {
        guard case .asked(let asked, let told) = action else { return [] }
        var next = self
        if let fingerprint, fingerprint != asked {
            return told == nil || told == .refused(.requestIDReused) ? [self] : []
        }
        guard told != .refused(.requestIDReused) else { return [] }
        next.fingerprint = asked
        if let told {
            if let outcome, outcome != told { return [] }
            next.outcome = told
        }
        return [next]
    }
}

/// What the registry says of one name.
package struct AgentObject: SequentialObject {
    package struct Record: Hashable, Sendable {
        package var serial: SerialNumber?
        package var port: UInt16?
        package init(serial: SerialNumber?, port: UInt16?) {
            self.serial = serial
            self.port = port
        }
        func couldBe(_ other: Record) -> Bool {
            (serial == nil || serial == other.serial) && (port == nil || port == other.port)
        }
    }
    package enum Action: Hashable, Sendable {
        /// An approval was answered with this serial; nil: not answered.
        case paired(SerialNumber?)
        case removed
        case edited(port: UInt16?)
        /// It came from another name, or went to one.
        case cameByName
        case wentByName
        /// Told that there is such an agent, or that there is none.
        case told(exists: Bool)
        case read(Record?)
        /// Asked, and never answered.
        case perhapsRemoved
        case perhapsEdited(port: UInt16?)
        case perhapsCame
    }
    private var record: Record?
    /// Serials that were recorded under this name, rising: another approval of the same pairing changes nothing.
    private var recorded: [SerialNumber] = []
    /// As many more were, by approvals of which nobody heard.
    private var recordedUnheard = 0
    package init() {}

    package func after(_ action: Action) -> [AgentObject] {
        var next = self
        switch action {
        case .paired(.some(let serial)):
            if recorded.contains(serial) { return [self] }
            next.note(serial)
            next.record = Record(serial: serial, port: nil)
            guard recordedUnheard > 0 else { return [next] }
            // Or one that nobody heard of did it.
            var heard = self
            heard.recordedUnheard -= 1
            heard.note(serial)
            return [next, heard]
        case .paired(nil):
            next.recordedUnheard += 1
            next.record = Record(serial: nil, port: nil)
        case .removed:
            guard record != nil else { return [] }
            next.record = nil
        case .wentByName:
            guard record != nil else { return [] }
            next.record = nil
        case .cameByName:
            guard record == nil else { return [] }
            next.record = Record(serial: nil, port: nil)
        case .edited(let port):
            guard record != nil else { return [] }
            if let port { next.record?.port = port }
        case .told(let exists):
            guard (record != nil) == exists else { return [] }
        case .read(let seen):
            guard let record, let seen else { return record == nil && seen == nil ? [self] : [] }
            guard record.couldBe(seen) else { return [] }
            next.record = seen
            if record.serial == nil, let serial = seen.serial, !recorded.contains(serial) {
                next.note(serial)
                next.recordedUnheard = max(0, recordedUnheard - 1)
            }
        case .perhapsRemoved: next.record = nil
        case .perhapsEdited(let port):
            guard record != nil else { return [self] }
            if let port { next.record?.port = port }
        case .perhapsCame: if record == nil { next.record = Record(serial: nil, port: nil) }
        }
        return [next]
    }

    private mutating func note(_ serial: SerialNumber) {
        recorded.append(serial)
        recorded.sort()
    }
}

/// One pairing, from its submission to its decision.
package enum PairingObject: SequentialObject {
    case unknown
    case waits
    case approved(SerialNumber?)
    case denied

    package enum Action: Hashable, Sendable {
        case queued
        case approved(SerialNumber?)
        case denied
        case toldUnknown
        /// An approval came to nothing, because the request cannot be signed.
        case notSigned
        /// Too late to deny it.
        case toldApproved
        case perhapsQueued
        case perhapsApproved
        case perhapsDenied
    }

    package func after(_ action: Action) -> [PairingObject] {
        switch (self, action) {
        case (.unknown, .queued), (.unknown, .perhapsQueued): [.waits]
        case (_, .perhapsQueued): [self]
        case (.waits, .approved(let serial)), (.approved(nil), .approved(let serial)): [.approved(serial)]
        case (.approved(let known), .approved(let serial)): known == serial ? [self] : []
        case (.waits, .denied), (.denied, .denied), (.waits, .perhapsDenied): [.denied]
        case (.unknown, .toldUnknown), (.denied, .toldUnknown): [self]
        case (.waits, .notSigned): [self]
        // Somebody's approval is under way, or done.
        case (.waits, .toldApproved), (.approved, .toldApproved): [self]
        case (.waits, .perhapsApproved): [.approved(nil), .waits]
        case (_, .perhapsApproved), (_, .perhapsDenied): [self]
        default: []
        }
    }
}

/// The session in which hosts may ask. It ends by itself, so that a closed one is never a surprise; an open one is, after it was closed.
package enum SessionObject: SequentialObject {
    case isClosed
    case isOpen

    package enum Action: Hashable, Sendable {
        case opened
        case closed
        /// A host was let in, or somebody saw that it is open.
        case foundOpen
        case foundClosed
    }

    package func after(_ action: Action) -> [SessionObject] {
        switch action {
        case .opened: [.isOpen]
        case .closed, .foundClosed: [.isClosed]
        case .foundOpen: self == .isOpen ? [.isOpen] : []
        }
    }
}

/// The counter of serials: whoever asked later got a greater one.
package struct CounterObject: SequentialObject {
    private var last: SerialNumber?
    package init() {}
    package func after(_ serial: SerialNumber) -> [CounterObject] {
        if let last, serial <= last { return [] }
        var next = self
        next.last = serial
        return [next]
    }
}

/// The certificates of one operator's name.
package struct OperatorObject: SequentialObject {
    package enum Action: Hashable, Sendable {
        case issued(SerialNumber)
        case revokedAll
        case revoked(SerialNumber)
        case toldUnknown
        /// The newest that counts.
        case read(SerialNumber?)
    }
    private var live: [SerialNumber] = []
    private var wasEver = false
    package init() {}

    package func after(_ action: Action) -> [OperatorObject] {
        var next = self
        switch action {
        case .issued(let serial):
            next.live.append(serial)
            next.live.sort()
            next.wasEver = true
        case .revokedAll:
            guard wasEver else { return [] }
            next.live = []
        case .revoked(let serial): next.live.removeAll { $0 == serial }
        case .toldUnknown: if wasEver { return [] }
        case .read(let serial): if live.last != serial { return [] }
        }
        return [next]
    }
}
