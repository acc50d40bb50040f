// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The genesis state, as it stands in a bundle and in the genesis record of every journal.

import Consensus
import CtrlExec
import DispatcherState

extension GenesisState {
    /// Of the first release.
    package static let format: UInt32 = 1

    package func encoded() -> [UInt8] {
        var proto = ProtoGenesisState()
        proto.format = GenesisState.format
        proto.cluster = field(cluster.bytes)
        proto.incarnation = ProtoIncarnation(incarnation)
        proto.dispatcherID = dispatcherID.text
        proto.members = members.map { ProtoMemberRecord($0) }
        proto.fleetCa = ProtoCertificateAuthority(fleetCA)
        proto.clusterCa = ProtoCertificateAuthority(clusterCA)
        proto.identity = ProtoIdentity(identity)
        proto.nextSerialCounter = nextSerialCounter
        return proto.serialized()
    }

    package init(decoding bytes: [UInt8]) throws(WireFailure) {
        let proto = try ProtoGenesisState(bytes, limit: WireLimit.frame)
        guard proto.format == GenesisState.format else { throw .unknownFormat(proto.format) }
        guard proto.members.count <= WireLimit.members else { throw .malformed("\(proto.members.count) members") }
        var members: [MemberRecord] = []
        for member in proto.members { members.append(try MemberRecord(member)) }
        self.init(
            cluster: try ClusterID(checking: proto.cluster), incarnation: Incarnation(proto.incarnation),
            dispatcherID: try required(DispatcherID(proto.dispatcherID), "dispatcher id"), members: members,
            fleetCA: CertificateAuthority(proto.fleetCa), clusterCA: CertificateAuthority(proto.clusterCa),
            identity: try Identity(proto.identity), nextSerialCounter: proto.nextSerialCounter)
    }
}

extension ClusterID {
    init(checking field: some Collection<UInt8>) throws(WireFailure) {
        guard field.count == 16 else { throw .malformed("cluster id of \(field.count) bytes") }
        self = try required(ClusterID(bytes: Wire.bytes(field)), "cluster id")
    }
}

extension ProtoIncarnation {
    init(_ incarnation: Incarnation) {
        counter = incarnation.counter
        random = incarnation.random
    }
}

extension Incarnation {
    init(_ proto: ProtoIncarnation) { self.init(counter: proto.counter, random: proto.random) }
}

extension ProtoMemberRecord {
    init(_ member: MemberRecord) {
        id = member.id.name
        address = member.address
        certificateSerial = field(member.certificateSerial.bytes)
    }
}

extension MemberRecord {
    init(_ proto: ProtoMemberRecord) throws(WireFailure) {
        self.init(
            id: try MemberID(checking: proto.id), address: try checked(proto.address, "address"),
            certificateSerial: try SerialNumber(checking: proto.certificateSerial))
    }
}

extension ProtoSealedKey {
    init(_ key: SealedKey) {
        name = key.name
        keyVersion = key.keyVersion
        bytes = field(key.bytes)
    }
}

extension SealedKey {
    init(_ proto: ProtoSealedKey) { self.init(name: proto.name, keyVersion: proto.keyVersion, bytes: Wire.bytes(proto.bytes)) }
}

extension ProtoCertificateAuthority {
    init(_ authority: CertificateAuthority) {
        certificate = field(authority.certificate)
        key = ProtoSealedKey(authority.key)
    }
}

extension CertificateAuthority {
    init(_ proto: ProtoCertificateAuthority) { self.init(certificate: bytes(proto.certificate), key: SealedKey(proto.key)) }
}

extension ProtoIdentity {
    init(_ identity: Identity) {
        serial = field(identity.serial.bytes)
        certificate = field(identity.certificate)
        key = ProtoSealedKey(identity.key)
        notAfterSeconds = identity.notAfter.secondsSince1970
        phase =
            switch identity.phase {
            case .prepared: .prepared
            case .current: .current
            case .previous: .previous
            case .retired: .retired
            case .aborting: .aborting
            case .aborted: .aborted
            }
    }
}

extension Identity {
    init(_ proto: ProtoIdentity) throws(WireFailure) {
        let phase: Phase
        switch proto.phase {
        case .prepared: phase = .prepared
        case .current: phase = .current
        case .previous: phase = .previous
        case .retired: phase = .retired
        case .aborting: phase = .aborting
        case .aborted: phase = .aborted
        case .unset, .UNRECOGNIZED: throw .malformed("phase of an identity")
        }
        self.init(
            serial: try SerialNumber(checking: proto.serial), certificate: bytes(proto.certificate), key: SealedKey(proto.key),
            notAfter: WallClock(secondsSince1970: proto.notAfterSeconds), phase: phase)
    }
}
