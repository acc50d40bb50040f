// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The bodies of pairing on 7444 (protocol page, 7): one request, two answers back to back on the same connection.

/// `POST /pair`.
package struct PairRequest: Hashable, Sendable, Codable {
    package var hostname: String
    /// PEM, exactly as carried: the confirmation code is computed over these bytes.
    package var csr: String
    /// 32 lower-case hexadecimal digits; the agent insists on the echo.
    package var nonce: String?
    package var lookupBy: LookupBy?
    package var port: Int64?
    package var ip: String?

    package init(hostname: String, csr: String, nonce: String?, lookupBy: LookupBy? = nil, port: Int64? = nil, ip: String? = nil) {
        self.hostname = hostname
        self.csr = csr
        self.nonce = nonce
        self.lookupBy = lookupBy
        self.port = port
        self.ip = ip
    }

    enum CodingKeys: String, CodingKey {
        case hostname, csr, nonce
        case lookupBy = "lookup_by"
        case port, ip
    }

    /// Missing hostname or csr decode as empty (`invalid request`); a `lookup_by` or `port` that is no such thing is ignored.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        hostname = try container.text(.hostname) ?? ""
        csr = try container.text(.csr) ?? ""
        nonce = try container.text(.nonce)
        lookupBy = try container.text(.lookupBy).flatMap(LookupBy.init(rawValue:))
        // A port that is no number is a suggestion that cannot be followed, not an error.
        port = (try? container.integer(.port)).flatMap { (1...65_535).contains($0) ? $0 : nil }
        ip = try container.text(.ip)
    }

    /// Perl's truthiness: empty and `0` are missing (7.2).
    package var isComplete: Bool { !hostname.isEmpty && hostname != "0" && !csr.isEmpty && csr != "0" }
}

/// How a dispatcher finds the agent.
package enum LookupBy: String, Hashable, Sendable, Codable {
    case ip
    case hostname
}

/// Every pairing answer has status code 200; the outcome is in the JSON.
package enum PairAnswer: Hashable, Sendable {
    case pending(reqid: String)
    case error(reason: String)
    case denied(reason: String)
    case approved(PairApproval)
}

package struct PairApproval: Hashable, Sendable {
    package var cert: String
    package var ca: String
    package var nonce: String
    /// Empty if the dispatcher could not read its certificate.
    package var dispatcherSerial: String
    /// Absent before 0.9.
    package var dispatcherID: String?

    package init(cert: String, ca: String, nonce: String, dispatcherSerial: String, dispatcherID: String?) {
        self.cert = cert
        self.ca = ca
        self.nonce = nonce
        self.dispatcherSerial = dispatcherSerial
        self.dispatcherID = dispatcherID
    }
}

extension PairAnswer: Codable {
    enum CodingKeys: String, CodingKey {
        case status, reqid, reason, cert, ca, nonce
        case dispatcherSerial = "dispatcher_serial"
        case dispatcherID = "dispatcher_id"
    }

    /// A status that is none of the four is a denial by that name, as agents treat it.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let status = try container.requiredText(.status)
        switch status {
        case "pending": self = .pending(reqid: try container.text(.reqid) ?? "")
        case "approved":
            self = .approved(
                PairApproval(
                    cert: try container.text(.cert) ?? "", ca: try container.text(.ca) ?? "", nonce: try container.text(.nonce) ?? "",
                    dispatcherSerial: try container.text(.dispatcherSerial) ?? "", dispatcherID: try container.text(.dispatcherID)))
        case "error": self = .error(reason: try container.text(.reason) ?? "error")
        default: self = .denied(reason: try container.text(.reason) ?? status)
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .pending(let reqid):
            try container.encode("pending", forKey: .status)
            try container.encode(reqid, forKey: .reqid)
        case .error(let reason):
            try container.encode("error", forKey: .status)
            try container.encode(reason, forKey: .reason)
        case .denied(let reason):
            try container.encode("denied", forKey: .status)
            try container.encode(reason, forKey: .reason)
        case .approved(let approval):
            try container.encode("approved", forKey: .status)
            try container.encode(approval.cert, forKey: .cert)
            try container.encode(approval.ca, forKey: .ca)
            try container.encode(approval.nonce, forKey: .nonce)
            try container.encode(approval.dispatcherSerial, forKey: .dispatcherSerial)
            try container.encodeIfPresent(approval.dispatcherID, forKey: .dispatcherID)
        }
    }
}
