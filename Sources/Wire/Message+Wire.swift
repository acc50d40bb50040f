// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The messages of consensus. The busiest conversion: a heartbeat is three small numbers.

import Consensus
import DispatcherState

extension ProtoConsensusMessage {
    init(_ message: Message) {
        term = message.term.number
        switch message.body {
        case .heartbeat(let heartbeat):
            var proto = ProtoHeartbeat()
            proto.number = heartbeat.number.number
            proto.promiseNanoseconds = heartbeat.promise.nanoseconds
            proto.commit = heartbeat.commit.position
            self.heartbeat = proto
        case .heartbeatAnswer(let answer): heartbeatAnswer = answer.number.number
        case .append(let append): self.append = ProtoAppend(append)
        case .appendAnswer(let answer):
            var proto = ProtoAppendAnswer()
            proto.number = answer.number.number
            switch answer.result {
            case .matched(let index): proto.matched = index.position
            case .mismatch(let hint, let hintTerm):
                proto.mismatch.hint = hint.position
                proto.mismatch.hintTerm = hintTerm.number
            }
            appendAnswer = proto
        case .offer(let offer):
            var proto = ProtoSnapshotOffer()
            proto.number = offer.heartbeat.number.number
            proto.promiseNanoseconds = offer.heartbeat.promise.nanoseconds
            proto.commit = offer.heartbeat.commit.position
            proto.index = offer.place.index.position
            proto.term = offer.place.term.number
            snapshotOffer = proto
        case .voteRequest(let request):
            var proto = ProtoVoteRequest()
            proto.isPreVote = request.isPreVote
            proto.lastLogIndex = request.lastLogIndex.position
            proto.lastLogTerm = request.lastLogTerm.number
            if let transfer = request.transfer {
                proto.transfer.term = transfer.term.number
                proto.transfer.lastHeartbeat = transfer.lastHeartbeat.number
            }
            voteRequest = proto
        case .voteAnswer(let answer):
            var proto = ProtoVoteAnswer()
            proto.isPreVote = answer.isPreVote
            proto.granted = answer.granted
            proto.campaignTerm = answer.campaignTerm.number
            voteAnswer = proto
        case .timeoutNow(let lastHeartbeat): timeoutNow = lastHeartbeat.number
        case .readIndexRequest(let token): readIndexRequest = token.number
        case .readIndexAnswer(let token, let index):
            readIndexAnswer.token = token.number
            if let index { readIndexAnswer.index = index.position }
        }
    }
}

extension ProtoAppend {
    /// Entries are contiguous behind the previous one, so that their indices need not be said.
    init(_ append: Append) {
        number = append.heartbeat.number.number
        promiseNanoseconds = append.heartbeat.promise.nanoseconds
        commit = append.heartbeat.commit.position
        previousIndex = append.previousIndex.position
        previousTerm = append.previousTerm.number
        entries = append.entries.map { entry in
            var proto = ProtoEntry()
            proto.term = entry.term.number
            proto.payload = field(entry.payload)
            if let configuration = entry.configuration { proto.configuration = ProtoConfiguration(configuration) }
            return proto
        }
    }
}

extension Message {
    init(_ proto: ProtoConsensusMessage) throws(WireFailure) {
        self.init(term: try Term(checking: proto.term), body: try Body(proto.body))
    }
}

extension Message.Body {
    init(_ proto: ProtoConsensusMessage.OneOf_Body?) throws(WireFailure) {
        switch proto {
        case .heartbeat(let heartbeat):
            self = .heartbeat(
                try Heartbeat(number: heartbeat.number, promiseNanoseconds: heartbeat.promiseNanoseconds, commit: heartbeat.commit))
        case .heartbeatAnswer(let number): self = .heartbeatAnswer(HeartbeatAnswer(number: try HeartbeatNumber(checking: number)))
        case .append(let append): self = .append(try Append(append))
        case .appendAnswer(let answer):
            self = .appendAnswer(AppendAnswer(number: try HeartbeatNumber(checking: answer.number), result: try .init(answer.result)))
        case .snapshotOffer(let offer):
            self = .offer(
                SnapshotOffer(
                    heartbeat: try Heartbeat(number: offer.number, promiseNanoseconds: offer.promiseNanoseconds, commit: offer.commit),
                    place: SnapshotPlace(index: try LogIndex(checking: offer.index), term: try Term(checking: offer.term))))
        case .voteRequest(let request): self = .voteRequest(try VoteRequest(request))
        case .voteAnswer(let answer):
            self = .voteAnswer(
                VoteAnswer(isPreVote: answer.isPreVote, granted: answer.granted, campaignTerm: try Term(checking: answer.campaignTerm)))
        case .timeoutNow(let number): self = .timeoutNow(lastHeartbeat: try HeartbeatNumber(checking: number))
        case .readIndexRequest(let token): self = .readIndexRequest(ReadToken(token))
        case .readIndexAnswer(let answer):
            self = .readIndexAnswer(ReadToken(answer.token), answer.hasIndex ? try LogIndex(checking: answer.index) : nil)
        case nil: throw .malformed("message of consensus, or one of a newer version")
        }
    }
}

extension Heartbeat {
    init(number: UInt64, promiseNanoseconds: UInt64, commit: UInt64) throws(WireFailure) {
        let promise = TimeSpan(nanoseconds: promiseNanoseconds)
        guard promise <= WireLimit.promise else { throw .malformed("promise of \(promise.milliseconds) ms") }
        self.init(number: try HeartbeatNumber(checking: number), promise: promise, commit: try LogIndex(checking: commit))
    }
}

extension ProtoConfiguration {
    init(_ configuration: Configuration) {
        voters = configuration.voters.map(\.name)
        learners = configuration.learners.map(\.name)
    }
}

extension Configuration {
    init(_ proto: ProtoConfiguration) throws(WireFailure) {
        var voters: [MemberID] = []
        var learners: [MemberID] = []
        guard proto.voters.count <= 5, proto.learners.count <= Configuration.learnerLimit else { throw .malformed("configuration") }
        for name in proto.voters { voters.append(try MemberID(checking: name)) }
        for name in proto.learners { learners.append(try MemberID(checking: name)) }
        self = try required(Configuration(voters: voters, learners: learners), "configuration")
    }
}

extension Append {
    init(_ proto: ProtoAppend) throws(WireFailure) {
        guard proto.entries.count <= WireLimit.entries else { throw .malformed("append of \(proto.entries.count) entries") }
        let previous = try LogIndex(checking: proto.previousIndex)
        var entries: [Entry] = []
        entries.reserveCapacity(proto.entries.count)
        var index = previous
        for entry in proto.entries {
            guard entry.payload.count <= Entry.payloadLimit else { throw .malformed("entry of \(entry.payload.count) bytes") }
            index = index.next
            entries.append(
                Entry(
                    index: index, term: try Term(checking: entry.term), payload: bytes(entry.payload),
                    configuration: entry.hasConfiguration ? try Configuration(entry.configuration) : nil))
        }
        self.init(
            heartbeat: try Heartbeat(number: proto.number, promiseNanoseconds: proto.promiseNanoseconds, commit: proto.commit),
            previousIndex: previous, previousTerm: try Term(checking: proto.previousTerm), entries: entries)
    }
}

extension AppendAnswer.Result {
    init(_ proto: ProtoAppendAnswer.OneOf_Result?) throws(WireFailure) {
        switch proto {
        case .matched(let index): self = .matched(try LogIndex(checking: index))
        case .mismatch(let mismatch):
            self = .mismatch(hint: try LogIndex(checking: mismatch.hint), hintTerm: try Term(checking: mismatch.hintTerm))
        case nil: throw .malformed("answer to an append")
        }
    }
}

extension VoteRequest {
    init(_ proto: ProtoVoteRequest) throws(WireFailure) {
        var transfer: Transfer?
        if proto.hasTransfer {
            transfer = Transfer(
                term: try Term(checking: proto.transfer.term), lastHeartbeat: try HeartbeatNumber(checking: proto.transfer.lastHeartbeat))
        }
        self.init(
            isPreVote: proto.isPreVote, lastLogIndex: try LogIndex(checking: proto.lastLogIndex),
            lastLogTerm: try Term(checking: proto.lastLogTerm), transfer: transfer)
    }
}
