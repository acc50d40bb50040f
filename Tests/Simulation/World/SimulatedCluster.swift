// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `cluster init` would have made: one genesis for all members, the same for every seed but for its random bits.

import Consensus
import CtrlExec
import DispatcherState

enum SimulatedCluster {
    static func memberID(_ place: Int) -> MemberID {
        guard let id = MemberID(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"][place]) else {
            preconditionFailure("a letter is a member's name")
        }
        return id
    }

    static func genesis(members: Int, using generator: inout SeededGenerator) -> GenesisState {
        let incarnation = Incarnation(counter: 1, random: generator.next())
        let half = [generator.next(), generator.next()]
        let bytes = half.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) } }
        guard let cluster = ClusterID(bytes: bytes), let dispatcher = DispatcherID("dispatcher") else {
            preconditionFailure("sixteen bytes are a cluster's id")
        }
        func sealed(_ name: String) -> SealedKey {
            SealedKey(name: name, keyVersion: 1, bytes: NoSecretInTheClear.sealed(NoSecretInTheClear.secret(name)))
        }
        func authority(_ name: String) -> CertificateAuthority {
            CertificateAuthority(certificate: Array("certificate of the \(name)".utf8), key: sealed(name))
        }
        let serials = (1...members + 1).map { serialNumber(incarnation: incarnation, counter: UInt64($0)) }
        return GenesisState(
            cluster: cluster, incarnation: incarnation, dispatcherID: dispatcher,
            members: (0..<members).map {
                MemberRecord(id: memberID($0), address: "\(memberID($0)).example:7446", certificateSerial: serials[$0])
            },
            fleetCA: authority("fleet CA"), clusterCA: authority("cluster CA"),
            identity: Identity(
                serial: serials[members], certificate: Array("identity".utf8), key: sealed("identity"),
                notAfter: WallClock(secondsSince1970: 1_900_000_000), phase: .current),
            nextSerialCounter: UInt64(members) + 2)
    }
}
