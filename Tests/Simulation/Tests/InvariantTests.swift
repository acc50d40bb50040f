// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Each invariant is fed a history by hand that breaks it and must refuse it, beside one that is fine.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Simulation
import Testing
import Wire

@Suite("Invariants bite")
struct InvariantTests {
    let a: MemberID
    let b: MemberID
    let c: MemberID
    let serial: SerialNumber
    let name: OperatorName
    init() throws {
        a = try #require(MemberID("a"))
        b = try #require(MemberID("b"))
        c = try #require(MemberID("c"))
        serial = try #require(SerialNumber(bytes: [0x5c, 1]))
        name = try #require(OperatorName("alice"))
    }
    func mark(_ term: UInt64, _ chain: UInt64) -> LogMark { LogMark(term: Term(term), chain: chain) }
    func at(_ milliseconds: UInt64) -> TrueTime { TrueTime(nanoseconds: milliseconds * 1_000_000) }

    @Test("an agent that trusts nothing that a member could present")
    func agentsAcceptMembers() throws {
        let other = try #require(SerialNumber(bytes: [0x5c, 2]))
        let agent = try #require(AgentName("web-1"))
        let invariant = AgentsAcceptMembers()
        try invariant.presents(a, [other, serial], to: agent, whichTrusts: [serial])
        #expect(throws: Broken.self) { try invariant.presents(a, [other], to: agent, whichTrusts: [serial]) }
        #expect(throws: Broken.self) { try invariant.presents(a, [other], to: agent, whichTrusts: []) }
        try invariant.retires(serial, inUse: [other], agent: agent, trusts: [serial, other])
        #expect(throws: Broken.self) { try invariant.retires(serial, inUse: [other], agent: agent, trusts: [serial]) }
    }

    @Test("a message that is read as another one")
    func messageFidelity() throws {
        var invariant = MessageFidelity()
        let note = SenderNote(calendar: WallClock(secondsSince1970: 1_000_000), knows: .newest)
        func heartbeat(_ number: UInt64, _ term: UInt64) -> PeerMessage {
            let heartbeat = Heartbeat(number: HeartbeatNumber(number), promise: .milliseconds(300), commit: LogIndex(7))
            return .consensus(Message(term: Term(term), body: .heartbeat(heartbeat)), note)
        }
        let bytes = heartbeat(16, 3).encoded()
        #expect(try invariant.reads(bytes, sent: heartbeat(16, 3), by: a) == heartbeat(16, 3))
        #expect(throws: Broken.self) { try invariant.reads(bytes, sent: heartbeat(16, 4), by: a) }
        #expect(throws: Broken.self) { try invariant.reads(bytes.dropLast(), sent: heartbeat(16, 3), by: a) }
        // Most heartbeats are handed over as they are; nothing else is.
        func isWritten(_ message: PeerMessage) -> Bool {
            if case .bytes(let written) = invariant.parcel(of: message) { written == message.encoded() } else { false }
        }
        #expect((1...16).count { isWritten(heartbeat($0, 3)) } == 2)
        #expect((1...16).allSatisfy { isWritten(.reportRequest(number: $0)) })
    }

    @Test("a state that is not what its snapshot was taken of")
    func imageFidelity() throws {
        var invariant = ImageFidelity()
        var state = DispatcherState(genesis: try smallGenesis())
        try invariant.survives(state)
        let before = state
        state.applyNothing(at: LogIndex(1), term: Term(1))
        try invariant.survives(state)
        #expect(throws: Broken.self) { try invariant.isSame(before, as: state) }
        // It looks where something is new, and at intervals.
        #expect(try invariant.committed(state))
        #expect(try !invariant.committed(state))
        let opening = Proposal(
            command: .openPairing(milliseconds: 1_000), principal: .localUser(uid: 0), request: RequestID(client: "r"), time: .zero,
            calendar: WallClock(secondsSince1970: 1_000_000))
        _ = state.apply(opening, at: LogIndex(2), term: Term(1))
        #expect(try invariant.committed(state))
        state.applyNothing(at: LogIndex(255), term: Term(1))
        #expect(try !invariant.committed(state))
        state.applyNothing(at: LogIndex(256), term: Term(1))
        #expect(try invariant.committed(state))
    }

    private func smallGenesis() throws -> GenesisState {
        let key = SealedKey(name: "key", keyVersion: 1, bytes: [1])
        let authority = CertificateAuthority(certificate: [2], key: key)
        return GenesisState(
            cluster: try #require(ClusterID(bytes: Array(0..<16))), incarnation: Incarnation(counter: 1, random: 7),
            dispatcherID: try #require(DispatcherID("dispatcher")),
            members: [MemberRecord(id: a, address: "127.0.0.1:7446", certificateSerial: serial)], fleetCA: authority, clusterCA: authority,
            identity: Identity(
                serial: serial, certificate: [3], key: key, notAfter: WallClock(secondsSince1970: 2_000_000_000), phase: .current),
            nextSerialCounter: 2)
    }

    @Test("two leaders in one term")
    func electionSafety() throws {
        var invariant = ElectionSafety()
        try invariant.leads(Life(a, 1), in: Term(1))
        try invariant.leads(Life(a, 1), in: Term(1))
        try invariant.leads(Life(b, 1), in: Term(2))
        #expect(throws: Broken.self) { try invariant.leads(Life(b, 1), in: Term(1)) }
    }

    @Test("a leader that leads on after it was restarted")
    func electionSafetyOverRestarts() throws {
        var invariant = ElectionSafety()
        try invariant.leads(Life(a, 1), in: Term(1))
        #expect(throws: Broken.self) { try invariant.leads(Life(a, 2), in: Term(1)) }
    }

    @Test("two entries of one index and term with different pasts")
    func logMatching() throws {
        var invariant = LogMatching()
        try invariant.wrote(a, at: LogIndex(3), mark(2, 7))
        try invariant.wrote(b, at: LogIndex(3), mark(3, 8))
        #expect(throws: Broken.self) { try invariant.wrote(b, at: LogIndex(3), mark(2, 8)) }
    }

    @Test("a leader without what was committed")
    func leaderCompleteness() throws {
        var invariant = LeaderCompleteness()
        invariant.committed(mark(1, 11), in: Term(1))
        invariant.committed(mark(2, 12), in: Term(2))
        try invariant.leads(b, in: Term(3)) { $0 == LogIndex(2) ? mark(2, 12) : nil }
        // Committed in term 2 binds the leaders of later terms only.
        try invariant.leads(b, in: Term(2)) { $0 == LogIndex(1) ? mark(1, 11) : nil }
        #expect(throws: Broken.self) { try invariant.leads(b, in: Term(3)) { $0 == LogIndex(1) ? mark(1, 11) : nil } }
    }

    @Test("a commit without a quorum's disks, of an old term, twice different, or cut off")
    func committedStays() throws {
        var invariant = CommittedStays()
        try invariant.advanced(by: a, term: Term(1), isLeader: true, adding: [mark(1, 11)], holders: [a, b], quorum: 2)
        try invariant.believes(b, LogIndex(1), mark(1, 11))
        try invariant.truncates(b, from: LogIndex(1), mark(2, 99))
        #expect(throws: Broken.self) { try invariant.believes(b, LogIndex(1), mark(1, 12)) }
        #expect(throws: Broken.self) { try invariant.believes(b, LogIndex(2), mark(1, 12)) }
        #expect(throws: Broken.self) { try invariant.truncates(b, from: LogIndex(1), mark(1, 11)) }
        var other = invariant
        #expect(throws: Broken.self) {
            try invariant.advanced(by: a, term: Term(1), isLeader: true, adding: [mark(1, 12)], holders: [b], quorum: 2)
        }
        #expect(throws: Broken.self) {
            try other.advanced(by: a, term: Term(3), isLeader: true, adding: [mark(2, 12)], holders: [a, b], quorum: 2)
        }
    }

    @Test("another state at the same index, or one that is not on disk")
    func stateMachineSafety() throws {
        var invariant = StateMachineSafety()
        try invariant.applied(a, through: LogIndex(5), hash: 1)
        try invariant.isDurable(a, applied: LogIndex(5), durable: LogIndex(5))
        try invariant.appliedWhole(a, through: LogIndex(5), hash: 1)
        #expect(throws: Broken.self) { try invariant.applied(b, through: LogIndex(5), hash: 2) }
        #expect(throws: Broken.self) { try invariant.appliedWhole(b, through: LogIndex(5), hash: 2) }
        #expect(throws: Broken.self) { try invariant.isDurable(a, applied: LogIndex(6), durable: LogIndex(5)) }
    }

    @Test("an answer that the next leader does not know")
    func durability() throws {
        let request = try #require(RequestID(client: "x"))
        var invariant = Durability()
        invariant.acknowledge(
            Acknowledged(principal: .localUser(uid: 1), request: request, command: .closePairing, outcome: .pairingClosed))
        try invariant.mustHold(a) { _ in .pairingClosed }
        #expect(throws: Broken.self) { try invariant.mustHold(b) { _ in nil } }
        #expect(throws: Broken.self) { try invariant.mustHold(b) { _ in .stepped } }
    }

    @Test("one request with two outcomes, an answer too early, or an effect twice")
    func exactlyOnce() throws {
        let request = try #require(RequestID(client: "x"))
        let who = Principal.localUser(uid: 1)
        var invariant = ExactlyOnce()
        try invariant.answered(a, who, request, .operatorIssued(name, serial))
        try invariant.answered(b, who, request, .operatorIssued(name, serial))
        #expect(throws: Broken.self) { try invariant.answered(b, who, request, .pairingClosed) }
        #expect(throws: Broken.self) { try invariant.answered(b, .localUser(uid: 2), request, .underway(ObligationID(LogIndex(4)))) }
        try invariant.applied(who, request, at: LogIndex(1), outcome: .pairingClosed, changed: true)
        try invariant.applied(who, request, at: LogIndex(2), outcome: .pairingClosed, changed: false)
        #expect(throws: Broken.self) { try invariant.applied(who, request, at: LogIndex(3), outcome: .pairingClosed, changed: true) }
    }

    @Test("counters that fall")
    func monotoneCounters() throws {
        func reading(_ term: UInt64, _ commit: UInt64, _ serials: UInt64) -> MonotoneCounters.Reading {
            MonotoneCounters.Reading(
                term: Term(term), commit: LogIndex(commit), applied: LogIndex(commit), time: .zero, serialCounter: serials)
        }
        var invariant = MonotoneCounters()
        try invariant.observe(Life(a, 1), reading(2, 5, 9))
        // After a restart the commit index begins anew; the term does not.
        try invariant.observe(Life(a, 2), reading(2, 0, 1))
        #expect(throws: Broken.self) { try invariant.observe(Life(a, 1), reading(1, 5, 9)) }
        #expect(throws: Broken.self) { try invariant.observe(Life(a, 1), reading(2, 4, 9)) }
        #expect(throws: Broken.self) { try invariant.observe(Life(a, 1), reading(2, 5, 8)) }
        invariant.said(a, Term(3))
        try invariant.begins(Life(a, 3), term: Term(3))
        #expect(throws: Broken.self) { try invariant.begins(Life(a, 3), term: Term(2)) }
        try invariant.committed(LogIndex(1), time: ClusterTime(milliseconds: 5), serialCounter: 4)
        #expect(throws: Broken.self) { try invariant.committed(LogIndex(2), time: ClusterTime(milliseconds: 4), serialCounter: 4) }
    }

    @Test("two leases at once, by themselves, by the age of an effect, or by an election")
    func leaseExclusivity() throws {
        var invariant = LeaseExclusivity(effectAge: .milliseconds(10))
        try invariant.observe(Life(a, 1), term: Term(1), end: at(200), at: at(0))
        try invariant.acts(Life(a, 1), "a duty", at: at(199))
        #expect(throws: Broken.self) { try invariant.acts(Life(a, 1), "a duty", at: at(201)) }
        #expect(throws: Broken.self) { try invariant.acts(Life(b, 1), "a duty", at: at(100)) }
        try invariant.elected(b, term: Term(2), at: at(200))
        #expect(throws: Broken.self) { try invariant.elected(b, term: Term(2), at: at(199)) }
        #expect(throws: Broken.self) { try invariant.observe(Life(b, 1), term: Term(2), end: at(400), at: at(150)) }
        #expect(throws: Broken.self) { try invariant.observe(Life(b, 1), term: Term(2), end: at(400), at: at(205)) }
        try invariant.observe(Life(b, 1), term: Term(2), end: at(400), at: at(210))
        invariant.ends(b, at: at(250))
        try invariant.observe(Life(c, 1), term: Term(3), end: at(600), at: at(251))
    }

    @Test("a serial twice, signed without a reservation, or in two certificates")
    func uniqueSerials() throws {
        let used = try #require(SerialNumber(bytes: [0x5c, 9]))
        let reservation = UniqueSerials.Reservation(obligation: ObligationID(LogIndex(1)), term: Term(1))
        let other = UniqueSerials.Reservation(obligation: ObligationID(LogIndex(2)), term: Term(1))
        var invariant = UniqueSerials(usedBefore: [used])
        #expect(throws: Broken.self) { try invariant.reserves(used, reservation) }
        #expect(throws: Broken.self) { try invariant.signs(Life(a, 1), serial, reservation) }
        #expect(throws: Broken.self) { try invariant.releases(serial, [1], certified: serial) }
        try invariant.reserves(serial, reservation)
        try invariant.reserves(serial, reservation)
        try invariant.signs(Life(a, 1), serial, reservation)
        #expect(throws: Broken.self) { try invariant.signs(Life(b, 1), serial, reservation) }
        #expect(throws: Broken.self) { try invariant.reserves(serial, other) }
        #expect(throws: Broken.self) { try invariant.signs(Life(a, 1), serial, other) }
        try invariant.releases(serial, [1], certified: serial)
        #expect(throws: Broken.self) { try invariant.releases(serial, [2], certified: serial) }
        #expect(throws: Broken.self) { try invariant.releases(serial, [1], certified: used) }
    }

    @Test("a message that says what the disk does not hold")
    func durableBeforeVisible() throws {
        let invariant = DurableBeforeVisible()
        var durable = KnownLog()
        durable.ballot = Ballot(term: Term(3), vote: b)
        durable.marks = [mark(1, 11)]
        func message(_ term: UInt64, _ body: Message.Body) -> Message { Message(term: Term(term), body: body) }
        let vote = Message.Body.voteAnswer(VoteAnswer(isPreVote: false, granted: true, campaignTerm: Term(3)))
        try invariant.sends(a, message(3, vote), to: b, durable: durable)
        #expect(throws: Broken.self) { try invariant.sends(a, message(3, vote), to: c, durable: durable) }
        #expect(throws: Broken.self) { try invariant.sends(a, message(4, vote), to: b, durable: durable) }
        let request = Message.Body.voteRequest(
            VoteRequest(isPreVote: false, lastLogIndex: LogIndex(1), lastLogTerm: Term(1), transfer: nil))
        #expect(throws: Broken.self) { try invariant.sends(a, message(3, request), to: b, durable: durable) }
        func matched(_ index: UInt64) -> Message.Body {
            .appendAnswer(AppendAnswer(number: HeartbeatNumber(1), result: .matched(LogIndex(index))))
        }
        try invariant.sends(a, message(3, matched(1)), to: b, durable: durable)
        #expect(throws: Broken.self) { try invariant.sends(a, message(3, matched(2)), to: b, durable: durable) }
        #expect(throws: Broken.self) {
            try invariant.sends(a, message(4, .heartbeatAnswer(HeartbeatAnswer(number: HeartbeatNumber(1)))), to: b, durable: durable)
        }
    }

    @Test("two votes in one term")
    func oneVotePerTerm() throws {
        var invariant = OneVotePerTerm()
        try invariant.votes(a, in: Term(1), for: b)
        try invariant.votes(a, in: Term(1), for: b)
        try invariant.votes(a, in: Term(2), for: c)
        #expect(throws: Broken.self) { try invariant.votes(a, in: Term(1), for: c) }
    }

    @Test("a vote within a promise, also of an earlier life")
    func promiseKept() throws {
        var invariant = PromiseKept(rateBoundPerMille: 100)
        invariant.promises(a, to: b, .milliseconds(330), at: at(0))
        try invariant.helps(a, c, isTransfer: false, at: at(300))
        try invariant.helps(a, c, isTransfer: true, at: at(10))
        try invariant.helps(a, b, isTransfer: false, at: at(10))
        #expect(throws: Broken.self) { try invariant.helps(a, c, isTransfer: false, at: at(299)) }
        try invariant.follows(a, b, to: Term(2), isTransfer: false, at: at(299))
        try invariant.follows(a, c, to: Term(2), isTransfer: true, at: at(299))
        #expect(throws: Broken.self) { try invariant.follows(a, c, to: Term(2), isTransfer: false, at: at(299)) }
        invariant.restarts(a)
        // Nobody heard of it.
        try invariant.helps(a, c, isTransfer: false, at: at(100))
        invariant.promises(a, to: b, .milliseconds(330), at: at(0))
        invariant.answers(a)
        invariant.restarts(a)
        #expect(throws: Broken.self) { try invariant.helps(a, c, isTransfer: false, at: at(100)) }
    }

    @Test("a term that nobody else agreed to")
    func consentBeforeTerm() throws {
        var invariant = ConsentBeforeTerm()
        try invariant.begins(Life(a, 1), Term(1), quorum: 1)
        #expect(throws: Broken.self) { try invariant.begins(Life(a, 1), Term(1), quorum: 2) }
        invariant.consents(b, to: Life(a, 1), in: Term(1))
        try invariant.begins(Life(a, 1), Term(1), quorum: 2)
        #expect(throws: Broken.self) { try invariant.begins(Life(a, 1), Term(2), quorum: 2) }
        #expect(throws: Broken.self) { try invariant.begins(Life(a, 2), Term(1), quorum: 2) }
        invariant.isTold(Life(c, 1), in: Term(4))
        try invariant.begins(Life(c, 1), Term(5), quorum: 2)
    }

    @Test("a leader that nobody answers and that goes on")
    func leadersKnowTheirQuorum() throws {
        func clock(_ milliseconds: UInt64) -> Instant { Instant.zero + .milliseconds(milliseconds) }
        let voters = [a, b, c]
        var invariant = LeadersKnowTheirQuorum(timing: Timing())
        invariant.elected(Life(a, 1), term: Term(1), at: clock(0))
        try invariant.leads(Life(a, 1), term: Term(1), voters: voters, quorum: 2, at: clock(600))
        #expect(throws: Broken.self) { try invariant.leads(Life(a, 1), term: Term(1), voters: voters, quorum: 2, at: clock(700)) }
        invariant.answered(Life(a, 1), term: Term(1), by: c, at: clock(500))
        try invariant.leads(Life(a, 1), term: Term(1), voters: voters, quorum: 2, at: clock(1_100))
        #expect(throws: Broken.self) { try invariant.leads(Life(a, 1), term: Term(1), voters: voters, quorum: 2, at: clock(1_200)) }
    }

    @Test("a read that misses what somebody knew")
    func freshReads() throws {
        var invariant = FreshReads()
        invariant.known(LogIndex(7))
        invariant.known(LogIndex(5))
        #expect(invariant.acknowledged == LogIndex(7))
        try invariant.reads(a, "linearizable", mustSee: invariant.acknowledged, sees: LogIndex(7))
        #expect(throws: Broken.self) { try invariant.reads(a, "linearizable", mustSee: invariant.acknowledged, sees: LogIndex(6)) }
    }

    @Test("a caller who is answered twice, or never")
    func oneAnswerPerCaller() throws {
        let deadline = Instant.zero + .milliseconds(100)
        var invariant = OneAnswerPerCaller()
        invariant.asks(Life(a, 1), Ticket(1), deadline: deadline)
        try invariant.ticked(Life(a, 1), at: Instant.zero + .milliseconds(150), grace: .milliseconds(200), answering: [])
        try invariant.ticked(Life(a, 1), at: Instant.zero + .milliseconds(400), grace: .milliseconds(200), answering: [Ticket(1)])
        #expect(throws: Broken.self) {
            try invariant.ticked(Life(a, 1), at: Instant.zero + .milliseconds(400), grace: .milliseconds(200), answering: [])
        }
        try invariant.answers(Life(a, 1), Ticket(1), isGone: false)
        try invariant.answers(Life(a, 1), Ticket(1), isGone: true)
        #expect(throws: Broken.self) { try invariant.answers(Life(a, 1), Ticket(1), isGone: false) }
    }

    @Test("a pairing that is decided in two ways")
    func pairingDecidedOnce() throws {
        func decision(_ verdict: PairingDecision.Verdict) -> PairingDecision {
            PairingDecision(reqid: Reqid(1), nonce: "n", verdict: verdict)
        }
        var invariant = PairingDecidedOnce()
        try invariant.announces(a, decision(.denied))
        try invariant.announces(b, decision(.denied))
        #expect(throws: Broken.self) { try invariant.announces(b, decision(.approved(certificate: [1]))) }
    }

    @Test("a certificate that is dated by a calendar of its own")
    func soundCalendar() throws {
        let late = TrueTime.zero + .seconds(20)
        var invariant = SoundCalendar()
        try invariant.dates(Life(a, 1), own: 2, others: [-2, 0], at: late)
        // Of two nobody can say whose is wrong.
        try invariant.dates(Life(a, 1), own: 1_000, others: [0], at: late)
        #expect(throws: Broken.self) { try invariant.dates(Life(a, 1), own: 1_000, others: [0, -2], at: late) }
        invariant.changed(at: late)
        try invariant.dates(Life(a, 1), own: 1_000, others: [0, -2], at: late + .seconds(5))
        #expect(throws: Broken.self) { try invariant.dates(Life(a, 1), own: 1_000, others: [0, -2], at: late + .seconds(9)) }

        // What it says of itself holds at once, in that life and term.
        try invariant.wantsSigned(Life(a, 1), in: Term(3))
        invariant.says(Life(a, 1), in: Term(3), isOff: true)
        #expect(throws: Broken.self) { try invariant.wantsSigned(Life(a, 1), in: Term(3)) }
        try invariant.wantsSigned(Life(a, 1), in: Term(4))
        try invariant.wantsSigned(Life(b, 1), in: Term(3))
        invariant.says(Life(a, 1), in: Term(3), isOff: false)
        try invariant.wantsSigned(Life(a, 1), in: Term(3))
    }

    @Test("a revoked certificate that gets something done")
    func revokedStaysOut() throws {
        guard let name = OperatorName("ann"), let serial = SerialNumber(bytes: [9]) else { throw Broken("fixture", [], "no name") }
        let ann = Principal.operatorCertificate(name, serial)
        var invariant = RevokedStaysOut()
        try invariant.applied(ann, at: LogIndex(1), outcome: .pairingClosed, changed: true)
        invariant.revokes(serial)
        try invariant.applied(ann, at: LogIndex(2), outcome: .refused(.notAllowed), changed: true)
        try invariant.applied(.localUser(uid: 0), at: LogIndex(3), outcome: .pairingClosed, changed: true)
        // Known under its request id from before: nothing happens again.
        try invariant.applied(ann, at: LogIndex(4), outcome: .pairingClosed, changed: false)
        #expect(throws: Broken.self) { try invariant.applied(ann, at: LogIndex(5), outcome: .pairingClosed, changed: true) }
    }

    @Test("a request that is forwarded for nobody, for a leader, twice, too long, or without end")
    func forwarding() throws {
        let life = Life(a, 1)
        let (user, other) = (Principal.localUser(uid: 1), Principal.localUser(uid: 2))
        func request(_ principal: Principal, _ remaining: UInt64 = 100, _ command: Command = .closePairing) -> ForwardedRequest {
            ForwardedRequest(
                number: 1, operation: .command(command), principal: principal,
                request: RequestID.minted(session: 1, sequence: 1, answeredThrough: 0),
                remainingMilliseconds: remaining, believedTerm: Term(1))
        }
        var invariant = Forwarding(leastInterval: .milliseconds(25))
        #expect(throws: Broken.self) { try invariant.sends(life, request(user), hears: nil) }
        invariant.asks(life, .command(.closePairing), as: user, within: .milliseconds(100))
        try invariant.sends(life, request(user), hears: nil)
        #expect(throws: Broken.self) { try invariant.sends(life, request(other), hears: nil) }
        #expect(throws: Broken.self) { try invariant.sends(Life(a, 2), request(user), hears: nil) }
        #expect(throws: Broken.self) { try invariant.sends(life, request(user, 100, .abortRotation), hears: nil) }
        #expect(throws: Broken.self) { try invariant.sends(life, request(user), hears: request(user)) }
        #expect(throws: Broken.self) { try invariant.sends(life, request(user, 101), hears: nil) }
        invariant.asks(life, .command(.expire), as: .leader, within: .milliseconds(100))
        #expect(throws: Broken.self) { try invariant.sends(life, request(.leader, 100, .expire), hears: nil) }
        #expect(throws: Broken.self) { for _ in 0..<20 { try invariant.sends(life, request(user), hears: nil) } }
        func proposal(_ principal: Principal, _ request: RequestID?) -> Proposal {
            Proposal(command: .expire, principal: principal, request: request, time: .zero, calendar: WallClock(secondsSince1970: 0))
        }
        try invariant.committed(proposal(.leader, nil), at: LogIndex(1))
        try invariant.committed(proposal(user, .minted(session: 1, sequence: 1, answeredThrough: 0)), at: LogIndex(1))
        #expect(throws: Broken.self) {
            try invariant.committed(proposal(.leader, .minted(session: 1, sequence: 1, answeredThrough: 0)), at: LogIndex(1))
        }
    }

    @Test("a leader that leads on while its disk hangs")
    func leadersCanWrite() throws {
        let timing = Timing()
        var invariant = LeadersCanWrite(timing: timing)
        let (life, start) = (Life(a, 1), Instant(nanosecondsSinceBoot: 1_000))
        let later = start + timing.journalStall + timing.heartbeat + .milliseconds(1)
        try invariant.leads(life, at: later)
        invariant.writes(life, WriteID(1), at: start)
        try invariant.leads(life, at: start + timing.journalStall)
        #expect(throws: Broken.self) { try invariant.leads(life, at: later) }
        try invariant.leads(Life(a, 2), at: later)
        invariant.writes(life, WriteID(2), at: start)
        invariant.wrote(life, through: WriteID(1), at: start + .milliseconds(500))
        try invariant.leads(life, at: later)
        #expect(throws: Broken.self) { try invariant.leads(life, at: later + .milliseconds(500)) }
        invariant.wrote(life, through: WriteID(2), at: later)
        try invariant.leads(life, at: later + .seconds(60))
    }

    @Test("a right with an old token, and what was done under one")
    func fencingTokens() throws {
        func token(_ incarnation: UInt64, _ index: UInt64) -> FencingTokens.Token {
            .init(incarnation: incarnation, index: LogIndex(index))
        }
        let obligation = ObligationID(LogIndex(7))
        let later = try #require(SerialNumber(bytes: [0x5c, 200]))
        var invariant = FencingTokens()
        #expect(throws: Broken.self) { try invariant.counts(obligation, serial) }
        try invariant.grants(token(1, 7), obligation, serial)
        try invariant.counts(obligation, serial)
        try invariant.grants(token(1, 9), obligation, later)
        #expect(throws: Broken.self) { try invariant.counts(obligation, serial) }
        #expect(throws: Broken.self) { try invariant.grants(token(1, 9), obligation, serial) }
        // A new incarnation begins its log anew, and its tokens are greater all the same.
        try invariant.grants(token(2, 1), obligation, serial)
        #expect(throws: Broken.self) { try invariant.grants(token(1, 1_000), obligation, later) }
    }

    @Test("a secret as it is")
    func noSecretInTheClear() throws {
        let invariant = NoSecretInTheClear()
        let secret = NoSecretInTheClear.secret("key")
        try invariant.leaves(a, NoSecretInTheClear.sealed(secret), as: "a message")
        try invariant.leaves(a, [1] + secret.dropLast(4), as: "a message")
        #expect(throws: Broken.self) { try invariant.leaves(a, [1, 1, 0x73] + secret + [0], as: "a message") }
    }

    @Test("an entry that is applied twice, or moves the state as it should not")
    func applyIsTotal() throws {
        let invariant = ApplyIsTotal()
        func position(_ index: UInt64, _ time: UInt64) -> (index: LogIndex, time: ClusterTime) {
            (LogIndex(index), ClusterTime(milliseconds: time))
        }
        try invariant.applied("x", before: position(4, 9), after: position(5, 9))
        #expect(throws: Broken.self) { try invariant.applied("x", before: position(4, 9), after: position(4, 9)) }
        #expect(throws: Broken.self) { try invariant.applied("x", before: position(4, 9), after: position(5, 8)) }
        #expect(throws: Broken.self) { try invariant.repeated("x", before: 1, after: 2) }
    }

    @Test("a timer that stands still")
    func timersMoveOn() throws {
        let now = Instant.zero + .milliseconds(5)
        try TimersMoveOn().stepped(a, at: now, nextDeadline: Instant.zero + .milliseconds(6))
        #expect(throws: Broken.self) { try TimersMoveOn().stepped(a, at: now, nextDeadline: now) }
    }

    @Test("members that do not come together when all is well")
    func convergence() throws {
        func view(_ member: MemberID, _ isLeader: Bool, _ hash: UInt64, term: UInt64 = 2) -> Convergence.View {
            Convergence.View(member: member, isLeader: isLeader, term: Term(term), applied: LogIndex(4), hash: hash)
        }
        let invariant = Convergence()
        let fine = [view(a, true, 1), view(b, false, 1), view(c, false, 1)]
        try invariant.mustHaveLeader(fine, after: .seconds(3))
        try invariant.mustAgree(fine, openRequests: [], after: .seconds(9))
        #expect(throws: Broken.self) { try invariant.mustHaveLeader([view(a, false, 1), view(b, false, 1)], after: .seconds(3)) }
        #expect(throws: Broken.self) { try invariant.mustHaveLeader([view(a, true, 1), view(b, false, 1, term: 3)], after: .seconds(3)) }
        #expect(throws: Broken.self) { try invariant.mustAgree(fine, openRequests: ["x"], after: .seconds(9)) }
        #expect(throws: Broken.self) {
            try invariant.mustAgree([view(a, true, 1), view(b, false, 2)], openRequests: [], after: .seconds(9))
        }
    }
}
