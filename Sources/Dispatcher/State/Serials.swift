// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Serial numbers. A counter in the replicated state is their only source; one that was handed out and not used is burned, never given again.

import Consensus
import CtrlExec

/// `5c`, seven random bytes of the incarnation, the 64-bit counter: unique across clusters that share a CA (architecture, rule 4).
package func serialNumber(incarnation: Incarnation, counter: UInt64) -> SerialNumber {
    var bytes: [UInt8] = [0x5c]
    for shift in stride(from: 48, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: incarnation.random >> UInt64(shift))) }
    for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: counter >> UInt64(shift))) }
    guard let serial = SerialNumber(bytes: bytes) else { preconditionFailure("sixteen bytes that begin with 5c are a serial number") }
    return serial
}

struct Serials: Hashable, Sendable {
    let incarnation: Incarnation
    /// Every counter below this was handed out.
    private(set) var next: UInt64

    init(incarnation: Incarnation, next: UInt64) {
        self.incarnation = incarnation
        self.next = next
    }

    /// The counter has not reached its end. (At a million serials a second it takes 580,000 years.)
    var isExhausted: Bool { next == .max }

    /// Nil only when the counter has reached its end.
    mutating func reserve() -> SerialNumber? {
        guard !isExhausted else { return nil }
        defer { next += 1 }
        return serialNumber(incarnation: incarnation, counter: next)
    }
}
