// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The answering side of bulk connections: opens what another member asks for and gives it part by part. The parts are read by their source,
// off the loop; on the loop of the heartbeats nothing is done but to encode and send one part at a time, which takes a fraction of a
// millisecond. Nothing is sent that was not asked for, so that a slow reader costs no memory.

import Consensus
import NIOCore
import Transport
import Wire

/// Bytes that do not change while they are open.
package protocol BulkSource: Sendable {
    var size: UInt64 { get }
    /// Equal for equal bytes of the same resource.
    var tag: UInt64 { get }
    /// Fewer than `count` only at the end. Reads off the event loops; throws in words for people.
    func read(offset: UInt64, count: Int) async throws -> [UInt8]
}

package final class BulkServer: Sendable {
    /// Open at one time on one connection; a member has one.
    package static let transfersLimit = 16

    private let open: @Sendable (BulkResource) async throws -> (any BulkSource)?
    private let loop: any EventLoop
    private let desks: NIOLoopBoundBox<[ObjectIdentifier: Desk]>

    /// - Parameters:
    ///   - loop: that of the connections.
    ///   - open: nil: there is no such thing here.
    package init(loop: any EventLoop, open: @escaping @Sendable (BulkResource) async throws -> (any BulkSource)?) {
        self.loop = loop
        self.open = open
        desks = NIOLoopBoundBox.makeBoxSendingValue([:], eventLoop: loop)
    }

    /// What one connection has open.
    private final class Desk: Sendable {
        enum Transfer {
            case opening
            case open(any BulkSource)
            case reading(any BulkSource)
        }
        let connection: FramedConnection
        let transfers: NIOLoopBoundBox<[UInt64: Transfer]>
        init(_ connection: FramedConnection) {
            self.connection = connection
            transfers = NIOLoopBoundBox([:], eventLoop: connection.eventLoop)
        }

        func send(_ transfer: UInt64, _ kind: BulkMessage.Kind) {
            if case .failed = kind { transfers.value[transfer] = nil }
            // What cannot be sent is missed by the side that asked, which gives up in time.
            connection.send(ByteBuffer(bytes: BulkMessage(transfer, kind).encoded()))
        }
    }

    /// A frame of a connection whose hello was accepted. On the loop. Not nil: why the connection must be closed.
    func received(_ frame: ByteBuffer, on connection: FramedConnection) -> String? {
        let message: BulkMessage
        do throws(WireFailure) {
            message = try BulkMessage(decoding: Array(frame.readableBytesView))
        } catch {
            return error.description
        }
        let key = ObjectIdentifier(connection)
        let desk = desks.value[key] ?? Desk(connection)
        desks.value[key] = desk
        switch message.kind {
        case .open(let resource): open(resource, as: message.transfer, at: desk)
        case .read(let offset, let count): read(offset, Int(count), of: message.transfer, at: desk)
        case .close: desk.transfers.value[message.transfer] = nil
        case .opened, .absent, .bytes, .failed: return "it answers on a connection on which it asks"
        }
        return nil
    }

    /// On the loop.
    func lost(_ connection: FramedConnection) { desks.value[ObjectIdentifier(connection)] = nil }

    private func open(_ resource: BulkResource, as transfer: UInt64, at desk: Desk) {
        guard desk.transfers.value[transfer] == nil else { return desk.send(transfer, .failed("transfer \(transfer) is open already")) }
        guard desk.transfers.value.count < Self.transfersLimit else {
            return desk.send(transfer, .failed("\(Self.transfersLimit) transfers are open already"))
        }
        desk.transfers.value[transfer] = .opening
        Task {
            let opened: Result<(any BulkSource)?, any Error>
            do { opened = .success(try await open(resource)) } catch { opened = .failure(error) }
            loop.execute {
                // It was closed meanwhile.
                guard case .opening = desk.transfers.value[transfer] else { return }
                switch opened {
                case .success(let source?):
                    desk.transfers.value[transfer] = .open(source)
                    desk.send(transfer, .opened(size: source.size, tag: source.tag))
                case .success(nil):
                    desk.transfers.value[transfer] = nil
                    desk.send(transfer, .absent)
                case .failure(let error): desk.send(transfer, .failed(Self.words(error)))
                }
            }
        }
    }

    private func read(_ offset: UInt64, _ count: Int, of transfer: UInt64, at desk: Desk) {
        guard case .open(let source) = desk.transfers.value[transfer] else {
            return desk.send(transfer, .failed("transfer \(transfer) is not open, or a part of it is on its way"))
        }
        desk.transfers.value[transfer] = .reading(source)
        Task {
            let part: Result<[UInt8], any Error>
            do { part = .success(try await source.read(offset: offset, count: count)) } catch { part = .failure(error) }
            loop.execute {
                guard case .reading = desk.transfers.value[transfer] else { return }
                desk.transfers.value[transfer] = .open(source)
                switch part {
                case .success(let bytes): desk.send(transfer, .bytes(offset: offset, bytes))
                case .failure(let error): desk.send(transfer, .failed(Self.words(error)))
                }
            }
        }
    }

    /// Cut to what the wire takes.
    private static func words(_ error: any Error) -> String { String(decoding: "\(error)".utf8.prefix(500), as: UTF8.self) }
}
