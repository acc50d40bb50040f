// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who may do what.

import Consensus
import CtrlExec
import DispatcherState
import Testing

@Suite struct AuthorityTests {
    enum Who: CaseIterable { case operatorOfThisCluster, otherSerial, otherName, localUser, pairingHost, leader }
    enum What: CaseIterable { case forPeople, submit, duty, alwaysOpen }

    @Test("each principal may do what is its own, in validation as in apply", arguments: Who.allCases, What.allCases)
    func table(_ who: Who, _ what: What) throws {
        var log = try Log()
        let serial = try log.issue("ada")
        log.apply(.openPairing(milliseconds: 60_000))
        let principal: Principal =
            switch who {
            case .operatorOfThisCluster: .operatorCertificate(try operatorName("ada"), serial)
            case .otherSerial: .operatorCertificate(try operatorName("ada"), try DispatcherStateTests.serial(9))
            case .otherName: .operatorCertificate(try operatorName("bob"), serial)
            case .localUser: .localUser(uid: 1000)
            case .pairingHost: Log.host
            case .leader: .leader
            }
        let commands: [Command] =
            switch what {
            case .forPeople:
                [
                    .issueOperator(try operatorName("bob"), signingRequest: SigningRequest(der: [1])), .openPairing(milliseconds: 5_000),
                    .closePairing, .approvePairing(Reqid(1), Reachability()), .denyPairing(Reqid(1)), .unpair(try agentName("web")),
                    .editAgent(try agentName("web"), AgentEdit()),
                ]
            case .submit: [.submitPairing(try submission(1, "web"))]
            case .duty:
                [
                    .expire, .reserveAnew(ObligationID(LogIndex(9))),
                    .recordCertificate(ObligationID(LogIndex(9)), serial, certificate: [1], notAfter: log.calendar),
                    .signingFailed(ObligationID(LogIndex(9)), serial, reason: ""),
                ]
            case .alwaysOpen: [.openPairing(milliseconds: .max)]
            }
        let allowed =
            switch (who, what) {
            case (.operatorOfThisCluster, .forPeople), (.localUser, .forPeople): true
            case (.operatorOfThisCluster, .alwaysOpen), (.localUser, .alwaysOpen), (.leader, .alwaysOpen): true
            case (.pairingHost, .submit), (.leader, .duty): true
            default: false
            }
        for command in commands {
            var log = log
            let request: RequestID? = principal == .leader ? nil : .client("x")
            #expect((log.state.validate(log.proposal(command, by: principal, request)) == .notAllowed) == !allowed, "\(command)")
            #expect((log.outcome(command, by: principal, request) == .refused(.notAllowed)) == !allowed, "\(command)")
        }
    }
}
