// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is large goes between members on a connection of its own, so that megabytes never stand in the way of a heartbeat. The side that
// dialled asks for one part after the other and names the place of each; so nothing is sent that nobody has room for, a transfer ends by
// not being asked for any more, and one that was cut off goes on where it was, if the tag says that the bytes are the same.

import Consensus
import CtrlExec

package struct BulkMessage: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case open(BulkResource)
        /// At most `WireLimit.bulkBytes`.
        case read(offset: UInt64, count: UInt32)
        case close
        /// Equal tags of one resource stand for equal bytes.
        case opened(size: UInt64, tag: UInt64)
        /// There is no such thing at this member.
        case absent
        /// Fewer than were asked for only at the end.
        case bytes(offset: UInt64, [UInt8])
        /// The transfer is over; why, for people.
        case failed(String)
    }
    /// Chosen by the side that asks; names the transfer on its connection.
    package var transfer: UInt64
    package var kind: Kind
    package init(_ transfer: UInt64, _ kind: Kind) {
        self.transfer = transfer
        self.kind = kind
    }
}

/// What a member may have that another wants.
package enum BulkResource: Hashable, Sendable, CustomStringConvertible {
    /// The record of a run.
    case runRecord(Reqid)
    /// The file of a snapshot.
    case snapshot(SnapshotPlace)

    package var description: String {
        switch self {
        case .runRecord(let reqid): "the record of run \(reqid)"
        case .snapshot(let place): "the snapshot behind \(place)"
        }
    }
}

extension BulkMessage {
    package func encoded() -> [UInt8] {
        var proto = ProtoBulkMessage()
        proto.transfer = transfer
        switch kind {
        case .open(.runRecord(let reqid)): proto.open.runRecord = reqid.number
        case .open(.snapshot(let place)):
            proto.open.snapshot.index = place.index.position
            proto.open.snapshot.term = place.term.number
        case .read(let offset, let count):
            proto.read.offset = offset
            proto.read.count = count
        case .close: proto.close = ProtoNothing()
        case .opened(let size, let tag):
            proto.opened.size = size
            proto.opened.tag = tag
        case .absent: proto.absent = ProtoNothing()
        case .bytes(let offset, let part):
            proto.bytes.offset = offset
            proto.bytes.bytes = field(part)
        case .failed(let reason): proto.failed = reason
        }
        return proto.serialized()
    }

    package init(decoding bytes: [UInt8]) throws(WireFailure) {
        let proto = try ProtoBulkMessage(bytes, limit: WireLimit.frame)
        let kind: Kind
        switch proto.kind {
        case .open(let resource):
            switch resource.kind {
            case .runRecord(let number): kind = .open(.runRecord(Reqid(number)))
            case .snapshot(let place):
                kind = .open(
                    .snapshot(SnapshotPlace(index: try LogIndex(checking: place.index), term: try Term(checking: place.term))))
            case nil: throw .malformed("resource, or one of a newer version")
            }
        case .read(let read):
            guard (1...WireLimit.bulkBytes).contains(Int(read.count)) else { throw .malformed("a part of \(read.count) bytes") }
            kind = .read(offset: try checked(read.offset, "offset"), count: read.count)
        case .close: kind = .close
        case .opened(let opened): kind = .opened(size: try checked(opened.size, "size"), tag: opened.tag)
        case .absent: kind = .absent
        case .bytes(let part):
            guard part.bytes.count <= WireLimit.bulkBytes else { throw .malformed("a part of \(part.bytes.count) bytes") }
            kind = .bytes(offset: try checked(part.offset, "offset"), Wire.bytes(part.bytes))
        case .failed(let reason): kind = .failed(try checked(reason, "reason"))
        case nil: throw .malformed("bulk message, or one of a newer version")
        }
        self.init(proto.transfer, kind)
    }
}
