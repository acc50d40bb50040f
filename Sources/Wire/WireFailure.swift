// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Why bytes were not understood, the limits that they are held to, and the checks that every conversion shares.

import Consensus
import CtrlExec
import DispatcherState
import SwiftProtobuf

package enum WireFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// More bytes than `limit`; nothing was read.
    case tooLarge(count: Int, limit: Int)
    /// Written by a newer version of ced.
    case unknownFormat(UInt32)
    /// Not what it claims to be; the text names the part.
    case malformed(String)

    package var description: String {
        switch self {
        case .tooLarge(let count, let limit): "a message of \(count) bytes; at most \(limit) are accepted"
        case .unknownFormat(let format):
            "format \(format), which this version of ced cannot read: it was written by a newer one; upgrade this member"
        case .malformed(let part): "malformed message: \(part)"
        }
    }
}

package enum WireLimit {
    /// One frame of the peer port (architecture, rule 5), without its length.
    package static let frame = 1024 * 1024
    /// The body of a snapshot. A state of 10,000 agents, 10,000 operators and 50,000 kept outcomes has some 30 MB.
    package static let image = 1 << 30
    /// Bytes in one message of a bulk connection: sent in a fraction of a millisecond.
    package static let bulkBytes = 128 * 1024
    /// Entries in one append.
    package static let entries = 4096
    /// Members in a genesis state or a report.
    package static let members = 16
    /// Dispatcher identities that a message names.
    package static let identities = 64
    /// Free text: reasons, versions, addresses.
    package static let text = 1024
    /// What is still left of a request's time: one day. The ports allow a minute.
    package static let remainingMilliseconds: UInt64 = 86_400_000
    /// A promise of one minute is the longest that `Timing` accepts; an hour is no promise but a mistake.
    package static let promise = TimeSpan.seconds(3_600)
    /// No term, index or count of a living cluster comes near this; beyond it, adding one could overflow.
    package static let number: UInt64 = 1 << 62
}

// MARK: Bytes

/// `bytes` fields are Foundation's `Data` in generated code. These two keep Foundation out of the conversions.
func field<Bytes: RangeReplaceableCollection>(_ bytes: [UInt8]) -> Bytes where Bytes.Element == UInt8 { Bytes(bytes) }
func bytes(_ field: some Sequence<UInt8>) -> [UInt8] { Array(field) }

extension SwiftProtobuf.Message {
    /// Serializing fails for required fields of proto2 and for more than two gigabytes; there are neither.
    func serialized() -> [UInt8] {
        do { return try serializedBytes() } catch {
            preconditionFailure("a proto3 message of less than two gigabytes was not serialized: \(error)")
        }
    }

    init(_ bytes: [UInt8], limit: Int) throws(WireFailure) {
        guard bytes.count <= limit else { throw .tooLarge(count: bytes.count, limit: limit) }
        var options = BinaryDecodingOptions()
        options.messageDepthLimit = 16
        options.discardUnknownFields = true
        do { self = try Self(serializedBytes: bytes, options: options) } catch {
            throw .malformed("\(Self.protoMessageName) is not protobuf")
        }
    }
}

// MARK: Checks

func required<Value>(_ value: Value?, _ part: String) throws(WireFailure) -> Value {
    guard let value else { throw .malformed(part) }
    return value
}

func checked(_ number: UInt64, _ part: String) throws(WireFailure) -> UInt64 {
    guard number <= WireLimit.number else { throw .malformed("\(part) \(number)") }
    return number
}

func checked(_ text: String, _ part: String) throws(WireFailure) -> String {
    guard text.utf8.count <= WireLimit.text else { throw .malformed("\(part) of \(text.utf8.count) bytes") }
    return text
}

extension Term {
    init(checking number: UInt64) throws(WireFailure) { self.init(try checked(number, "term")) }
}

extension LogIndex {
    init(checking position: UInt64) throws(WireFailure) { self.init(try checked(position, "index")) }
}

extension HeartbeatNumber {
    init(checking number: UInt64) throws(WireFailure) { self.init(try checked(number, "heartbeat number")) }
}

extension MemberID {
    init(checking name: String) throws(WireFailure) { self = try required(MemberID(name), "member id") }
}

extension AgentName {
    init(checking name: String) throws(WireFailure) { self = try required(AgentName(name), "agent name") }
}

extension OperatorName {
    init(checking name: String) throws(WireFailure) { self = try required(OperatorName(name), "operator name") }
}

extension SerialNumber {
    init(checking field: some Collection<UInt8>) throws(WireFailure) {
        guard field.count <= 20 else { throw .malformed("serial number of \(field.count) bytes") }
        self = try required(SerialNumber(bytes: Wire.bytes(field)), "serial number")
    }
}

func serialNumbers(_ fields: some Collection<some Collection<UInt8>>) throws(WireFailure) -> [SerialNumber] {
    guard fields.count <= WireLimit.identities else { throw .malformed("\(fields.count) serial numbers") }
    var serials: [SerialNumber] = []
    for field in fields { serials.append(try SerialNumber(checking: field)) }
    return serials
}
