// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What answers and requests look like in JSON. Keys are sorted, so that equal answers are equal bytes.

import AgentLink
import Consensus
import CtrlExec
import DispatcherState
import PKI
import Wire

/// One answer of a port.
package struct PortResponse: Hashable, Sendable {
    package var status: Int
    package var body: JSONValue
    /// Beside those that every answer carries.
    package var headers: [Header]

    package struct Header: Hashable, Sendable {
        package let name: String
        package let value: String
        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package init(_ status: Int, _ body: JSONValue, headers: [Header] = []) {
        self.status = status
        self.body = body
        self.headers = headers
    }

    package static func ok(_ members: KeyValuePairs<String, JSONValue?>) -> PortResponse { ok(.record(members)) }
    package static func ok(_ object: JSONValue) -> PortResponse { PortResponse(200, object.with(["ok": .boolean(true)])) }

    package static func failure(_ status: Int, _ error: String, detail: String? = nil, requestID: String? = nil) -> PortResponse {
        PortResponse(
            status,
            .record([
                "ok": .boolean(false), "error": .text(error), "detail": detail.map { .text($0) },
                "request_id": requestID.map { .text($0) },
            ]), headers: status == 503 ? [Header("Retry-After", "1")] : [])
    }

    package static func badRequest(_ detail: String) -> PortResponse { failure(400, "bad request", detail: detail) }
}

/// The registry record of the protocol page, 14.3, with what ctrl-exec has no field for.
/// - Parameter now: seconds since 1970.
func agentShape(_ agent: AgentRecord, in state: DispatcherState, now: Int64) -> JSONValue {
    state.registryRecord(of: agent, now: WallClock(secondsSince1970: now)).with([
        "certificate_serial": .text(agent.certificateSerial.hexadecimal), "revoked": .boolean(state.isRevoked(agent)),
    ])
}

func pairingShape(_ pairing: QueuedPairing) -> JSONValue {
    let submission = pairing.submission
    return .record([
        "reqid": .text(submission.reqid.description), "hostname": .text(submission.hostname.text),
        "source_ip": .text(submission.sourceAddress), "code": .text(submission.code),
        "received": .text(ISO8601Time.text(unixSeconds: pairing.received.secondsSince1970)),
        "ip": .text(submission.suggested.address ?? submission.sourceAddress),
        "port": submission.suggested.port.map { .integer(Int64($0)) } ?? .null,
        "lookup_by": submission.suggested.lookup.map { .text($0.rawValue) } ?? .null,
        "approved": .boolean(pairing.obligation != nil),
    ])
}

func operatorShape(_ record: OperatorRecord) -> JSONValue {
    .record([
        "name": .text(record.name.text), "serial": .text(record.serial.hexadecimal),
        "expiry": .text(OpenSSLTime.text(unixSeconds: record.notAfter.secondsSince1970)),
    ])
}

func revocationShape(_ record: RevocationRecord) -> JSONValue {
    let (kind, name): (String, String) =
        switch record.subject {
        case .agent(let name): ("agent", name.text)
        case .operatorNamed(let name): ("operator", name.text)
        case .unknown: ("serial", "")
        }
    return .record([
        "serial": .text(record.serial.hexadecimal), "kind": .text(kind), "name": .text(name), "reason": .text(record.reason),
        "revoked": .text(ISO8601Time.text(unixSeconds: record.revokedAt.secondsSince1970)), "index": .count(record.index.position),
    ])
}

/// PEM of a certificate that the state holds in DER; empty if it cannot be read, which the one who recorded it has excluded.
func pemText(_ der: [UInt8]) -> String {
    // The bytes were made by our own signer and read back before they were recorded.
    guard let certificate = try? Certificate(der: der), let pem = try? certificate.pem else { return "" }
    return String(decoding: pem, as: UTF8.self)
}
