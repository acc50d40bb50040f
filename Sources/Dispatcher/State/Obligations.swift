// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What some leader must still do: sign a certificate under a reserved serial and bring it back in an entry. An obligation outlives the
// leader that made it; its reservation does not.

import Consensus
import CtrlExec

/// A certificate that some leader must still sign and record.
package struct Obligation: Hashable, Sendable {
    package enum Purpose: Hashable, Sendable {
        /// Signed by the cluster CA.
        case operatorCertificate(OperatorName)
        /// Signed by the fleet CA.
        case agentCertificate(Reqid, AgentName)
        /// A key that the signer makes and seals, and its certificate, signed by the fleet CA. There is no signing request.
        case dispatcherIdentity
        /// Signed by the cluster CA.
        case memberCertificate(MemberID)
    }
    package let id: ObligationID
    package let purpose: Purpose
    package let signingRequest: SigningRequest
    /// The serial reserved for the leader of `term`.
    package var serial: SerialNumber
    /// The term whose leader may use the reservation.
    package var term: Term
    /// Calendar time of the reservation, for people.
    package var reservedAt: WallClock
    package init(
        id: ObligationID, purpose: Purpose, signingRequest: SigningRequest, serial: SerialNumber, term: Term, reservedAt: WallClock
    ) {
        self.id = id
        self.purpose = purpose
        self.signingRequest = signingRequest
        self.serial = serial
        self.term = term
        self.reservedAt = reservedAt
    }
}

struct Obligations: Hashable, Sendable {
    /// Signing takes milliseconds; so many at once mean that no leader can sign.
    static let limit = 1_000

    private(set) var open = SortedArrayMap<ObligationID, Obligation>()
    /// The requests whose answer comes when the obligation ends.
    private(set) var waiters = SortedArrayMap<ObligationID, [RequestKey]>()

    init() {}
    init(open: SortedArrayMap<ObligationID, Obligation>, waiters: SortedArrayMap<ObligationID, [RequestKey]>) {
        self.open = open
        self.waiters = waiters
    }

    mutating func add(_ obligation: Obligation) { open[obligation.id] = obligation }

    /// True if this entry's term and serial are those of the standing reservation. A late or second doer has another serial, or none.
    func stands(_ id: ObligationID, serial: SerialNumber, term: Term) -> Bool {
        guard let obligation = open[id] else { return false }
        return obligation.serial == serial && obligation.term == term
    }

    mutating func reserveAnew(_ id: ObligationID, serial: SerialNumber, term: Term, at calendar: WallClock) {
        open.update(id) { obligation in
            obligation.serial = serial
            obligation.term = term
            obligation.reservedAt = calendar
        }
    }

    mutating func wait(for id: ObligationID, _ key: RequestKey) {
        guard open.position(of: id) != nil else { return }
        waiters[id] = (waiters[id] ?? []) + [key]
    }

    /// The obligation is over; returns the requests that wait for it.
    mutating func end(_ id: ObligationID) -> [RequestKey] {
        let waiting = waiters[id] ?? []
        open[id] = nil
        waiters[id] = nil
        return waiting
    }
}
