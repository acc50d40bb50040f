// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The limits that both sides of the protocol keep. Units stand last in the names.

/// Section numbers refer to the protocol page.
package enum Limits {
    /// More header lines are answered 431 (5.1).
    package static let headerLines = 32
    /// One header line or the request line; the original has no limit, ours is generous.
    package static let headerLineBytes = 16_384
    /// A larger `Content-Length` is answered 413 before the body is read (5.1).
    package static let bodyBytes = 1_048_576
    /// Hosts in one call (15.2).
    package static let hosts = 500
    /// Characters of a certificate request (4.4).
    package static let certificateRequestBytes = 10_240
    /// The body of a pairing request (7.3).
    package static let pairingBodyBytes = 65_536
    /// Pairing requests that wait for an operator (7.9).
    package static let pairingQueue = 10
    /// How long a pairing request waits (7.1).
    package static let pairingWaitSeconds = 600
    /// How long the agent holds the pairing connection (3.3).
    package static let pairingClientSeconds = 660
    /// Hosts dialled at once by one call (14.1, `max_parallel`).
    package static let parallelHosts = 64
    /// Requests that the API answers at once (14.1, `api_max_children`).
    package static let apiRequests = 64
    /// How long a member without a leader goes on with work on agents.
    package static let isolationSeconds: UInt64 = 3_600
    /// Connections that an agent handles at once (9.3, `max_children`).
    package static let agentConnections = 256
    /// Addresses in an agent's rate limiter (9.4).
    package static let rateLimiterAddresses = 1_000
    /// A schema sidecar (20).
    package static let schemaBytes = 65_536
    /// Stdout, and stderr, of one run as `cea` keeps them; the rest is read and dropped.
    package static let outputBytes = 8_388_608
    /// The record of a run: both outputs, every byte escaped at worst six times, bounded to what is sane.
    package static let answerBytes = 67_108_864
    /// What a dispatcher reads of one agent's answer to a ping.
    package static let pingAnswerBytes = 65_536
    /// Its scripts with their schemas.
    package static let capabilitiesAnswerBytes = 8_388_608
    /// Both outputs of a run.
    package static let runAnswerBytes = 20_971_520
    /// What all agents' answers to one call may bring together.
    package static let callAnswerBytes = 268_435_456
    /// The version that an agent reports of itself.
    package static let versionBytes = 64
    /// Results of asynchronous runs are kept so long (11).
    package static let resultRetentionSeconds = 86_400
    /// A dispatcher waits so long for an agent's answer unless told otherwise (5.3).
    package static let readTimeoutSeconds = 60
    /// Connections to one old agent from one of our addresses, and the window: the agent refuses the eleventh (9.4), the margin is for others.
    package static let connectionsPerAgent = 8
    package static let connectionsPerAgentWindowMilliseconds: UInt64 = 60_000
    /// A script's name, a reqid as an agent accepts it.
    package static let nameBytes = 200
}
