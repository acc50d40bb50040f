// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The answers, by request id: why an exclusive operation that is asked for twice happens once. Part of the replicated state, looked up in
// apply, so that two entries for one request agree about which came first. What is kept is kept for a day of cluster time; when the table is
// full, new requests are turned away and none is forgotten early.

import CtrlExec

/// (principal, request id) without what differs between attempts.
package enum RequestKey: Comparable, Hashable, Sendable {
    case client(String, Principal)
    case minted(session: UInt64, sequence: UInt64, Principal)

    package init(_ request: RequestID, _ principal: Principal) {
        switch request {
        case .client(let text): self = .client(text, principal)
        case .minted(let session, let sequence, _): self = .minted(session: session, sequence: sequence, principal)
        }
    }
}

struct RequestTable: Hashable, Sendable {
    static let limit = 50_000
    /// A session is one run of one member.
    static let sessionLimit = 10_000
    static let keptMilliseconds: UInt64 = 24 * 60 * 60 * 1_000

    struct Record: Hashable, Sendable {
        let fingerprint: Fingerprint
        var outcome: Outcome
        var isUnderway: Bool { if case .underway = outcome { true } else { false } }
    }

    /// What one run of a member asked for under ids of its own. Expires as a whole, a day after it was last used.
    struct Session: Hashable, Sendable {
        /// Everything up to here was answered and is forgotten; a copy that arrives later is not carried out.
        var answeredThrough: UInt64 = 0
        var lastUsed: ClusterTime
        var records = SortedArrayMap<RequestKey, Record>()
    }

    enum Found: Hashable {
        case known(Outcome)
        /// Not carried out, and not kept.
        case turnedAway(Refusal)
        case new
    }

    enum Expiring: Hashable, Sendable {
        case client(RequestKey)
        case session(UInt64)
    }
    struct Expiry: Hashable, Sendable {
        let at: ClusterTime
        let what: Expiring
    }

    private(set) var clients = SortedArrayMap<RequestKey, Record>()
    private(set) var sessions = SortedArrayMap<UInt64, Session>()
    /// Outcomes kept, in both.
    private(set) var count = 0
    /// One for each client's record and each session. Cluster time never goes back, so the first is (nearly) the earliest; what stands behind
    /// a later one waits for it, which "at least a day" permits.
    private(set) var expiries = Queue<Expiry>()

    init() {}

    /// As it was in another process; the expiries are appended one by one, in their order.
    init(clients: SortedArrayMap<RequestKey, Record>, sessions: SortedArrayMap<UInt64, Session>) {
        self.clients = clients
        self.sessions = sessions
        count = clients.count + sessions.values.reduce(0) { $0 + $1.records.count }
    }

    mutating func append(_ what: Expiring, at end: ClusterTime) { expiries.append(Expiry(at: end, what: what)) }

    func find(_ request: RequestID, by principal: Principal, _ fingerprint: Fingerprint) -> Found {
        let key = RequestKey(request, principal)
        let record: Record?
        switch request {
        case .client: record = clients[key]
        case .minted(let session, let sequence, _):
            if let session = sessions[session] {
                if sequence <= session.answeredThrough { return .turnedAway(.requestForgotten) }
                record = session.records[key]
            } else {
                if sessions.count >= RequestTable.sessionLimit { return .turnedAway(.requestTableFull) }
                record = nil
            }
        }
        if let record { return record.fingerprint == fingerprint ? .known(record.outcome) : .turnedAway(.requestIDReused) }
        return count >= RequestTable.limit ? .turnedAway(.requestTableFull) : .new
    }

    /// What a minted id says about its session holds even where the request is old or turned away.
    mutating func note(_ request: RequestID, at now: ClusterTime) {
        guard case .minted(let id, let sequence, let answeredThrough) = request, sequence > 0, sessions[id] != nil else { return }
        // A request cannot have been answered before it was made.
        let through = min(answeredThrough, sequence - 1)
        let forgotten = sessions.update(id) { session -> Int in
            session.lastUsed = now
            guard through > session.answeredThrough else { return 0 }
            session.answeredThrough = through
            let kept = session.records.keys.firstIndex { if case .minted(_, let sequence, _) = $0 { sequence > through } else { true } }
            let forgotten = kept ?? session.records.count
            session.records.removeFirst(forgotten)
            return forgotten
        }
        count -= forgotten ?? 0
    }

    /// The caller has found it to be `.new`.
    mutating func store(_ request: RequestID, by principal: Principal, _ record: Record, at now: ClusterTime) {
        let key = RequestKey(request, principal)
        switch request {
        case .client:
            clients[key] = record
            expiries.append(Expiry(at: now + RequestTable.keptMilliseconds, what: .client(key)))
        case .minted(let id, let sequence, let answeredThrough):
            if sessions[id] == nil {
                let through = sequence == 0 ? 0 : min(answeredThrough, sequence - 1)
                sessions[id] = Session(answeredThrough: through, lastUsed: now)
                expiries.append(Expiry(at: now + RequestTable.keptMilliseconds, what: .session(id)))
            }
            sessions.update(id) { $0.records[key] = record }
        }
        count += 1
    }

    /// An obligation ended. A request that was forgotten meanwhile stays forgotten.
    mutating func settle(_ key: RequestKey, _ outcome: Outcome) {
        switch key {
        case .client: clients.update(key) { $0.outcome = outcome }
        case .minted(let session, _, _): sessions.update(session) { _ = $0.records.update(key) { $0.outcome = outcome } }
        }
    }

    mutating func forget(at now: ClusterTime) {
        // After a long silence everything may be due at once: what is forgotten is taken away in one go.
        var forgotten: [Int] = []
        defer { clients.remove(at: forgotten) }
        // Each is looked at once, even where the time has reached its greatest value and nothing can be put off any more.
        for _ in 0..<expiries.count {
            guard let next = expiries.first, next.at <= now else { return }
            expiries.removeFirst()
            switch next.what {
            case .client(let key):
                let position = clients.position(of: key)
                if let position, clients.values[position].isUnderway {
                    expiries.append(Expiry(at: now + RequestTable.keptMilliseconds, what: next.what))
                } else {
                    if let position { forgotten.append(position) }
                    count -= 1
                }
            case .session(let id):
                guard let session = sessions[id] else { continue }
                let end = session.lastUsed + RequestTable.keptMilliseconds
                if end > now || session.records.values.contains(where: { $0.isUnderway }) {
                    expiries.append(Expiry(at: max(end, now), what: next.what))
                } else {
                    sessions[id] = nil
                    count -= session.records.count
                }
            }
        }
    }
}
