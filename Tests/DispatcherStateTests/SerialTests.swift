// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Reserve, sign, record: no serial twice.

import Consensus
import CtrlExec
import DispatcherState
import Testing

@Suite struct SerialTests {
    private let later = WallClock(secondsSince1970: 1_900_000_000)

    private func begin(_ log: inout Log) throws -> Obligation {
        log.apply(.issueOperator(try operatorName("ada"), signingRequest: SigningRequest(der: [1])), .client("x"))
        return try #require(log.state.obligations.last)
    }

    @Test("a serial is 5c, seven bytes of the incarnation and the counter")
    func shape() {
        let serial = serialNumber(incarnation: Incarnation(counter: 1, random: 0xff11_2233_4455_6677), counter: 258)
        #expect(serial.hexadecimal == "5c112233445566770000000000000102")
    }

    @Test("issuing reserves the next serial for the leader of the entry's term")
    func reserves() throws {
        var log = try Log()
        log.term = Term(3)
        let obligation = try begin(&log)
        #expect(obligation.serial == serialNumber(incarnation: log.state.genesis.incarnation, counter: 5))
        #expect(obligation.term == Term(3))
        #expect(obligation.reservedAt == log.calendar)
        #expect(log.state.nextSerialCounter == 6)
    }

    @Test("the record makes the operator and ends the obligation")
    func records() throws {
        var log = try Log()
        let obligation = try begin(&log)
        let applied = try log.sign(certificate: [0x30, 7])
        let name = try operatorName("ada")
        #expect(applied.outcome == .stepped)
        #expect(applied.settled == [Settled(obligation: obligation.id, outcome: .operatorIssued(name, obligation.serial))])
        #expect(log.state.operatorRecord(named: name)?.certificate == [0x30, 7])
        #expect(log.state.operatorRecord(named: name, serial: obligation.serial)?.notAfter == later)
        #expect(log.state.obligations.isEmpty)
    }

    @Test("a second record of the same certificate is turned away")
    func secondRecord() throws {
        var log = try Log()
        let obligation = try begin(&log)
        try log.sign()
        let again = log.apply(.recordCertificate(obligation.id, obligation.serial, certificate: [1], notAfter: later), by: .leader)
        #expect(again == Applied(outcome: .refused(.reservationGone)))
    }

    @Test("a leader of a later term burns the reservation and makes its own")
    func reservesAnew() throws {
        var log = try Log()
        let old = try begin(&log)
        log.term = Term(2)
        log.calendar = WallClock(secondsSince1970: 1_800_000_100)
        #expect(log.outcome(.reserveAnew(old.id), by: .leader) == .stepped)
        let new = try #require(log.state.obligations.first)
        #expect(new.id == old.id && new.serial != old.serial && new.term == Term(2))
        #expect(new.reservedAt == log.calendar)

        // What the old leader signed comes late, under its term or the new one.
        for term in [Term(1), Term(2)] {
            log.term = term
            let late = log.outcome(.recordCertificate(old.id, old.serial, certificate: [1], notAfter: later), by: .leader)
            #expect(late == .refused(.reservationGone))
            #expect(log.outcome(.signingFailed(old.id, old.serial, reason: "late"), by: .leader) == .refused(.reservationGone))
        }
        #expect(log.state.operators.isEmpty)
        try log.sign()
        #expect(log.state.operators.map(\.serial) == [new.serial])
    }

    @Test("a reservation counts only in the term that made it")
    func otherTerm() throws {
        var log = try Log()
        try log.term = begin(&log).term.next
        #expect(try log.sign().outcome == .refused(.reservationGone))
        #expect(log.state.obligations.count == 1)
    }

    @Test("reserving anew in the same or an earlier term does nothing", arguments: [Term(4), Term(5)])
    func sameTerm(_ term: Term) throws {
        var log = try Log()
        log.term = Term(5)
        let obligation = try begin(&log)
        log.term = term
        #expect(log.outcome(.reserveAnew(obligation.id), by: .leader) == .refused(.reservationGone))
        #expect(log.state.obligations == [obligation])
        #expect(log.state.nextSerialCounter == 6)
    }

    @Test("failed signing ends the obligation, tells the reason and burns the serial")
    func failure() throws {
        var log = try Log()
        let obligation = try begin(&log)
        let applied = log.apply(.signingFailed(obligation.id, obligation.serial, reason: "no\nkey"), by: .leader)
        let outcome = Outcome.refused(.signingFailed("no?key"))
        #expect(applied.settled == [Settled(obligation: obligation.id, outcome: outcome)])
        let command = Command.issueOperator(try operatorName("ada"), signingRequest: SigningRequest(der: [1]))
        #expect(log.outcome(command, .client("x")) == outcome)
        #expect(log.state.obligations.isEmpty)
        #expect(try log.issue("ada") != obligation.serial)
        #expect(log.state.operators.count == 1)
    }

    @Test("an empty or huge certificate is not recorded", arguments: [0, 16 * 1024 + 1])
    func badCertificate(_ count: Int) throws {
        var log = try Log()
        _ = try begin(&log)
        let applied = try log.sign(certificate: [UInt8](repeating: 1, count: count))
        guard case .refused(.invalid) = applied.outcome else {
            Issue.record("recorded: \(applied)")
            return
        }
        #expect(log.state.obligations.count == 1)
    }

    @Test("at the counter's end nothing more is issued and nothing overflows")
    func exhausted() throws {
        var log = try Log(nextSerialCounter: .max - 1)
        let obligation = try begin(&log)
        #expect(log.state.nextSerialCounter == .max)
        guard case .refused(.tooMany) = log.outcome(.issueOperator(try operatorName("bob"), signingRequest: SigningRequest(der: [1])))
        else {
            Issue.record("issued")
            return
        }
        log.term = Term(2)
        guard case .refused(.tooMany) = log.outcome(.reserveAnew(obligation.id), by: .leader) else {
            Issue.record("reserved")
            return
        }
        #expect(log.state.obligations == [obligation])
    }

    @Test("at most 1,000 certificates wait to be signed")
    func manyObligations() throws {
        var log = try Log()
        for number in 0..<1_000 {
            log.apply(.issueOperator(try operatorName("op\(number)"), signingRequest: SigningRequest(der: [1])))
        }
        #expect(log.state.obligations.count == 1_000)
        let counter = log.state.nextSerialCounter
        guard case .refused(.tooMany) = log.outcome(.issueOperator(try operatorName("more"), signingRequest: SigningRequest(der: [1])))
        else {
            Issue.record("one more was accepted")
            return
        }
        #expect(log.state.nextSerialCounter == counter)
    }

    @Test("several certificates of one operator are all known, and the newest is named")
    func severalCertificates() throws {
        var log = try Log()
        let first = try log.issue("ada")
        _ = try log.issue("zoe")
        let second = try log.issue("ada")
        _ = try log.issue("abe")
        let name = try operatorName("ada")
        #expect(log.state.operatorRecord(named: name)?.serial == second)
        #expect(log.state.operatorRecord(named: name, serial: first) != nil)
        #expect(log.state.operatorRecord(named: try operatorName("eve")) == nil)
        #expect(log.state.operators.map(\.name.text) == ["abe", "ada", "ada", "zoe"])
    }
}
