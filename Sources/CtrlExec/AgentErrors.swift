// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The error texts that agents send, to the letter: dispatchers and their users' scripts compare them.

/// Section numbers refer to the protocol page.
package enum AgentErrors {
    // Whole connection (5.1, 6).
    package static let emptyRequest = "empty request"
    package static let tooManyHeaders = "too many headers"
    package static let requestTooLarge = "request too large"
    package static let notFound = "not found"
    package static let certificateRevoked = "certificate revoked"
    // The map gate: `/capabilities` says `forbidden`, everything else `serial mismatch` with `"status":"forbidden"`.
    package static let serialMismatch = "serial mismatch"
    package static let forbidden = "forbidden"
    package static let notAuthorised = "not authorised"
    package static func notAuthorised(_ reason: String) -> String { "not authorised: \(reason)" }
    // `/run` (6.1, 6.2).
    package static let invalidJSON = "invalid JSON"
    package static let argsMustBeArray = "args must be an array"
    package static let scriptNotPermitted = "script not permitted"
    package static let scriptAlreadyRunning = "script already running"
    package static let asyncNeedsReqid = "async run requires a valid reqid"
    package static let couldNotStart = "could not start async job"
    // `/rotate-serial` (6.6).
    package static let serialRequired = "serial required"
    package static func invalidAction(_ action: String) -> String { "invalid action '\(action)'" }
    package static func serialNotOwned(by owner: String) -> String { "serial not owned by '\(owner)'" }
    // `/renew`, `/renew-complete` (6.7, 6.8).
    package static let keyNotAvailable = "agent key not available"
    package static let couldNotMakeRequest = "could not generate CSR"
    package static let certRequired = "cert required"
    package static func caNotFound(_ path: String) -> String { "CA cert not found at '\(path)'" }
    package static func keyNotFound(_ path: String) -> String { "agent key not found at '\(path)'" }
    package static let renewedDoesNotVerify = "renewed cert does not verify against the agent CA"
    package static let renewedNotLater = "renewed cert does not expire later than the live cert"
    package static let renewedKeyMismatch = "renewed cert public key does not match the agent key"
    package static func couldNotStage(_ reason: String) -> String { "could not stage cert: \(reason)" }
    // The hook's verdicts by exit code (12).
    package static func hookReason(exitCode: Int32) -> String {
        switch exitCode {
        case 1: "denied"
        case 2: "bad credentials"
        case 3: "insufficient privilege"
        default: "hook exited \(exitCode)"
        }
    }
    package static func hookMissing(_ path: String) -> String { "auth hook not found or not executable: \(path)" }
}

/// The reasons in pairing answers (7.3, 7.4).
package enum PairingReasons {
    package static let invalidRequest = "invalid request"
    package static let invalidHostname = "invalid hostname"
    package static let queueFull = "pairing queue full"
    package static let requestTooLarge = "request too large"
    package static let rejectedByOperator = "rejected by operator"
    package static let approvalTimeout = "approval timeout"
    /// What the agent says itself when the echo differs.
    package static let nonceMismatch = "nonce mismatch in pairing result"
}
