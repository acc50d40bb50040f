// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The one route table: what can be asked, by whom, where. Data only; `Authorisation.swift` reads it, `PortFront.swift` dispatches by it.

import CtrlExec

/// Where a request came in. 7444 has no routes: it takes pairing requests and nothing else.
package enum Port: String, Hashable, Sendable, CaseIterable {
    /// 7443, mTLS.
    case operations
    /// The unix socket on the member's host.
    case controlSocket = "control-socket"
    /// 7445: health for load balancers, and ctrl-exec's own API behind the auth hook.
    case api
}

/// Who may use a route.
package enum CallerRole: String, Hashable, Sendable, CaseIterable {
    case anybody
    /// A certificate of the cluster CA with an operator's role.
    case `operator`
    /// Root, the user as whom the member runs, or the control socket's group, on its own host.
    case localUser = "local-user"
    /// Whoever the auth hook lets in; nobody until there is one, unless the configuration says otherwise.
    case hooked
}

package struct Route: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable {
        /// Answered from a glance at the member, with or without a leader.
        case health
        /// Any member does it by itself.
        case shared
        /// Carried out once, by the leader, through the log.
        case exclusive
    }

    package let method: String
    /// Segments in braces match any one segment.
    package let path: String
    package let kind: Kind
    package let roles: [CallerRole]
    package let ports: [Port]
    package let endpoint: RouteName

    /// The text of the braced segment, or empty if there is none; nil: another path.
    package func match(path candidate: String) -> String? {
        let pattern = path.utf8.split(separator: 47, omittingEmptySubsequences: false)
        let given = candidate.utf8.split(separator: 47, omittingEmptySubsequences: false)
        guard pattern.count == given.count else { return nil }
        var parameter = ""
        for (expected, actual) in zip(pattern, given) {
            if expected.first == 123, expected.last == 125 {
                guard !actual.isEmpty else { return nil }
                parameter = String(decoding: Array(actual), as: UTF8.self)
            } else if !expected.elementsEqual(actual) {
                return nil
            }
        }
        return parameter
    }
}

package enum RouteName: String, Hashable, Sendable, CaseIterable {
    case health, ready, leader
    case status, agents, pairingRequests, operators, run, ping, capabilities, result
    case discovery, runStatus, apiIndex, openAPI, liveOpenAPI
    case rotation, beginRotation, abortRotation, revocations, revoke
    case issueOperator, pairingMode, approvePairing, denyPairing, editAgent, unpair, transfer
    case members, invite, removeMember, moveMember, joinGreeting, join
}

package enum Routes {
    package static let table: [Route] =
        health("/health", .health) + health("/ready", .ready) + health("/leader", .leader)
        + [
            Route("GET", "/v1/status", .shared, .status),
            Route("GET", "/v1/agents", .shared, .agents),
            Route("GET", "/v1/pairing/requests", .shared, .pairingRequests),
            Route("GET", "/v1/operators", .shared, .operators),
            Route("POST", "/v1/run", .shared, .run),
            Route("POST", "/v1/ping", .shared, .ping),
            Route("POST", "/v1/capabilities", .shared, .capabilities),
            Route("POST", "/v1/result/{reqid}", .shared, .result),
            Route("POST", "/v1/discovery", .shared, .discovery),
            Route("GET", "/v1/runs/{reqid}", .shared, .runStatus),
            Route("GET", "/v1/rotation", .shared, .rotation),
            Route("POST", "/v1/rotation", .exclusive, .beginRotation),
            Route("DELETE", "/v1/rotation", .exclusive, .abortRotation),
            Route("GET", "/v1/revocations", .shared, .revocations),
            Route("POST", "/v1/revocations", .exclusive, .revoke),
            Route("POST", "/v1/operators", .exclusive, .issueOperator),
            Route("POST", "/v1/pairing/mode", .exclusive, .pairingMode),
            Route("POST", "/v1/pairing/requests/{reqid}/approve", .exclusive, .approvePairing),
            Route("POST", "/v1/pairing/requests/{reqid}/deny", .exclusive, .denyPairing),
            Route("POST", "/v1/agents/{name}", .exclusive, .editAgent),
            Route("DELETE", "/v1/agents/{name}", .exclusive, .unpair),
            Route("POST", "/v1/transfer", .exclusive, .transfer),
            Route("GET", "/v1/members", .shared, .members),
            Route("POST", "/v1/members", .exclusive, .invite),
            Route("POST", "/v1/members/{id}", .exclusive, .moveMember),
            Route("DELETE", "/v1/members/{id}", .exclusive, .removeMember),
            Route(joining: "GET", .shared, .joinGreeting),
            Route(joining: "POST", .exclusive, .join),
        ]
        + [
            Route(api: "GET", "/", .apiIndex),
            Route(api: "GET", "/openapi.json", .openAPI),
            Route(api: "GET", "/openapi-live.json", .liveOpenAPI),
            Route(api: "POST", "/ping", .ping),
            Route(api: "POST", "/run", .run),
            Route(api: "GET", "/discovery", .discovery),
            Route(api: "POST", "/discovery", .discovery),
            Route(api: "GET", "/status/{reqid}", .runStatus),
        ]

    /// Load balancers probe with HEAD as well as GET.
    private static func health(_ path: String, _ endpoint: RouteName) -> [Route] {
        ["GET", "HEAD"].map {
            Route(method: $0, path: path, kind: .health, roles: [.anybody], ports: Port.allCases, endpoint: endpoint)
        }
    }

    /// Probes come every second and are not logged.
    package static func isHealth(_ path: String) -> Bool { table.contains { $0.kind == .health && $0.path == path } }

    /// The route and the text of its braced segment. A query string is no part of any path (protocol page, 5.1).
    package static func find(method: String, path: String, on port: Port) -> (route: Route, parameter: String)? {
        for route in table where route.method == method && route.ports.contains(port) {
            if let parameter = route.match(path: path) { return (route, parameter) }
        }
        return nil
    }
}

extension Route {
    /// What operators and local users may do, on 7443 and the control socket.
    fileprivate init(_ method: String, _ path: String, _ kind: Kind, _ endpoint: RouteName) {
        self.init(
            method: method, path: path, kind: kind, roles: [.operator, .localUser], ports: [.operations, .controlSocket],
            endpoint: endpoint)
    }

    /// A host that is no member yet: what lets it in is its token.
    fileprivate init(joining method: String, _ kind: Kind, _ endpoint: RouteName) {
        self.init(method: method, path: "/v1/join", kind: kind, roles: [.anybody], ports: [.operations], endpoint: endpoint)
    }

    /// ctrl-exec's own API, on 7445 (protocol page, 18).
    fileprivate init(api method: String, _ path: String, _ endpoint: RouteName) {
        self.init(method: method, path: path, kind: .shared, roles: [.hooked], ports: [.api], endpoint: endpoint)
    }
}
