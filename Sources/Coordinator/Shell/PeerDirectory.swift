// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who may be at the other end of a connection between members, as far as this member knows: it follows the applied state. A certificate of the
// cluster's CA with a member's role is what it takes; beyond that, one that is on record must be that one, and one of whom nothing is on
// record must have been made after all that is: its serial was reserved later. Who was removed is turned away and told.

import Consensus
import CtrlExec
import DispatcherState
import Synchronization

package final class PeerDirectory: Sendable {
    package enum Standing: Hashable, Sendable {
        case member
        case removed(at: LogIndex)
        /// Why not.
        case stranger(String)
    }

    private struct Known {
        /// Nil: not on record, any will do.
        var members: [MemberID: SerialNumber?] = [:]
        var former: [MemberID: LogIndex] = [:]
        /// Serials from here on were reserved after what this member has applied; nil: none is believed.
        var nextSerial: SerialNumber?
        var ownAddress = ""
    }
    private let known: Mutex<Known>

    /// - Parameters:
    ///   - contacts: members whose certificates are not on record here.
    ///   - nextSerial: those with a serial from here on are believed as well; nil: nobody else is.
    package init(contacts: [MemberID], nextSerial: SerialNumber? = nil, ownAddress: String = "") {
        var known = Known(nextSerial: nextSerial, ownAddress: ownAddress)
        for id in contacts { known.members.updateValue(nil, forKey: id) }
        self.known = Mutex(known)
    }

    /// - Parameter contacts: members of whom the state may not know yet.
    package func follow(_ state: DispatcherState, contacts: [MemberID], own: MemberID) {
        known.withLock { known in
            known.members = [:]
            for id in contacts { known.members.updateValue(nil, forKey: id) }
            for member in state.members { known.members.updateValue(member.certificateSerial, forKey: member.id) }
            // One whose certificate is being made may have it sooner than this member hears of it.
            for invitation in state.invitations where invitation.binding != nil { known.members.updateValue(nil, forKey: invitation.id) }
            known.former = Dictionary(uniqueKeysWithValues: state.formerMembers.map { ($0.id, $0.index) })
            known.nextSerial = serialNumber(incarnation: state.genesis.incarnation, counter: state.nextSerialCounter)
            if let address = state.member(own)?.address { known.ownAddress = address }
        }
    }

    package var ownAddress: String { known.withLock { $0.ownAddress } }

    package func standing(of id: MemberID, serial: SerialNumber) -> Standing {
        known.withLock { known in
            if let index = known.former[id] { return .removed(at: index) }
            if let onRecord = known.members[id] {
                guard let expected = onRecord, expected != serial else { return .member }
                return .stranger("its certificate \(serial) is not the one on record for member \(id), \(expected)")
            }
            guard let next = known.nextSerial, serial >= next else { return .stranger("this cluster has no member \(id)") }
            return .member
        }
    }
}
