// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Random values of everything that crosses the wire, from a seed. Every case of every enum comes up.

import Consensus
import CtrlExec
import DispatcherState
import Wire

struct ValueGenerator {
    var random: SeededGenerator
    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int(random.below(UInt64(values.count)))] }
    mutating func flip() -> Bool { random.below(2) == 0 }
    mutating func any() -> UInt64 { pick([0, 1, random.below(300), random.next(), .max]) }
    /// As terms and indices are.
    mutating func counted() -> UInt64 { pick([0, 1, random.below(300), random.next() >> 2, WireLimit.number]) }
    mutating func bytes(_ limit: UInt64 = 40) -> [UInt8] { (0..<random.below(limit)).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
    mutating func text() -> String { pick(["", "abc", "line\nbreak", "é", String(repeating: "x", count: 200)]) }
    mutating func optional<Value>(_ value: Value) -> Value? { flip() ? value : nil }
    mutating func wallClock() -> WallClock {
        WallClock(secondsSince1970: pick([0, -1, .min, .max, Int64(bitPattern: random.next()), 1_800_000_000]))
    }

    // The names are of the right grammar, so that the force of `!` cannot meet nil.
    mutating func agentName() -> AgentName { AgentName(pick(["a", "web-1.example.org", "Z_9", String(repeating: "n", count: 253)]))! }
    mutating func operatorName() -> OperatorName { OperatorName(pick(["ada", "b.c-d_e", String(repeating: "n", count: 64)]))! }
    mutating func member() -> MemberID { MemberID(pick(["a", "b-2", "c" + String(repeating: "0", count: 31)]))! }
    mutating func serial() -> SerialNumber { SerialNumber(bytes: [UInt8(1 + random.below(255))] + bytes(19))! }
    mutating func reqid() -> Reqid { Reqid(any()) }
    mutating func index() -> LogIndex { LogIndex(counted()) }
    mutating func term() -> Term { Term(counted()) }
    mutating func heartbeatNumber() -> HeartbeatNumber { HeartbeatNumber(counted()) }
    mutating func obligation() -> ObligationID { ObligationID(index()) }

    mutating func principal() -> Principal {
        switch random.below(5) {
        case 4: .joiningHost(address: pick(["192.0.2.1", "::1", ""]))
        case 0: .operatorCertificate(operatorName(), serial())
        case 1: .localUser(uid: pick([0, 1000, .max]))
        case 2: .pairingHost(address: pick(["192.0.2.1", "::1", ""]))
        default: .leader
        }
    }

    mutating func request() -> RequestID {
        flip()
            ? .client(pick(["x", "cli-0123456789abcdef", String(repeating: "~", count: 64)]))
            : .minted(session: any(), sequence: any(), answeredThrough: any())
    }

    mutating func reachability() -> Reachability {
        Reachability(lookup: pick([nil, .hostname, .ip]), address: pick([nil, "", "10.0.0.1"]), port: pick([nil, 0, 7443, .max]))
    }

    mutating func command() -> Command {
        switch random.below(29) {
        case 0: .issueOperator(operatorName(), signingRequest: SigningRequest(der: bytes()))
        case 1: .openPairing(milliseconds: any())
        case 2: .closePairing
        case 3:
            .submitPairing(
                PairingSubmission(
                    reqid: reqid(), hostname: agentName(), signingRequest: SigningRequest(der: bytes()), nonce: text(), code: "123456",
                    sourceAddress: text(), suggested: reachability()))
        case 4: .approvePairing(reqid(), reachability())
        case 5: .denyPairing(reqid())
        case 6: .unpair(agentName())
        case 7: .editAgent(agentName(), AgentEdit(rename: optional(agentName()), reachability: reachability()))
        case 8: .reserveAnew(obligation())
        case 9: .recordCertificate(obligation(), serial(), certificate: bytes(2_000), notAfter: wallClock())
        case 10: .signingFailed(obligation(), serial(), reason: text())
        case 11: .beginRotation(overlapMilliseconds: any(), isCompromised: flip(), replacing: optional(serial()))
        case 12: .abortRotation
        case 20: .revoke(pick([.serial(serial()), .agent(agentName()), .operatorNamed(operatorName())]), reason: text())
        case 21: .tagsLearned(agentKey(), tags())
        case 13: .recordIdentity(obligation(), serial(), certificate: bytes(2_000), key: sealedKey(), notAfter: wallClock())
        case 14: .memberHolds(member(), serial())
        case 15: .identityConfirmed(agentKey(), serial(), refused: serials())
        case 16: .identityRemoved(agentKey(), serial())
        case 17: .dialectLearned(agentKey(), pick(AgentDialect.allCases))
        case 18: .activate(serial())
        case 19: .retire(serial())
        case 22: .raiseVersion(MachineVersion(pick([0, 1, 2, .max])))
        case 23: .invite(member(), address: text(), secretHash: bytes(64))
        case 24:
            .admit(
                JoinRequest(member: member(), secretHash: bytes(64), publicKey: bytes(300), signingRequest: SigningRequest(der: bytes())))
        case 25: .removeMember(member())
        case 26: .setMemberAddress(member(), text())
        case 27: .reconfigure(configuration())
        default: .expire
        }
    }

    mutating func configuration() -> Configuration {
        let names = ["a", "b", "c", "d", "e", "f", "g"].map { MemberID($0)! }
        let voters = 1 + random.below(5)
        return Configuration(voters: Array(names[..<Int(voters)]), learners: flip() ? [names[6]] : [])!
    }
    mutating func agentKey() -> AgentKey { AgentKey(name: agentName(), pairing: reqid()) }
    mutating func tags() -> AgentTags {
        pick([.none, AgentTags([AgentTag(key: "env", value: ""), AgentTag(key: "röle", value: String(repeating: "v", count: 256))])!])
    }
    mutating func serials() -> [SerialNumber] { (0..<random.below(5)).map { _ in serial() } }

    mutating func proposal() -> Proposal {
        Proposal(
            command: command(), principal: principal(), request: optional(request()), time: ClusterTime(milliseconds: any()),
            calendar: wallClock())
    }

    mutating func sealedKey() -> SealedKey {
        SealedKey(name: text(), keyVersion: UInt32(truncatingIfNeeded: any()), bytes: bytes(300))
    }
    mutating func authority() -> CertificateAuthority { CertificateAuthority(certificate: bytes(900), key: sealedKey()) }

    mutating func genesis() -> GenesisState {
        GenesisState(
            cluster: ClusterID(bytes: (0..<16).map { _ in UInt8(truncatingIfNeeded: random.next()) })!,
            incarnation: Incarnation(counter: any(), random: any()), dispatcherID: DispatcherID(pick(["d", "dispatcher.example"]))!,
            members: (0..<random.below(6)).map { _ in MemberRecord(id: member(), address: text(), certificateSerial: serial()) },
            fleetCA: authority(), clusterCA: authority(),
            identity: Identity(
                serial: serial(), certificate: bytes(900), key: sealedKey(), notAfter: wallClock(),
                phase: pick([.prepared, .current, .previous, .retired, .aborting, .aborted])),
            nextSerialCounter: any())
    }

    mutating func hello() -> PeerHello {
        let genesis = genesis()
        return PeerHello(
            protocolVersion: UInt32(truncatingIfNeeded: any()), cluster: genesis.cluster, incarnation: genesis.incarnation,
            member: member(), link: pick([.control, .bulk]), address: text(), removedAt: optional(LogIndex(1 + random.below(1_000))))
    }

    mutating func heartbeat() -> Heartbeat {
        Heartbeat(
            number: heartbeatNumber(), promise: TimeSpan(nanoseconds: pick([0, 300_000_000, WireLimit.promise.nanoseconds])),
            commit: index())
    }

    mutating func message() -> Message {
        let body: Message.Body
        switch random.below(10) {
        case 0: body = .heartbeat(heartbeat())
        case 1: body = .heartbeatAnswer(HeartbeatAnswer(number: heartbeatNumber()))
        case 2:
            let previous = index()
            var next = previous
            let entries = (0..<random.below(70)).map { _ in
                next = next.next
                return Entry(index: next, term: term(), payload: bytes(), configuration: random.below(8) == 0 ? configuration() : nil)
            }
            body = .append(Append(heartbeat: heartbeat(), previousIndex: previous, previousTerm: term(), entries: entries))
        case 3:
            let result: AppendAnswer.Result = flip() ? .matched(index()) : .mismatch(hint: index(), hintTerm: term())
            body = .appendAnswer(AppendAnswer(number: heartbeatNumber(), result: result))
        case 4:
            body = .voteRequest(
                VoteRequest(
                    isPreVote: flip(), lastLogIndex: index(), lastLogTerm: term(),
                    transfer: optional(VoteRequest.Transfer(term: term(), lastHeartbeat: heartbeatNumber()))))
        case 5: body = .voteAnswer(VoteAnswer(isPreVote: flip(), granted: flip(), campaignTerm: term()))
        case 6: body = .timeoutNow(lastHeartbeat: heartbeatNumber())
        case 7: body = .readIndexRequest(ReadToken(any()))
        case 8: body = .offer(SnapshotOffer(heartbeat: heartbeat(), place: SnapshotPlace(index: index(), term: term())))
        default: body = .readIndexAnswer(ReadToken(any()), optional(index()))
        }
        return Message(term: term(), body: body)
    }

    mutating func refusal() -> Refusal {
        switch random.below(29) {
        case 0: .notAllowed
        case 1: .requestIDReused
        case 2: .requestForgotten
        case 3: .requestTableFull
        case 4: .unknownPairing(reqid())
        case 5: .unknownAgent(agentName())
        case 6: .agentNameTaken(agentName())
        case 7: .operatorNameTaken(operatorName())
        case 8: .pairingClosed
        case 9: .pairingQueueFull
        case 10: .pairingReqidTaken(reqid())
        case 11: .pairingAlreadyApproved(reqid())
        case 12: .invalid(text())
        case 13: .tooMany(text())
        case 14: .reservationGone
        case 15: .rotationUnderway
        case 16: .noRotation
        case 17: .rotationAborted
        case 18: .stepGone
        case 19: .tooManyIdentities
        case 20: .unknownOperator(operatorName())
        case 21: .operatorRevoked(operatorName())
        case 22: .unknownMember(member())
        case 23: .memberNameTaken(member())
        case 24: .invitationUnknown
        case 25: .invitationUsed(member())
        case 26: .membershipRefused(text())
        case 27: .rulesTooOld(MachineVersion(UInt32(truncatingIfNeeded: random.next())))
        default: .signingFailed(text())
        }
    }

    mutating func outcome() -> Outcome {
        switch random.below(20) {
        case 0: .underway(obligation())
        case 1: .operatorIssued(operatorName(), serial())
        case 2: .pairingOpened(until: ClusterTime(milliseconds: any()))
        case 3: .pairingClosed
        case 4: .pairingQueued(reqid())
        case 5: .pairingApproved(reqid(), agentName(), serial())
        case 6: .pairingDenied(reqid())
        case 7: .agentRemoved(agentName())
        case 8: .agentEdited(agentName())
        case 9: .stepped
        case 10: .rotationBegun(serial())
        case 11: .rotationAborted
        case 12: .revoked(at: index())
        case 13: .invited(member(), until: ClusterTime(milliseconds: any()))
        case 14: .memberAdmitted(member(), serial())
        case 15: .memberRemoved(member())
        case 16: .memberMoved(member())
        default: .refused(refusal())
        }
    }

    mutating func report() -> MemberReport {
        MemberReport(
            member: member(), version: text(), role: pick([.follower, .preCandidate, .candidate, .leader]), term: term(),
            leader: optional(member()), lastLogIndex: index(), commitIndex: index(), appliedIndex: index(), stateHash: any(),
            isReady: flip(), leaderContactMilliseconds: optional(any()),
            peers: (0..<random.below(5)).map { _ in
                PeerContact(member: member(), match: index(), lastAnswerMilliseconds: optional(any()))
            }, knows: optional(MachineVersion(pick([1, 2, .max]))), calendar: optional(wallClock()), facts: facts())
    }

    mutating func facts() -> MemberFacts {
        MemberFacts(
            disk: optional(MemberFacts.DiskSpace(freeBytes: any(), totalBytes: any())), certificateNotAfter: optional(wallClock()),
            projection: pick([.off, .waiting, .following, .failing(text())]), keptAside: UInt32(truncatingIfNeeded: any()),
            keptAsideExample: text(), operationsPort: optional(UInt16(1 + random.below(65_535))))
    }

    mutating func peerMessage() -> PeerMessage {
        switch random.below(13) {
        case 7: return .standingRequest
        case 8: return .removed(at: index())
        case 0:
            return .forward(
                ForwardedRequest(
                    number: any(), operation: flip() ? .command(command()) : .transfer(to: optional(member())), principal: principal(),
                    request: request(), remainingMilliseconds: pick([0, 5_000, WireLimit.remainingMilliseconds]), believedTerm: term()))
        case 1:
            let result: ForwardAnswer.Result
            switch random.below(4) {
            case 0: result = .notLeader(optional(member()), term: term())
            case 1: result = .transferred(to: member())
            case 2: result = .transferFailed
            default: result = .settled(outcome(), through: index())
            }
            return .forwardAnswer(ForwardAnswer(number: any(), result: result))
        case 2: return .reportRequest(number: any())
        case 3: return .report(number: any(), report())
        case 4: return .holding(serials())
        case 6: return .tagsObserved(agentKey(), tags())
        case 5: return .observed(AgentObservation(agent: agentKey(), accepted: serial(), refused: serials()))
        default:
            return .consensus(
                message(), SenderNote(calendar: wallClock(), knows: MachineVersion(pick([1, 2, .max]))))
        }
    }

    mutating func bulkMessage() -> BulkMessage {
        let kind: BulkMessage.Kind
        switch random.below(8) {
        case 0: kind = .open(.runRecord(reqid()))
        case 6: kind = .open(.snapshot(SnapshotPlace(index: LogIndex(counted()), term: Term(counted()))))
        case 1: kind = .read(offset: counted(), count: pick([1, 4_096, UInt32(WireLimit.bulkBytes)]))
        case 2: kind = .close
        case 3: kind = .opened(size: counted(), tag: any())
        case 4: kind = .absent
        case 5: kind = .bytes(offset: counted(), bytes(3_000))
        default: kind = .failed(text())
        }
        return BulkMessage(any(), kind)
    }
}
