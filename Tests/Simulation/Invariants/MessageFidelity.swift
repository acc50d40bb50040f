// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a member reads is what another one has written. Everything that members say goes through its bytes, but for heartbeats and their
// answers: they are two thirds of all messages, and numbers alone, so that of them every eighth does, and every refusal.

import Consensus
import DispatcherState
import Wire

package struct MessageFidelity: Sendable {
    /// Of so many heartbeats and answers one is written and read.
    private static let interval: UInt64 = 8
    private var heartbeats: UInt64 = 0
    package init() {}

    /// What goes over the wire.
    package enum Parcel {
        case bytes([UInt8])
        /// The message is handed over as it is; these are all the numbers in it.
        case numbers([UInt64])
    }

    package mutating func parcel(of message: PeerMessage) -> Parcel {
        guard case .consensus(let said, let note) = message else { return .bytes(message.encoded()) }
        var numbers = [said.term.number, UInt64(bitPattern: note.calendar.secondsSince1970), UInt64(note.knows.number)]
        switch said.body {
        case .heartbeat(let heartbeat):
            numbers += [heartbeat.number.number, heartbeat.promise.nanoseconds, heartbeat.commit.position]
        case .heartbeatAnswer(let answer) where answer.number > .zero:
            numbers.append(answer.number.number)
        default:
            return .bytes(message.encoded())
        }
        heartbeats += 1
        return heartbeats % MessageFidelity.interval == 0 ? .bytes(message.encoded()) : .numbers(numbers)
    }

    /// As the receiver has it.
    package func reads(_ bytes: [UInt8], sent: PeerMessage, by sender: MemberID) throws(Broken) -> PeerMessage {
        let message: PeerMessage
        do throws(WireFailure) { message = try PeerMessage(decoding: bytes) } catch {
            throw Broken("MessageFidelity", [sender], "it sent a message that cannot be read: \(error)")
        }
        guard message == sent else { throw Broken("MessageFidelity", [sender], "it sent \(sent), which is read as \(message)") }
        return message
    }
}
