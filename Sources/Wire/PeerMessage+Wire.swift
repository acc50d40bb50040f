// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The frames of the peer port: a hello, then messages.

import Consensus
import CtrlExec
import DispatcherState

extension PeerHello {
    package func encoded() -> [UInt8] {
        var proto = ProtoPeerHello()
        proto.protocolVersion = protocolVersion
        proto.cluster = field(cluster.bytes)
        proto.incarnation = ProtoIncarnation(incarnation)
        proto.member = member.name
        proto.link =
            switch link {
            case .control: .control
            case .bulk: .bulk
            }
        proto.address = address
        proto.removedAt = removedAt?.position ?? 0
        return proto.serialized()
    }

    /// Any protocol version is read; whether it is spoken is for the caller to decide, who can then name it in the refusal.
    package init(decoding bytes: [UInt8]) throws(WireFailure) {
        let proto = try ProtoPeerHello(bytes, limit: 1024)
        let link: Link
        switch proto.link {
        case .control: link = .control
        case .bulk: link = .bulk
        case .UNRECOGNIZED(let number): throw .malformed("kind of connection \(number)")
        }
        self.init(
            protocolVersion: proto.protocolVersion, cluster: try ClusterID(checking: proto.cluster),
            incarnation: Incarnation(proto.incarnation), member: try MemberID(checking: proto.member), link: link,
            address: try checked(proto.address, "address"),
            removedAt: proto.removedAt == 0 ? nil : try LogIndex(checking: proto.removedAt))
    }
}

extension PeerMessage {
    package func encoded() -> [UInt8] {
        var proto = ProtoPeerMessage()
        switch self {
        case .consensus(let message, let note):
            proto.consensus = ProtoConsensusMessage(message)
            proto.calendarSeconds = note.calendar.secondsSince1970
            proto.machineVersion = note.knows.number
        case .forward(let request): proto.forward = ProtoForwardedRequest(request)
        case .forwardAnswer(let answer): proto.forwardAnswer = ProtoForwardAnswer(answer)
        case .reportRequest(let number): proto.reportRequest = number
        case .report(let number, let report):
            proto.report.number = number
            proto.report.report = ProtoMemberReport(report)
        case .holding(let serials): proto.holding.serials = serials.map { field($0.bytes) }
        case .observed(let observation):
            proto.observed.agent = ProtoAgentKey(observation.agent)
            proto.observed.accepted = field(observation.accepted.bytes)
            proto.observed.refused = observation.refused.map { field($0.bytes) }
        case .tagsObserved(let agent, let tags):
            proto.tagsObserved.agent = ProtoAgentKey(agent)
            proto.tagsObserved.tags = ProtoAgentTag.all(tags)
        case .standingRequest: proto.standingRequest = ProtoNothing()
        case .removed(let index): proto.removed = index.position
        }
        return proto.serialized()
    }

    package init(decoding bytes: [UInt8]) throws(WireFailure) {
        let proto = try ProtoPeerMessage(bytes, limit: WireLimit.frame)
        switch proto.kind {
        case .consensus(let message):
            self = .consensus(
                try Message(message),
                SenderNote(
                    calendar: WallClock(secondsSince1970: proto.calendarSeconds),
                    knows: max(.first, MachineVersion(proto.machineVersion))))
        case .forward(let request): self = .forward(try ForwardedRequest(request))
        case .forwardAnswer(let answer): self = .forwardAnswer(try ForwardAnswer(answer))
        case .reportRequest(let number): self = .reportRequest(number: number)
        case .report(let numbered): self = .report(number: numbered.number, try MemberReport(numbered.report))
        case .holding(let held): self = .holding(try serialNumbers(held.serials))
        case .observed(let observed):
            self = .observed(
                AgentObservation(
                    agent: try AgentKey(observed.agent), accepted: try SerialNumber(checking: observed.accepted),
                    refused: try serialNumbers(observed.refused)))
        case .tagsObserved(let observed):
            self = .tagsObserved(try AgentKey(observed.agent), try AgentTags(checking: observed.tags))
        case .standingRequest: self = .standingRequest
        case .removed(let index): self = .removed(at: try LogIndex(checking: index))
        case nil: throw .malformed("peer message, or one of a newer version")
        }
    }
}

// MARK: Forwarding

extension ProtoForwardedRequest {
    init(_ forwarded: ForwardedRequest) {
        number = forwarded.number
        switch forwarded.operation {
        case .command(let command): self.command = ProtoCommand(command)
        case .transfer(let target): transfer = target?.name ?? ""
        }
        principal = ProtoPrincipal(forwarded.principal)
        request = ProtoRequestID(forwarded.request)
        remainingMilliseconds = forwarded.remainingMilliseconds
        believedTerm = forwarded.believedTerm.number
    }
}

extension ForwardedRequest {
    init(_ proto: ProtoForwardedRequest) throws(WireFailure) {
        let operation: ExclusiveOperation
        switch proto.operation {
        case .command(let command): operation = .command(try Command(command))
        case .transfer(let target): operation = .transfer(to: target.isEmpty ? nil : try MemberID(checking: target))
        case nil: throw .malformed("operation")
        }
        guard proto.remainingMilliseconds <= WireLimit.remainingMilliseconds else {
            throw .malformed("remaining time of \(proto.remainingMilliseconds) ms")
        }
        self.init(
            number: proto.number, operation: operation, principal: try Principal(proto.principal), request: try RequestID(proto.request),
            remainingMilliseconds: proto.remainingMilliseconds, believedTerm: try Term(checking: proto.believedTerm))
    }
}

extension ProtoForwardAnswer {
    init(_ answer: ForwardAnswer) {
        number = answer.number
        switch answer.result {
        case .settled(let outcome, let through):
            settled.outcome = ProtoOutcome(outcome)
            settled.through = through.position
        case .notLeader(let leader, let term):
            var proto = ProtoNotLeader()
            if let leader { proto.leader = leader.name }
            proto.term = term.number
            notLeader = proto
        case .transferred(let target): transferred = target.name
        case .transferFailed: transferFailed = ProtoNothing()
        }
    }
}

extension ForwardAnswer {
    init(_ proto: ProtoForwardAnswer) throws(WireFailure) {
        let result: Result
        switch proto.result {
        case .settled(let settled):
            result = .settled(try Outcome(settled.outcome), through: try LogIndex(checking: settled.through))
        case .notLeader(let notLeader):
            result = .notLeader(
                notLeader.hasLeader ? try MemberID(checking: notLeader.leader) : nil, term: try Term(checking: notLeader.term))
        case .transferred(let target): result = .transferred(to: try MemberID(checking: target))
        case .transferFailed: result = .transferFailed
        case nil: throw .malformed("answer to a forwarded request")
        }
        self.init(number: proto.number, result: result)
    }
}

// MARK: Reports

extension ProtoMemberReport {
    init(_ report: MemberReport) {
        member = report.member.name
        version = report.version
        role =
            switch report.role {
            case .follower: .follower
            case .preCandidate: .preCandidate
            case .candidate: .candidate
            case .leader: .leader
            }
        term = report.term.number
        if let leader = report.leader { self.leader = leader.name }
        lastLogIndex = report.lastLogIndex.position
        commitIndex = report.commitIndex.position
        appliedIndex = report.appliedIndex.position
        stateHash = report.stateHash
        isReady = report.isReady
        if let milliseconds = report.leaderContactMilliseconds { leaderContactMilliseconds = milliseconds }
        peers = report.peers.map { peer in
            var proto = ProtoPeerContact()
            proto.member = peer.member.name
            proto.match = peer.match.position
            if let milliseconds = peer.lastAnswerMilliseconds { proto.lastAnswerMilliseconds = milliseconds }
            return proto
        }
        machineVersion = report.knows?.number ?? 0
        if let calendar = report.calendar { calendarSeconds = calendar.secondsSince1970 }
        facts = ProtoMemberFacts(report.facts)
    }
}

extension MemberReport {
    init(_ proto: ProtoMemberReport) throws(WireFailure) {
        guard proto.peers.count <= WireLimit.members else { throw .malformed("report of \(proto.peers.count) members") }
        var peers: [PeerContact] = []
        for peer in proto.peers {
            peers.append(
                PeerContact(
                    member: try MemberID(checking: peer.member), match: try LogIndex(checking: peer.match),
                    lastAnswerMilliseconds: peer.hasLastAnswerMilliseconds ? peer.lastAnswerMilliseconds : nil))
        }
        self.init(
            member: try MemberID(checking: proto.member), version: try checked(proto.version, "version"), role: try Role(proto.role),
            term: try Term(checking: proto.term), leader: proto.hasLeader ? try MemberID(checking: proto.leader) : nil,
            lastLogIndex: try LogIndex(checking: proto.lastLogIndex), commitIndex: try LogIndex(checking: proto.commitIndex),
            appliedIndex: try LogIndex(checking: proto.appliedIndex), stateHash: proto.stateHash, isReady: proto.isReady,
            leaderContactMilliseconds: proto.hasLeaderContactMilliseconds ? proto.leaderContactMilliseconds : nil, peers: peers,
            knows: proto.machineVersion == 0 ? nil : MachineVersion(proto.machineVersion),
            calendar: proto.hasCalendarSeconds ? WallClock(secondsSince1970: proto.calendarSeconds) : nil,
            facts: try MemberFacts(proto.facts))
    }
}

extension Role {
    init(_ proto: ProtoMemberReport.Role) throws(WireFailure) {
        switch proto {
        case .follower: self = .follower
        case .preCandidate: self = .preCandidate
        case .candidate: self = .candidate
        case .leader: self = .leader
        case .unset, .UNRECOGNIZED: throw .malformed("role of a member")
        }
    }
}
