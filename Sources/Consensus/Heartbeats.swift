// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// When each heartbeat of this leader's term was made. The lease counts from these instants and never from the receipt of an answer.
// Only heartbeats that a quorum may still come to answer first are kept.

struct Heartbeats: Sendable {
    /// The number of `instants[head]`.
    private var first = HeartbeatNumber.zero.next
    private var instants: [Instant] = []
    private var head = 0

    /// The newest number made; zero before the first.
    var newest: HeartbeatNumber { HeartbeatNumber(first.number + UInt64(instants.count - head) - 1) }

    mutating func make(at now: Instant) -> HeartbeatNumber {
        instants.append(now)
        return newest
    }

    /// When this heartbeat was made; nil if it was forgotten, or never made.
    func made(_ number: HeartbeatNumber) -> Instant? {
        guard number >= first, number <= newest else { return nil }
        return instants[head + Int(number.number - first.number)]
    }

    /// Forgets every heartbeat up to and including this one.
    mutating func forget(through number: HeartbeatNumber) {
        guard number >= first, number <= newest else { return }
        head += Int(number.number - first.number) + 1
        first = number.next
        if head == instants.count {
            instants.removeAll(keepingCapacity: true)
            head = 0
        } else if head >= 64 {
            instants.removeFirst(head)
            head = 0
        }
    }
}
