// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who may be at the other end of a connection between members, whatever it is for: the first frame of either side is a hello, in which
// cluster, incarnation and protocol version must agree, and the member must be the one of which the certificate speaks.

import Consensus
import CtrlExec
import DispatcherState
import NIOCore
import PKI
import Transport
import Wire

/// What a member says of itself, and by what it knows the others.
package struct PeerGreeting: Sendable {
    package struct Refusal: Error, CustomStringConvertible {
        package let description: String
        init(_ description: String) { self.description = description }
    }

    let credentials: PeerLinks.Credentials
    let directory: PeerDirectory
    let revocations: RevocationList

    package init(_ credentials: PeerLinks.Credentials, directory: PeerDirectory, revocations: RevocationList) {
        self.credentials = credentials
        self.directory = directory
        self.revocations = revocations
    }

    /// The side that dialled says what the connection is for; the other's word on that means nothing.
    ///
    /// - Parameter removedAt: the one that dialled is a member no more.
    func hello(for link: PeerHello.Link, removedAt: LogIndex? = nil) -> ByteBuffer {
        var hello = credentials.hello
        hello.link = link
        hello.address = directory.ownAddress
        hello.removedAt = removedAt
        return ByteBuffer(bytes: hello.encoded())
    }

    func check(_ frame: ByteBuffer, of connection: FramedConnection, expecting expected: MemberID?) throws(Refusal) -> PeerHello {
        let hello: PeerHello
        do throws(WireFailure) {
            hello = try PeerHello(decoding: Array(frame.readableBytesView))
        } catch {
            throw Refusal("its first frame is no hello: \(error)")
        }
        let ours = credentials.hello
        guard hello.protocolVersion == ours.protocolVersion else {
            throw Refusal("it speaks version \(hello.protocolVersion) of the peer protocol, this member \(ours.protocolVersion)")
        }
        guard hello.cluster == ours.cluster else { throw Refusal("it belongs to another cluster, \(hello.cluster)") }
        guard hello.incarnation == ours.incarnation else {
            throw Refusal("it belongs to another incarnation of this cluster (\(hello.incarnation.counter))")
        }
        guard connection.peer.role == .member(cluster: "\(ours.cluster)", id: hello.member.name) else {
            throw Refusal("it says it is member \(hello.member), its certificate says \(connection.peer)")
        }
        guard hello.member != ours.member else { throw Refusal("it has this member's own id, \(hello.member)") }
        switch directory.standing(of: hello.member, serial: connection.peer.serial) {
        case .member: break
        case .removed: throw Refusal("member \(hello.member) was removed")
        case .stranger(let reason): throw Refusal(reason)
        }
        if let expected, hello.member != expected { throw Refusal("it is member \(hello.member)") }
        return hello
    }

    /// If the one at the other end was removed: since when. Known from its certificate, before it says anything.
    func removal(of connection: FramedConnection) -> LogIndex? {
        guard case .member(_, let name) = connection.peer.role, let id = MemberID(name),
            case .removed(let index) = directory.standing(of: id, serial: connection.peer.serial)
        else { return nil }
        return index
    }

    /// The validity of certificates is not looked at here: a wrong clock must not cost the quorum. Revocation is: the state never revokes
    /// the certificate of a member that it has.
    func policy(expecting id: MemberID?) -> TrustPolicy {
        .members(
            of: "\(credentials.hello.cluster)", roots: [credentials.clusterCA], id: id?.name, validity: .unchecked,
            isRevoked: { [revocations] in revocations.contains($0) })
    }
}
