// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who may do what: every row of the route table with every kind of peer, by the rule and over real connections.

import AgentLink
import Coordinator
import CtrlExec
import DispatcherState
import NIOPosix
import PKI
import Testing
import Transport

@Suite("The route table")
struct PortsRouteTests {
    /// What the table must be. A row that is added to the table must be added here, with a thought for who may use it.
    static let expectedRows = """
        GET /health health anybody api,control-socket,operations
        HEAD /health health anybody api,control-socket,operations
        GET /ready health anybody api,control-socket,operations
        HEAD /ready health anybody api,control-socket,operations
        GET /leader health anybody api,control-socket,operations
        HEAD /leader health anybody api,control-socket,operations
        GET /v1/status shared local-user,operator control-socket,operations
        GET /v1/agents shared local-user,operator control-socket,operations
        GET /v1/pairing/requests shared local-user,operator control-socket,operations
        GET /v1/operators shared local-user,operator control-socket,operations
        POST /v1/run shared local-user,operator control-socket,operations
        POST /v1/ping shared local-user,operator control-socket,operations
        POST /v1/capabilities shared local-user,operator control-socket,operations
        POST /v1/result/{reqid} shared local-user,operator control-socket,operations
        POST /v1/discovery shared local-user,operator control-socket,operations
        GET /v1/runs/{reqid} shared local-user,operator control-socket,operations
        GET /v1/rotation shared local-user,operator control-socket,operations
        POST /v1/rotation exclusive local-user,operator control-socket,operations
        DELETE /v1/rotation exclusive local-user,operator control-socket,operations
        GET /v1/revocations shared local-user,operator control-socket,operations
        POST /v1/revocations exclusive local-user,operator control-socket,operations
        POST /v1/operators exclusive local-user,operator control-socket,operations
        POST /v1/pairing/mode exclusive local-user,operator control-socket,operations
        POST /v1/pairing/requests/{reqid}/approve exclusive local-user,operator control-socket,operations
        POST /v1/pairing/requests/{reqid}/deny exclusive local-user,operator control-socket,operations
        POST /v1/agents/{name} exclusive local-user,operator control-socket,operations
        DELETE /v1/agents/{name} exclusive local-user,operator control-socket,operations
        POST /v1/transfer exclusive local-user,operator control-socket,operations
        GET /v1/members shared local-user,operator control-socket,operations
        POST /v1/members exclusive local-user,operator control-socket,operations
        POST /v1/members/{id} exclusive local-user,operator control-socket,operations
        DELETE /v1/members/{id} exclusive local-user,operator control-socket,operations
        GET /v1/join shared anybody operations
        POST /v1/join exclusive anybody operations
        GET / shared hooked api
        GET /openapi.json shared hooked api
        GET /openapi-live.json shared hooked api
        POST /ping shared hooked api
        POST /run shared hooked api
        GET /discovery shared hooked api
        POST /discovery shared hooked api
        GET /status/{reqid} shared hooked api
        """

    @Test("the table is the one that was thought about")
    func table() {
        let rows = Routes.table.map { route in
            let roles = route.roles.map(\.rawValue).sorted().joined(separator: ",")
            let ports = route.ports.map(\.rawValue).sorted().joined(separator: ",")
            return "\(route.method) \(route.path) \(route.kind.rawValue) \(roles) \(ports)"
        }
        #expect(rows.joined(separator: "\n") == Self.expectedRows)
    }

    @Test("every endpoint has a row")
    func endpoints() {
        for endpoint in RouteName.allCases { #expect(Routes.table.contains { $0.endpoint == endpoint }, "\(endpoint)") }
    }

    enum Kind: String, CaseIterable, Sendable {
        case nobody, `operator`, foreignOperator, member, dispatcher, agent, root, owner, otherUser

        func caller(_ cluster: String) throws -> PortCaller {
            let serial = try #require(SerialNumber(bytes: [0x5c, 9]))
            return switch self {
            case .nobody: .nobody
            case .operator: .certificate(.operator(cluster: cluster, name: "alice"), serial)
            case .foreignOperator: .certificate(.operator(cluster: String(repeating: "0", count: 32), name: "alice"), serial)
            case .member: .certificate(.member(cluster: cluster, id: "a"), serial)
            case .dispatcher: .certificate(.dispatcher(cluster: cluster), serial)
            case .agent: .certificate(nil, serial)
            case .root: .localUser(uid: 0)
            case .owner: .localUser(uid: 990)
            case .otherUser: .localUser(uid: 1000)
            }
        }
    }

    /// Stands for "the auth hook decides".
    private static let hook = 1

    /// Rows: the port; columns: the kinds in their order. 200 stands for "may".
    static let expectedStatus: [Port: [Kind: Int]] = [
        .operations: [
            .nobody: 401, .operator: 200, .foreignOperator: 403, .member: 403, .dispatcher: 403, .agent: 403, .root: 200, .owner: 200,
            .otherUser: 403,
        ],
        .controlSocket: [
            .nobody: 401, .operator: 200, .foreignOperator: 403, .member: 403, .dispatcher: 403, .agent: 403, .root: 200, .owner: 200,
            .otherUser: 403,
        ],
        // Whoever it is: 7445 knows nobody.
        .api: Dictionary(uniqueKeysWithValues: Kind.allCases.map { ($0, hook) }),
    ]

    @Test("every row with every kind of peer on every port", arguments: Port.allCases, Kind.allCases)
    func walk(port: Port, kind: Kind) throws {
        let cluster = try #require(ClusterID(bytes: Array(0..<16)))
        let caller = try kind.caller(cluster.description)
        let expected = try #require(Self.expectedStatus[port]?[kind])
        for row in Routes.table {
            let found = Routes.find(method: row.method, path: row.path, on: port)?.route
            #expect(found == (row.ports.contains(port) ? row : nil))
            // Health, and the host that is nobody yet: what lets it in is its token.
            let isOpen = row.roles.contains(.anybody) && row.ports.contains(port)
            let status =
                switch Authorisation.decide(caller, route: found, port: port, cluster: cluster, owner: 990) {
                case .allowed(let principal):
                    (principal == nil) == isOpen ? 200 : 0
                case .ifOperatorStands: 200
                case .ifHookAllows: Self.hook
                case .refused(let status, _): status
                }
            #expect(status == (isOpen ? 200 : expected), "\(row.method) \(row.path)")
        }
        // A path that there is not tells a stranger nothing.
        switch Authorisation.decide(caller, route: nil, port: port, cluster: cluster, owner: 990) {
        case .refused(let status, _): #expect(status == expected)
        case .ifHookAllows: #expect(expected == Self.hook)
        case .allowed, .ifOperatorStands: #expect(expected == 200)
        }
    }

    @Test("the control socket serves whoever belongs to its group")
    func socketGroup() throws {
        let cluster = try #require(ClusterID(bytes: Array(0..<16)))
        let route = try #require(Routes.find(method: "GET", path: "/v1/status", on: .controlSocket)?.route)
        func decide(_ groups: [UInt32], _ group: UInt32?) -> Authorisation {
            Authorisation.decide(
                .localUser(uid: 1000, groups: groups), route: route, port: .controlSocket, cluster: cluster, owner: 990, group: group)
        }
        #expect(decide([1000, 27], 27) == .allowed(.localUser(uid: 1000)))
        for refused in [decide([1000], 27), decide([1000, 27], nil), decide([], 27)] {
            guard case .refused(403, _) = refused else {
                Issue.record("\(refused)")
                continue
            }
        }
    }

    @Test("a braced segment matches one segment that is not empty")
    func parameters() {
        #expect(Routes.find(method: "DELETE", path: "/v1/agents/web-1", on: .operations)?.parameter == "web-1")
        #expect(Routes.find(method: "DELETE", path: "/v1/agents/", on: .operations) == nil)
        #expect(Routes.find(method: "DELETE", path: "/v1/agents/a/b", on: .operations) == nil)
        #expect(Routes.find(method: "GET", path: "/health?x=1", on: .api) == nil)
        #expect(Routes.find(method: "POST", path: "/v1/run", on: .api) == nil)
        #expect(Routes.find(method: "GET", path: "/", on: .api)?.route.endpoint == .apiIndex)
        #expect(Routes.find(method: "POST", path: "/run", on: .operations) == nil)
    }

    @Test("over real connections: nobody 401, wrong role 403, another CA ends in the handshake")
    func overTLS() async throws {
        try await OpenPorts.with { open in
            let alice = try await open.makeOperator()
            let member = try open.pki.identity(.member, "b")
            let roleless = try open.pki.clusterCA.issueRoleless()
            let strangers = [
                try open.pki.identity(.agent, "host"), try open.pki.identity(.dispatcher, "ctrl-exec-dispatcher"),
                try SmallPKI().identity(.operator, "alice"),
            ]
            for row in Routes.table {
                let path = row.path.replacing("{reqid}", with: "0123456789abcdef").replacing("{name}", with: "web")
                    .replacing("{id}", with: "d")
                let isHealth = row.kind == .health
                // Without a token it is told that it says nothing.
                let openStatus: Int? = row.roles.contains(.anybody) ? (row.endpoint == .join ? 400 : 200) : nil
                #expect(try await open.ask(row.method, path, as: nil).status == (openStatus ?? 401), "nobody, \(path)")
                #expect(try await open.ask(row.method, path, as: member).status == (openStatus ?? 403), "member, \(path)")
                #expect(try await open.ask(row.method, path, as: roleless).status == (openStatus ?? 403), "no role, \(path)")
                for stranger in strangers {
                    await #expect(throws: ExchangeFailure.self, "\(stranger), \(path)") {
                        _ = try await open.ask(row.method, path, as: stranger)
                    }
                }
                // A run that nobody made is not found either, in other words.
                func isServed(_ reply: HTTPReply) -> Bool {
                    ![401, 403].contains(reply.status) && reply.json["detail"] != .text("no route for \(row.method) \(path)")
                }
                #expect(isServed(try await open.ask(row.method, path, as: alice)) == row.ports.contains(.operations), "alice, \(path)")
                // Tests run as the user who owns the socket.
                let local = try await open.askPlainly(row.method, path, on: open.socket)
                #expect(isServed(local) == row.ports.contains(.controlSocket), "socket, \(path)")
                let api = try await open.askPlainly(row.method, path, on: open.api)
                #expect(api.status == (isHealth ? 200 : 403), "api, \(path)")
            }
        }
    }

    @Test("an operator's certificate that the state does not know is refused")
    func unknownOperator() async throws {
        try await OpenPorts.with { open in
            let forged = try open.pki.identity(.operator, "mallory")
            #expect(try await open.ask("GET", "/v1/agents", as: forged).status == 403)
            #expect(try await open.ask("GET", "/health", as: forged).status == 200)
            await open.front.loseLeader()
            // Perhaps it was made a moment ago: this member cannot know.
            #expect(try await open.ask("GET", "/v1/agents", as: forged).status == 503)
        }
    }

    @Test("7445 refuses in ctrl-exec's words")
    func api() async throws {
        try await OpenPorts.with { open in
            let reply = try await open.askPlainly("POST", "/run", on: open.api, .record(["hosts": .array([.text("a")])]))
            #expect(reply.status == 403)
            #expect(String(decoding: reply.body, as: UTF8.self) == #"{"code":1,"error":"no auth hook configured","ok":false}"# + "\n")
        }
    }
}

extension Authority {
    /// A certificate of this CA that states no role.
    fileprivate func issueRoleless() throws -> TLSIdentity {
        let key = try PrivateKey.generateP256()
        let certificate = try issue(
            CertificateRequest.make(key: key, commonName: "nothing"), subject: "nothing",
            serial: try #require(SerialNumber(bytes: [0x5c, 77])), role: nil, usage: .client, notBefore: longAgo, notAfter: farAhead)
        return try TLSIdentity(chain: [certificate], key: key)
    }
}
