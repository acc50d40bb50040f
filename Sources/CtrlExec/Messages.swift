// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The bodies that travel between dispatcher and agent on 7443 (protocol page, 6), as Codable shapes.
// Decoding is lenient as towards Perl peers: numbers may be text, truth may be 1, unknown fields are ignored. The coder belongs to the caller.

/// `POST /run`.
package struct RunRequest: Hashable, Sendable, Codable {
    package var script: String
    package var args: [String]
    package var reqid: String
    package var username: String
    package var token: String
    /// Nil leaves the field out, as dispatchers do for a synchronous run.
    package var detached: Bool?

    enum CodingKeys: String, CodingKey {
        case script, args, reqid, username, token
        case detached = "async"
    }

    package init(script: String, args: [String], reqid: String, username: String = "", token: String = "", detached: Bool? = nil) {
        self.script = script
        self.args = args
        self.reqid = reqid
        self.username = username
        self.token = token
        self.detached = detached
    }

    /// Why a body that is JSON is no run.
    package enum Flaw: Error, Hashable, Sendable {
        case notAnObject
        /// `args` is neither absent, null nor an array of scalars; the reqid is echoed.
        case argsNotArray(reqid: String)
    }

    /// Absent and null fields take their defaults; scalars become text as Perl would print them.
    package init(_ json: JSONValue) throws(Flaw) {
        guard json.isObject else { throw .notAnObject }
        func text(_ key: String) -> String { json[key]?.scalarText ?? "" }
        let reqid = text("reqid")
        switch json["args"] ?? .null {
        case .null: args = []
        case .array(let elements):
            let texts = elements.compactMap { $0 == .null ? "" : $0.scalarText }
            guard texts.count == elements.count else { throw .argsNotArray(reqid: reqid) }
            args = texts
        default: throw .argsNotArray(reqid: reqid)
        }
        script = text("script")
        username = text("username")
        token = text("token")
        detached = json["async"]?.isTrue
        self.reqid = reqid
    }

    package init(from decoder: any Decoder) throws {
        do { try self.init(JSONValue(from: decoder)) } catch let flaw as Flaw {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "\(flaw)"))
        }
    }
}

/// The answer to `POST /run`, whichever of its cases it is. Fields that are nil are left out.
package struct RunAnswer: Hashable, Sendable, Codable {
    package var script: String?
    /// −1: nothing ran.
    package var exit: Int64?
    package var status: String?
    package var stdout: String?
    package var stderr: String?
    package var error: String?
    package var reqid: String?
    /// 0.9.1 to 0.9.4 only.
    package var hint: String?

    enum CodingKeys: String, CodingKey { case script, exit, status, stdout, stderr, error, reqid, hint }

    package init(
        script: String? = nil, exit: Int64? = nil, status: String? = nil, stdout: String? = nil, stderr: String? = nil,
        error: String? = nil, reqid: String? = nil
    ) {
        self.script = script
        self.exit = exit
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.error = error
        self.reqid = reqid
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        script = try container.text(.script)
        exit = try container.integer(.exit)
        status = try container.text(.status)
        stdout = try container.text(.stdout)
        stderr = try container.text(.stderr)
        error = try container.text(.error)
        reqid = try container.text(.reqid)
        hint = try container.text(.hint)
    }

    package static let invalidJSON = RunAnswer(exit: -1, error: AgentErrors.invalidJSON)
    package static func argsNotArray(reqid: String) -> RunAnswer { RunAnswer(exit: -1, error: AgentErrors.argsMustBeArray, reqid: reqid) }
    package static func refused(script: String, error: String, reqid: String) -> RunAnswer {
        RunAnswer(script: script, exit: -1, error: error, reqid: reqid)
    }
    package static func done(script: String, exit: Int64, stdout: String, stderr: String, reqid: String) -> RunAnswer {
        RunAnswer(script: script, exit: exit, stdout: stdout, stderr: stderr, reqid: reqid)
    }
    /// With status code 202.
    package static func accepted(script: String, reqid: String) -> RunAnswer { RunAnswer(script: script, status: "accepted", reqid: reqid) }
    /// With status code 409.
    package static func busy(script: String, reqid: String) -> RunAnswer {
        RunAnswer(script: script, status: "busy", error: AgentErrors.scriptAlreadyRunning, reqid: reqid)
    }
}

/// What a script reads from its standard input (10). No newline follows it.
package struct RunContext: Hashable, Sendable, Codable {
    package var script: String
    package var args: [String]
    package var reqid: String
    package var peerAddress: String
    package var username: String
    package var token: String
    package var dispatcher: String
    package var timestamp: String

    enum CodingKeys: String, CodingKey {
        case script, args, reqid
        case peerAddress = "peer_ip"
        case username, token, dispatcher, timestamp
    }

    package init(request: RunRequest, peerAddress: String, dispatcher: String, timestamp: String) {
        script = request.script
        args = request.args
        reqid = request.reqid
        username = request.username
        token = request.token
        self.peerAddress = peerAddress
        self.dispatcher = dispatcher
        self.timestamp = timestamp
    }
}

/// `POST /ping`, `POST /renew`.
package struct ReqidRequest: Hashable, Sendable, Codable {
    package var reqid: String
    package init(reqid: String) { self.reqid = reqid }
    enum CodingKeys: String, CodingKey { case reqid }
    package init(from decoder: any Decoder) throws { reqid = try decoder.container(keyedBy: CodingKeys.self).text(.reqid) ?? "" }
}
package typealias PingRequest = ReqidRequest
package typealias RenewRequest = ReqidRequest

package struct PingAnswer: Hashable, Sendable, Codable {
    package var status: String
    package var host: String
    package var version: String
    /// `OpenSSLTime`'s form, or `unknown`.
    package var expiry: String
    package var reqid: String
    /// A renewed certificate waits for the agent's restart; 0.12 and later.
    package var staged: Bool?

    package init(status: String = "ok", host: String, version: String, expiry: String, reqid: String, staged: Bool?) {
        self.status = status
        self.host = host
        self.version = version
        self.expiry = expiry
        self.reqid = reqid
        self.staged = staged
    }

    enum CodingKeys: String, CodingKey { case status, host, version, expiry, reqid, staged }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        status = try container.requiredText(.status)
        host = try container.text(.host) ?? ""
        version = try container.text(.version) ?? ""
        expiry = try container.text(.expiry) ?? "unknown"
        reqid = try container.text(.reqid) ?? ""
        staged = try container.boolean(.staged)
    }
}

/// One script in `GET /capabilities`.
package struct ScriptDescription: Hashable, Sendable, Codable {
    package var name: String
    package var path: String
    package var executable: Bool
    /// 0.10 and later.
    package var profile: String?
    /// The sidecar, verbatim (20).
    package var schema: JSONValue?
    package var schemaVersion: String?

    package init(name: String, path: String, executable: Bool, profile: String?, schema: JSONValue? = nil, schemaVersion: String? = nil) {
        self.name = name
        self.path = path
        self.executable = executable
        self.profile = profile
        self.schema = schema
        self.schemaVersion = schemaVersion
    }

    enum CodingKeys: String, CodingKey {
        case name, path, executable, profile, schema
        case schemaVersion = "schema_version"
    }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        name = try container.requiredText(.name)
        path = try container.text(.path) ?? ""
        executable = try container.boolean(.executable) ?? false
        profile = try container.text(.profile)
        schema = try container.decodeIfPresent(JSONValue.self, forKey: .schema)
        schemaVersion = try container.text(.schemaVersion)
    }
}

package struct CapabilitiesAnswer: Hashable, Sendable, Codable {
    package var status: String
    package var host: String
    package var version: String
    /// Sorted by name.
    package var scripts: [ScriptDescription]
    /// An object, `{}` when there are none.
    package var tags: JSONValue

    package init(host: String, version: String, scripts: [ScriptDescription], tags: JSONValue) {
        status = "ok"
        self.host = host
        self.version = version
        self.scripts = scripts
        self.tags = tags
    }

    enum CodingKeys: String, CodingKey { case status, host, version, scripts, tags }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        status = try container.requiredText(.status)
        host = try container.text(.host) ?? ""
        version = try container.text(.version) ?? ""
        scripts = try container.decodeIfPresent([ScriptDescription].self, forKey: .scripts) ?? []
        tags = try container.decodeIfPresent(JSONValue.self, forKey: .tags) ?? .object([])
    }
}

/// `GET /result/<reqid>`, and the agent's record of an asynchronous run on disk.
package struct ResultAnswer: Hashable, Sendable, Codable {
    package var reqid: String
    /// `running`, `done`; `unknown` with status code 404.
    package var status: String
    package var script: String?
    package var owner: String?
    package var started: String?
    package var finished: String?
    package var exit: Int64?
    package var stdout: String?
    package var stderr: String?

    enum CodingKeys: String, CodingKey { case reqid, status, script, owner, started, finished, exit, stdout, stderr }

    package static func unknown(reqid: String) -> ResultAnswer { ResultAnswer(reqid: reqid, status: "unknown") }
    package static func running(reqid: String, script: String, owner: String, started: String) -> ResultAnswer {
        ResultAnswer(reqid: reqid, status: "running", script: script, owner: owner, started: started)
    }

    package init(
        reqid: String, status: String, script: String? = nil, owner: String? = nil, started: String? = nil, finished: String? = nil,
        exit: Int64? = nil, stdout: String? = nil, stderr: String? = nil
    ) {
        self.reqid = reqid
        self.status = status
        self.script = script
        self.owner = owner
        self.started = started
        self.finished = finished
        self.exit = exit
        self.stdout = stdout
        self.stderr = stderr
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        reqid = try container.text(.reqid) ?? ""
        status = try container.requiredText(.status)
        script = try container.text(.script)
        owner = try container.text(.owner)
        started = try container.text(.started)
        finished = try container.text(.finished)
        exit = try container.integer(.exit)
        stdout = try container.text(.stdout)
        stderr = try container.text(.stderr)
    }
}

/// `POST /rotate-serial`.
package struct RotateSerialRequest: Hashable, Sendable, Codable {
    package var serial: String
    /// `add` or `remove`; anything else is answered `invalid action`.
    package var action: String
    package var token: String?

    package init(serial: String, action: String = "add", token: String? = nil) {
        self.serial = serial
        self.action = action
        self.token = token
    }

    enum CodingKeys: String, CodingKey { case serial, action, token }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        serial = try container.text(.serial) ?? ""
        action = try container.text(.action) ?? "add"
        token = try container.text(.token)
    }
}

package struct RotateSerialAnswer: Hashable, Sendable, Codable {
    package var status: String
    package var action: String?
    /// As it was sent.
    package var serial: String?
    package var dispatcher: String?
    package var error: String?

    enum CodingKeys: String, CodingKey { case status, action, serial, dispatcher, error }

    package static func done(action: String, serial: String, dispatcher: String) -> RotateSerialAnswer {
        RotateSerialAnswer(status: "ok", action: action, serial: serial, dispatcher: dispatcher)
    }
    package static func failed(_ error: String) -> RotateSerialAnswer { RotateSerialAnswer(status: "error", error: error) }

    init(status: String, action: String? = nil, serial: String? = nil, dispatcher: String? = nil, error: String? = nil) {
        self.status = status
        self.action = action
        self.serial = serial
        self.dispatcher = dispatcher
        self.error = error
    }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        status = try container.requiredText(.status)
        action = try container.text(.action)
        serial = try container.text(.serial)
        dispatcher = try container.text(.dispatcher)
        error = try container.text(.error)
    }
}

/// The answers to `POST /renew` and `POST /renew-complete`.
package struct RenewAnswer: Hashable, Sendable, Codable {
    package var status: String
    package var csr: String?
    package var staged: Bool?
    package var reqid: String?
    package var error: String?

    enum CodingKeys: String, CodingKey { case status, csr, staged, reqid, error }

    package static func request(_ pem: String, reqid: String) -> RenewAnswer { RenewAnswer(status: "ok", csr: pem, reqid: reqid) }
    package static func staged(reqid: String) -> RenewAnswer { RenewAnswer(status: "ok", staged: true, reqid: reqid) }
    package static func failed(_ error: String) -> RenewAnswer { RenewAnswer(status: "error", error: error) }

    init(status: String, csr: String? = nil, staged: Bool? = nil, reqid: String? = nil, error: String? = nil) {
        self.status = status
        self.csr = csr
        self.staged = staged
        self.reqid = reqid
        self.error = error
    }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        status = try container.requiredText(.status)
        csr = try container.text(.csr)
        staged = try container.boolean(.staged)
        reqid = try container.text(.reqid)
        error = try container.text(.error)
    }
}

/// `POST /renew-complete`.
package struct RenewCompleteRequest: Hashable, Sendable, Codable {
    package var cert: String
    package var ca: String
    package var reqid: String

    package init(cert: String, ca: String, reqid: String) {
        self.cert = cert
        self.ca = ca
        self.reqid = reqid
    }

    enum CodingKeys: String, CodingKey { case cert, ca, reqid }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        cert = try container.text(.cert) ?? ""
        ca = try container.text(.ca) ?? ""
        reqid = try container.text(.reqid) ?? ""
    }
}

/// `{"error":…}`, with `"status":"forbidden"` at the map gate; what agents send outside 200, 202 and 409.
package struct ErrorAnswer: Hashable, Sendable, Codable {
    package var error: String?
    package var status: String?

    package init(_ error: String, status: String? = nil) {
        self.error = error
        self.status = status
    }
    package static let serialMismatch = ErrorAnswer(AgentErrors.serialMismatch, status: AgentErrors.forbidden)

    enum CodingKeys: String, CodingKey { case error, status }
    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        error = try container.text(.error)
        status = try container.text(.status)
    }
}
