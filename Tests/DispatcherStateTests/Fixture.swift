// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A state with a log of its own: what every test of this room begins with.

import Consensus
import CtrlExec
import DispatcherState
import Testing

func serial(_ number: UInt8) throws -> SerialNumber { try #require(SerialNumber(bytes: [0x5c, number])) }
func agentName(_ text: String) throws -> AgentName { try #require(AgentName(text)) }
func operatorName(_ text: String) throws -> OperatorName { try #require(OperatorName(text)) }

func makeGenesis(nextSerialCounter: UInt64 = 5, members: [String] = ["a"]) throws -> GenesisState {
    let key = SealedKey(name: "key", keyVersion: 1, bytes: [1, 2, 3])
    let authority = CertificateAuthority(certificate: [4, 5, 6], key: key)
    return GenesisState(
        cluster: try #require(ClusterID(bytes: Array(0..<16))), incarnation: Incarnation(counter: 1, random: 0x0011_2233_4455_6677),
        dispatcherID: try #require(DispatcherID("dispatcher")),
        members: try members.map {
            MemberRecord(id: try #require(MemberID($0)), address: "127.0.0.1:7446", certificateSerial: try serial(1))
        },
        fleetCA: authority, clusterCA: authority,
        identity: Identity(
            serial: try serial(4), certificate: [7], key: key, notAfter: WallClock(secondsSince1970: 2_000_000_000), phase: .current),
        nextSerialCounter: nextSerialCounter)
}

/// Applies commands one after another, as a log would.
struct Log {
    var state: DispatcherState
    var index: UInt64 = 0
    var term = Term(1)
    var milliseconds: UInt64 = 1_000
    var calendar = WallClock(secondsSince1970: 1_800_000_000)
    private var ids = 0

    static let root = Principal.localUser(uid: 0)
    static let host = Principal.pairingHost(address: "192.0.2.7")

    init(nextSerialCounter: UInt64 = 5, members: [String] = ["a"]) throws {
        state = DispatcherState(genesis: try makeGenesis(nextSerialCounter: nextSerialCounter, members: members))
    }

    func proposal(_ command: Command, by principal: Principal = Log.root, _ request: RequestID?) -> Proposal {
        Proposal(
            command: command, principal: principal, request: request, time: ClusterTime(milliseconds: milliseconds), calendar: calendar)
    }

    /// With a request id of its own, unless one is given.
    @discardableResult
    mutating func apply(_ command: Command, by principal: Principal = Log.root, _ request: RequestID? = nil) -> Applied {
        var request = request
        if request == nil, principal != .leader {
            ids += 1
            request = .client("request-\(ids)")
        }
        index += 1
        return state.apply(proposal(command, by: principal, request), at: LogIndex(index), term: term)
    }

    mutating func outcome(_ command: Command, by principal: Principal = Log.root, _ request: RequestID? = nil) -> Outcome {
        apply(command, by: principal, request).outcome
    }

    /// What the leader of this term does for the oldest obligation: signs and records.
    @discardableResult
    mutating func sign(certificate: [UInt8] = [0x30, 1]) throws -> Applied {
        let obligation = try #require(state.obligations.first)
        return apply(
            .recordCertificate(
                obligation.id, obligation.serial, certificate: certificate, notAfter: WallClock(secondsSince1970: 1_900_000_000)),
            by: .leader)
    }

    mutating func issue(_ name: String) throws -> SerialNumber {
        apply(.issueOperator(try operatorName(name), signingRequest: SigningRequest(der: [1])))
        guard case .operatorIssued(_, let serial) = try sign().settled.first?.outcome else {
            throw Surprise("no operator was issued")
        }
        return serial
    }

    mutating func submit(_ reqid: UInt64, _ name: String, suggested: Reachability = Reachability()) throws -> Outcome {
        outcome(.submitPairing(try submission(reqid, name, suggested: suggested)), by: Log.host)
    }

    /// Submits, approves and signs, in an open session.
    mutating func pair(_ reqid: UInt64, _ name: String, granted: Reachability = Reachability(), suggested: Reachability = Reachability())
        throws
    {
        apply(.openPairing(milliseconds: 600_000))
        _ = try submit(reqid, name, suggested: suggested)
        apply(.approvePairing(Reqid(reqid), granted))
        try sign()
    }
}

struct Surprise: Error {
    let text: String
    init(_ text: String) { self.text = text }
}

func submission(_ reqid: UInt64, _ name: String, suggested: Reachability = Reachability()) throws -> PairingSubmission {
    PairingSubmission(
        reqid: Reqid(reqid), hostname: try agentName(name), signingRequest: SigningRequest(der: [9]), nonce: "0123", code: "432319",
        sourceAddress: "192.0.2.7", suggested: suggested)
}
