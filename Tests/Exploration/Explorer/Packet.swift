// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is on the network. A link holds the newest message of each kind: what it would hold beside that is lost, which messages may be at any
// time. That keeps the network small, and leaves every order of delivery between links and kinds, every delay and every loss.

import Consensus

package struct Packet: Sendable {
    package let from: Int
    package let to: Int
    package let message: Message
    /// Stands for all of it.
    let fingerprint: UInt64

    init(from: Int, to: Int, message: Message) {
        self.from = from
        self.to = to
        self.message = message
        var fingerprint = CoreFingerprint()
        fingerprint.add(UInt64(from * 8 + to))
        message.add(to: &fingerprint)
        self.fingerprint = fingerprint.value
    }

    func replaces(_ other: Packet) -> Bool { from == other.from && to == other.to && message.kind == other.message.kind }
}

extension Message {
    var kind: Int {
        switch body {
        case .heartbeat: 0
        case .heartbeatAnswer: 1
        case .append: 2
        case .appendAnswer: 3
        case .voteRequest(let request): request.isPreVote ? 4 : 5
        case .voteAnswer(let answer): answer.isPreVote ? 6 : 7
        case .timeoutNow: 8
        case .readIndexRequest: 9
        case .readIndexAnswer: 10
        case .offer: 11
        }
    }

    fileprivate func add(to fingerprint: inout CoreFingerprint) {
        fingerprint.add(term.number)
        fingerprint.add(UInt64(kind))
        switch body {
        case .heartbeat(let heartbeat): heartbeat.add(to: &fingerprint)
        case .heartbeatAnswer(let answer): fingerprint.add(answer.number.number)
        case .append(let append):
            append.heartbeat.add(to: &fingerprint)
            fingerprint.add(append.previousIndex.position)
            fingerprint.add(append.previousTerm.number)
            fingerprint.add(append.entries)
        case .appendAnswer(let answer):
            fingerprint.add(answer.number.number)
            switch answer.result {
            case .matched(let index): fingerprint.add(index.position)
            case .mismatch(let hint, let hintTerm):
                fingerprint.add(hint.position)
                fingerprint.add(hintTerm.number)
                fingerprint.add(true)
            }
        case .offer(let offer):
            offer.heartbeat.add(to: &fingerprint)
            fingerprint.add(offer.place.index.position)
            fingerprint.add(offer.place.term.number)
        case .voteRequest(let request):
            fingerprint.add(request.lastLogIndex.position)
            fingerprint.add(request.lastLogTerm.number)
            fingerprint.add(request.transfer.map { $0.term.number + 1 } ?? 0)
            fingerprint.add(request.transfer?.lastHeartbeat.number ?? 0)
        case .voteAnswer(let answer):
            fingerprint.add(answer.granted)
            fingerprint.add(answer.campaignTerm.number)
        case .timeoutNow(let last): fingerprint.add(last.number)
        case .readIndexRequest(let token): fingerprint.add(token.number)
        case .readIndexAnswer(let token, let index):
            fingerprint.add(token.number)
            fingerprint.add(index.map { $0.position + 1 } ?? 0)
        }
    }

    /// As a person reads it.
    package var words: String {
        switch body {
        case .heartbeat(let heartbeat): "t\(term) heartbeat #\(heartbeat.number.number) commit \(heartbeat.commit)"
        case .heartbeatAnswer(let answer): "t\(term) heartbeat answer #\(answer.number.number)"
        case .append(let append):
            "t\(term) append #\(append.heartbeat.number.number) after \(append.previousIndex)/t\(append.previousTerm) ×\(append.entries.count) commit \(append.heartbeat.commit)"
        case .appendAnswer(let answer): "t\(term) append answer #\(answer.number.number) \(answer.result.words)"
        case .offer(let offer): "t\(term) offer #\(offer.heartbeat.number.number) of the snapshot behind \(offer.place)"
        case .voteRequest(let request):
            "t\(term) \(request.isPreVote ? "pre-vote" : "vote") request, log \(request.lastLogIndex)/t\(request.lastLogTerm)\(request.transfer == nil ? "" : ", transfer")"
        case .voteAnswer(let answer):
            "t\(term) \(answer.isPreVote ? "pre-vote" : "vote") \(answer.granted ? "granted" : "refused") for t\(answer.campaignTerm)"
        case .timeoutNow(let number): "t\(term) timeout now after #\(number.number)"
        case .readIndexRequest: "t\(term) read index request"
        case .readIndexAnswer(_, let index): "t\(term) read index answer \(index.map { "\($0)" } ?? "none")"
        }
    }
}

extension AppendAnswer.Result {
    fileprivate var words: String {
        switch self {
        case .matched(let index): "matched \(index)"
        case .mismatch(let hint, let hintTerm): "mismatch, try \(hint)/t\(hintTerm)"
        }
    }
}

extension Heartbeat {
    fileprivate func add(to fingerprint: inout CoreFingerprint) {
        fingerprint.add(number.number)
        fingerprint.add(promise.nanoseconds)
        fingerprint.add(commit.position)
    }
}
