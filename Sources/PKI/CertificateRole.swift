// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a certificate makes of its owner, beyond the authority that signed it: `urn:ced:<cluster-id>:member:<id>`, `…:operator:<name>` or
// `…:dispatcher`, a URI in the subject alternative name that the authority sets and never copies from a request.
// Which authority may give which role is the business of whoever trusts it.

/// The one role that a certificate states. A certificate without a role is at most an agent.
package enum CertificateRole: Hashable, Sendable, CustomStringConvertible {
    case member(cluster: String, id: String)
    case `operator`(cluster: String, name: String)
    case dispatcher(cluster: String)

    private static let prefix = "urn:ced:"

    /// Nil unless exactly one of the URIs is ours, and that one is well formed.
    package init?(uris: [String]) {
        let ours = uris.filter { $0.lowercased().hasPrefix(Self.prefix) }
        guard ours.count == 1, let uri = ours.first else { return nil }
        self.init(uri: uri)
    }

    package init?(uri: String) {
        guard uri.hasPrefix(Self.prefix) else { return nil }
        let parts = uri.dropFirst(Self.prefix.count).split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.allSatisfy(Self.isWord) else { return nil }
        switch (parts.count, parts.count > 1 ? parts[1] : "") {
        case (3, "member"): self = .member(cluster: parts[0], id: parts[2])
        case (3, "operator"): self = .operator(cluster: parts[0], name: parts[2])
        case (2, "dispatcher"): self = .dispatcher(cluster: parts[0])
        default: return nil
        }
    }

    package var uri: String {
        switch self {
        case .member(let cluster, let id): "\(Self.prefix)\(cluster):member:\(id)"
        case .operator(let cluster, let name): "\(Self.prefix)\(cluster):operator:\(name)"
        case .dispatcher(let cluster): "\(Self.prefix)\(cluster):dispatcher"
        }
    }

    package var cluster: String {
        switch self {
        case .member(let cluster, _), .operator(let cluster, _), .dispatcher(let cluster): cluster
        }
    }

    /// For people: `member 3`, `operator alice`, `dispatcher`.
    package var description: String {
        switch self {
        case .member(_, let id): "member \(id)"
        case .operator(_, let name): "operator \(name)"
        case .dispatcher: "dispatcher"
        }
    }

    /// Whether the parts survive the way through a URI.
    var isWellFormed: Bool { CertificateRole(uri: uri) == self }

    /// Letters, digits, `.`, `_`, `-`; 1 to 128 of them.
    private static func isWord(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 46 || $0 == 95
            }
    }
}
