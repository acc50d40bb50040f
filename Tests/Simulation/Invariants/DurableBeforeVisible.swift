// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// No vote, acknowledgement or message that depends on a write leaves before that write is on disk (architecture, rule 2).

import Consensus

package struct DurableBeforeVisible: Sendable {
    package init() {}

    /// `message` leaves `member` for `target`; `durable` is what its disk would give back.
    package func sends(_ member: MemberID, _ message: Message, to target: MemberID, durable: KnownLog) throws(Broken) {
        func broken(_ what: String) -> Broken { Broken("DurableBeforeVisible", [member], what) }
        switch message.body {
        case .voteRequest(let request) where request.isPreVote:
            // Its term is the one that would be campaigned in.
            return
        case .voteRequest:
            guard durable.ballot.term == message.term ? durable.ballot.vote == member : durable.ballot.term > message.term else {
                throw broken("it asks for votes in term \(message.term) and has \(durable.ballot) on disk")
            }
        case .voteAnswer(let answer) where answer.granted && !answer.isPreVote:
            guard durable.ballot.term == message.term ? durable.ballot.vote == target : durable.ballot.term > message.term else {
                throw broken("it votes for \(target) in term \(message.term) and has \(durable.ballot) on disk")
            }
        case .appendAnswer(let answer):
            if case .matched(let index) = answer.result, index > durable.last, message.term >= durable.ballot.term {
                throw broken("it acknowledges index \(index) and has \(durable.last) on disk")
            }
        default:
            break
        }
        guard message.term <= durable.ballot.term else {
            throw broken("it speaks in term \(message.term) and has \(durable.ballot.term) on disk")
        }
    }
}
