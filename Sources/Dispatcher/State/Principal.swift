// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Who asks, and under which key an answer is kept.

import CtrlExec

/// The authenticated caller of an exclusive operation. The member that carries a request is not its principal.
package enum Principal: Comparable, Hashable, Sendable {
    /// A certificate of the cluster CA with an operator's role.
    case operatorCertificate(OperatorName, SerialNumber)
    /// A process on a member's host, by the control socket's peer credentials.
    case localUser(uid: UInt32)
    /// A host that asks to be paired on 7444; authenticated by nobody, allowed to submit and nothing else.
    case pairingHost(address: String)
    /// The cluster itself: a duty of the leader.
    case leader
    /// A host that joins on 7443; authenticated by its token, allowed to use it and nothing else.
    case joiningHost(address: String)
}

/// The idempotency key that the caller gave or a member minted.
package enum RequestID: Comparable, Hashable, Sendable {
    /// `Idempotency-Key`, `--request-id`: 1 to 64 bytes of printable ASCII without space.
    case client(String)
    /// (session of the minting member, sequence number). Everything of that session up to `answeredThrough` was answered and may be forgotten.
    case minted(session: UInt64, sequence: UInt64, answeredThrough: UInt64)

    package static let textLimit = 64
    package init?(client text: String) {
        guard (1...RequestID.textLimit).contains(text.utf8.count), text.utf8.allSatisfy({ (33...126).contains($0) }) else { return nil }
        self = .client(text)
    }
}

/// Counts milliseconds on the leaders' monotonic clocks, going on from the last committed value. Measures durations; cannot jump.
package struct ClusterTime: Comparable, Hashable, Sendable {
    package let milliseconds: UInt64
    package init(milliseconds: UInt64) { self.milliseconds = milliseconds }
    package static let zero = ClusterTime(milliseconds: 0)
    package static func < (left: ClusterTime, right: ClusterTime) -> Bool { left.milliseconds < right.milliseconds }
    /// Sticks at the greatest value: an entry from the log may carry any time, and apply never traps.
    package static func + (time: ClusterTime, milliseconds: UInt64) -> ClusterTime {
        let (sum, overflow) = time.milliseconds.addingReportingOverflow(milliseconds)
        return ClusterTime(milliseconds: overflow ? .max : sum)
    }
}
