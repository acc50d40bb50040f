// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the simulated signer makes: bytes that say what was signed, so that an invariant can read them. No two jobs make the same bytes.

import Consensus
import CtrlExec
import DispatcherState

package struct SimulatedCertificate: Hashable, Sendable {
    package let serial: SerialNumber
    package let obligation: ObligationID
    package let job: UInt64
    package let purpose: String

    package init(serial: SerialNumber, obligation: ObligationID, job: UInt64, purpose: String) {
        self.serial = serial
        self.obligation = obligation
        self.job = job
        self.purpose = purpose
    }

    package var bytes: [UInt8] {
        func big(_ number: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: number >> UInt64(56 - 8 * $0)) } }
        return [0x30, UInt8(serial.bytes.count)] + serial.bytes + big(obligation.index.position) + big(job) + Array(purpose.utf8)
    }

    package init?(bytes: [UInt8]) {
        guard bytes.count > 2, bytes[0] == 0x30, bytes.count >= 2 + Int(bytes[1]) + 16 else { return nil }
        let end = 2 + Int(bytes[1])
        func number(_ from: Int) -> UInt64 { bytes[from..<from + 8].reduce(0) { $0 << 8 | UInt64($1) } }
        guard let serial = SerialNumber(bytes: Array(bytes[2..<end])) else { return nil }
        self.serial = serial
        obligation = ObligationID(LogIndex(number(end)))
        job = number(end + 8)
        purpose = String(decoding: bytes[(end + 16)...], as: UTF8.self)
    }

    package static func purpose(_ purpose: Obligation.Purpose) -> String {
        switch purpose {
        case .operatorCertificate(let name): "operator \(name)"
        case .agentCertificate(let reqid, let name): "agent \(name) \(reqid)"
        case .dispatcherIdentity: "dispatcher"
        case .memberCertificate(let member): "member \(member)"
        }
    }
}

/// Signing requests of simulated agents and operators. Some cannot be signed, and say so in their first byte.
package enum SimulatedSigningRequest {
    package static func make(_ number: UInt64, length: Int, isImpossible: Bool) -> SigningRequest {
        SigningRequest(der: [isImpossible ? 0xff : 0x30] + (0..<length).map { UInt8(truncatingIfNeeded: number &* 31 &+ UInt64($0)) })
    }
    package static func isImpossible(_ request: SigningRequest) -> Bool { request.der.first == 0xff }
}
