// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A serial number belongs to one reservation for ever, is signed for nothing but that, and is in one certificate that anybody sees.

import Consensus
import CtrlExec
import DispatcherState

package struct UniqueSerials: Sendable {
    package struct Reservation: Hashable, Sendable {
        package let obligation: ObligationID
        package let term: Term
        package init(obligation: ObligationID, term: Term) {
            self.obligation = obligation
            self.term = term
        }
    }
    private var reserved: [SerialNumber: Reservation] = [:]
    private var signers: [SerialNumber: Life] = [:]
    private var released: [SerialNumber: [UInt8]] = [:]
    private let usedBefore: [SerialNumber]
    package init(usedBefore: [SerialNumber]) { self.usedBefore = usedBefore }

    /// The committed state holds this reservation.
    package mutating func reserves(_ serial: SerialNumber, _ reservation: Reservation) throws(Broken) {
        guard !usedBefore.contains(serial) else {
            throw Broken("UniqueSerials", [], "\(serial) was used when the cluster began, and is reserved for \(reservation)")
        }
        guard let known = reserved[serial] else {
            reserved[serial] = reservation
            return
        }
        guard known == reservation else {
            throw Broken("UniqueSerials", [], "\(serial) is reserved for \(known) and for \(reservation)")
        }
    }

    /// A member asks its signer for a certificate. A reservation belongs to the term that made it, so only one life of one member may.
    package mutating func signs(_ life: Life, _ serial: SerialNumber, _ reservation: Reservation) throws(Broken) {
        guard signers[serial, default: life] == life else {
            throw Broken("UniqueSerials", [life.member], "it has \(serial) signed, which another had signed before")
        }
        signers[serial] = life
        guard reserved[serial] == reservation else {
            throw Broken(
                "UniqueSerials", [life.member], "it has \(serial) signed for \(reservation), which no committed entry reserved it for")
        }
    }

    /// Anybody may see this certificate now. `certified` is the serial that stands in it.
    package mutating func releases(_ serial: SerialNumber, _ certificate: [UInt8], certified: SerialNumber?) throws(Broken) {
        guard certified == serial else {
            throw Broken("UniqueSerials", [], "the certificate that is known as \(serial) says \(certified.map { "\($0)" } ?? "nothing")")
        }
        guard reserved[serial] != nil else { throw Broken("UniqueSerials", [], "\(serial) was released and never reserved") }
        guard let known = released[serial] else {
            released[serial] = certificate
            return
        }
        guard known == certificate else { throw Broken("UniqueSerials", [], "two certificates with the serial \(serial) were released") }
    }
}
