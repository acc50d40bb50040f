// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The agent's limiter by source address (protocol page, 9.4), as a pure value: the caller hands in milliseconds of a clock that does not jump.
// The agent asks it about connections without a trusted certificate only, so that a dispatcher in the map is never shut out.

package struct RateLimiter: Sendable {
    /// `limit/window/block`, the latter two in seconds; a limit of 0 disables.
    package struct Limit: Hashable, Sendable {
        package let count: Int
        package let windowMilliseconds: UInt64
        package let blockMilliseconds: UInt64

        package init(count: Int, windowSeconds: Int, blockSeconds: Int) {
            self.count = count
            windowMilliseconds = UInt64(windowSeconds) * 1_000
            blockMilliseconds = UInt64(blockSeconds) * 1_000
        }

        /// Three decimal numbers below a thousand million.
        package init?(_ text: String) {
            let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { $0.trimmedOfWhiteSpace }
            let numbers = parts.compactMap { part in
                (1...9).contains(part.utf8.count) && part.utf8.allSatisfy { $0.isASCIIDigit } ? Int(part) : nil
            }
            guard parts.count == 3, numbers.count == 3 else { return nil }
            self.init(count: numbers[0], windowSeconds: numbers[1], blockSeconds: numbers[2])
        }

        package static let volume = Limit(count: 10, windowSeconds: 60, blockSeconds: 300)
        package static let probe = Limit(count: 3, windowSeconds: 600, blockSeconds: 3_600)
    }

    package enum Reason: String, Hashable, Sendable {
        case volume
        case probe
    }

    package enum Verdict: Hashable, Sendable {
        case allowed
        /// The reason is there when the block begins with this connection, for the log; nil while it lasts.
        case refused(Reason?)
    }

    package let volume: Limit
    package let probe: Limit
    package let isDisabled: Bool
    package let capacity: Int

    private struct Record: Sendable {
        let address: String
        /// Ascending.
        var connections: [UInt64] = []
        var failures: [UInt64] = []
        var blockedUntil: UInt64?
    }
    /// Sorted by address.
    private var records: [Record] = []

    package init(
        volume: Limit = .volume, probe: Limit = .probe, isDisabled: Bool = false, capacity: Int = Limits.rateLimiterAddresses
    ) {
        self.volume = volume
        self.probe = probe
        self.isDisabled = isDisabled
        self.capacity = max(1, capacity)
    }

    package var count: Int { records.count }

    /// A connection from `address`, after its handshake. `evicted` addresses were forgotten to make room.
    package mutating func connection(from address: String, nowMilliseconds now: UInt64) -> (verdict: Verdict, evicted: Int) {
        if isDisabled { return (.allowed, 0) }
        let (place, evicted) = openRecord(address, now)
        if let until = records[place].blockedUntil {
            if until > now { return (.refused(nil), evicted) }
            records[place] = Record(address: address)
        }
        forgetOld(place, now)
        if volume.count > 0, recent(records[place].connections, volume, now) >= volume.count {
            records[place].blockedUntil = now + volume.blockMilliseconds
            return (.refused(.volume), evicted)
        }
        if probe.count > 0, recent(records[place].failures, probe, now) >= probe.count {
            records[place].blockedUntil = now + probe.blockMilliseconds
            return (.refused(.probe), evicted)
        }
        records[place].connections.append(now)
        return (.allowed, evicted)
    }

    /// A failed handshake; the reason is returned when it is the one that blocks the address.
    package mutating func handshakeFailed(from address: String, nowMilliseconds now: UInt64) -> Reason? {
        if isDisabled || probe.count == 0 { return nil }
        let (place, _) = openRecord(address, now)
        if let until = records[place].blockedUntil {
            if until > now { return nil }
            records[place] = Record(address: address)
        }
        forgetOld(place, now)
        records[place].failures.append(now)
        guard recent(records[place].failures, probe, now) >= probe.count else { return nil }
        records[place].blockedUntil = now + probe.blockMilliseconds
        return .probe
    }

    /// A reload forgets everything.
    package mutating func clear() { records = [] }

    private func recent(_ instants: [UInt64], _ limit: Limit, _ now: UInt64) -> Int {
        instants.count { $0 + limit.windowMilliseconds > now }
    }

    private mutating func forgetOld(_ place: Int, _ now: UInt64) {
        let window = max(volume.windowMilliseconds, probe.windowMilliseconds)
        records[place].connections.removeAll { $0 + window <= now }
        records[place].failures.removeAll { $0 + window <= now }
    }

    /// The address's record, made if need be; a full table first loses what has ended, else the record whose block ends first (none counts as 0).
    private mutating func openRecord(_ address: String, _ now: UInt64) -> (place: Int, evicted: Int) {
        let found = place(address)
        if found < records.count, records[found].address == address { return (found, 0) }
        var evicted = 0
        if records.count >= capacity {
            let before = records.count
            records.removeAll { $0.blockedUntil.map { $0 <= now } ?? false }
            if records.count >= capacity,
                let victim = records.indices.min(by: { records[$0].blockedUntil ?? 0 < records[$1].blockedUntil ?? 0 })
            {
                records.remove(at: victim)
            }
            evicted = before - records.count
        }
        let fresh = place(address)
        records.insert(Record(address: address), at: fresh)
        return (fresh, evicted)
    }

    private func place(_ address: String) -> Int {
        var low = 0
        var high = records.count
        while low < high {
            let middle = (low + high) / 2
            if records[middle].address < address { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
