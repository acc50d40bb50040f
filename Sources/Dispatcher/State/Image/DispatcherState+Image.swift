// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// From a state to its image and back. `DispatcherState(genesis: state.genesis, image: state.image())` equals `state`, down to the order in
// which things are forgotten, so that whoever begins from a snapshot goes on exactly as those who applied every entry.

import Consensus
import CtrlExec

extension DispatcherState {
    /// Names a genesis; a state without entries has it as its `stateHash`.
    package static func hash(of genesis: GenesisState) -> UInt64 {
        var hasher = CanonicalHasher(.entry)
        hasher.add(genesis)
        return hasher.digest
    }

    /// Takes time and memory in proportion to the state.
    package func image() -> StateImage {
        var image = StateImage(
            genesisHash: DispatcherState.hash(of: genesis), time: time, appliedIndex: appliedIndex, stateHash: stateHash,
            nextSerialCounter: serials.next, rotationIndex: rotationIndex, machineVersion: machineVersion)
        requests.write(into: &image)
        image.obligations = openObligations.open.values.map {
            StateImage.OpenObligation(obligation: $0, waiters: openObligations.waiters[$0.id] ?? [])
        }
        image.agents = registry.agents.values
        pairing.write(into: &image)
        image.operators = operatorBook.records.values
        image.identities = identityBook.all
        image.uses = zip(identityBook.uses.keys, identityBook.uses.values).map { StateImage.Use(serial: $0, use: $1) }
        image.rotation = identityBook.rotation
        image.lastRotation = identityBook.lastRotation
        image.revocations = revocationBook.records.values
        image.revocationIndex = revocationBook.changed
        membership.write(into: &image)
        return image
    }

    /// The state that the image was taken of.
    package init(genesis: GenesisState, image: StateImage) throws(StateImageFlaw) {
        self.init(genesis: genesis)
        guard image.genesisHash == stateHash else { throw .foreignGenesis }
        time = image.time
        appliedIndex = image.appliedIndex
        stateHash = image.stateHash
        serials = Serials(incarnation: genesis.incarnation, next: image.nextSerialCounter)
        rotationIndex = image.rotationIndex
        guard image.machineVersion >= .first else { throw .inconsistent("the version of the rules is none") }
        machineVersion = image.machineVersion
        requests = try RequestTable(image)
        openObligations = try Obligations(image)
        registry = try Registry(image)
        pairing = try PairingQueue(image)
        operatorBook = try Operators(image)
        identityBook = try Identities(image)
        revocationBook = try Revocations(image)
        membership = try Membership(image)
    }
}

extension SortedArrayMap {
    /// Both of one length, the keys rising.
    init(rising keys: [Key], _ values: [Value], _ what: String, limit: Int = .max) throws(StateImageFlaw) {
        guard keys.count <= limit else { throw .tooMany(what, count: keys.count, limit: limit) }
        for (key, next) in zip(keys, keys.dropFirst()) where !(key < next) { throw .unordered(what) }
        self.init(uncheckedKeys: keys, values: values)
    }
}

// MARK: The rooms of the state, each with what it holds

extension RequestTable {
    func write(into image: inout StateImage) {
        image.clients = zip(clients.keys, clients.values).compactMap { key, record in
            guard case .client(let text, let principal) = key else { return nil }
            return StateImage.Client(text: text, principal: principal, kept: StateImage.Kept(record))
        }
        image.sessions = zip(sessions.keys, sessions.values).map { id, session in
            StateImage.Session(
                id: id, answeredThrough: session.answeredThrough, lastUsed: session.lastUsed,
                records: zip(session.records.keys, session.records.values).compactMap { key, record in
                    guard case .minted(_, let sequence, let principal) = key else { return nil }
                    return StateImage.Session.Record(sequence: sequence, principal: principal, kept: StateImage.Kept(record))
                })
        }
        image.expiries = expiries.live.compactMap { expiry in
            switch expiry.what {
            case .client(let key): clients.position(of: key).map { StateImage.Expiry(at: expiry.at, what: .client($0)) }
            case .session(let id): sessions.position(of: id).map { StateImage.Expiry(at: expiry.at, what: .session($0)) }
            }
        }
    }

    init(_ image: StateImage) throws(StateImageFlaw) {
        self.init(
            clients: try SortedArrayMap(
                rising: image.clients.map { .client($0.text, $0.principal) }, image.clients.map { Record($0.kept) }, "requests"),
            sessions: try SortedArrayMap(
                rising: image.sessions.map(\.id), try RequestTable.sessions(image), "sessions", limit: RequestTable.sessionLimit))
        guard count <= RequestTable.limit else { throw .tooMany("requests", count: count, limit: RequestTable.limit) }
        try expire(image)
    }

    private static func sessions(_ image: StateImage) throws(StateImageFlaw) -> [Session] {
        var sessions: [Session] = []
        for session in image.sessions {
            let records = try SortedArrayMap(
                rising: session.records.map { RequestKey.minted(session: session.id, sequence: $0.sequence, $0.principal) },
                session.records.map { Record($0.kept) }, "requests of a session")
            if let first = session.records.first, first.sequence <= session.answeredThrough {
                throw .inconsistent("a request is kept that was answered and forgotten")
            }
            sessions.append(Session(answeredThrough: session.answeredThrough, lastUsed: session.lastUsed, records: records))
        }
        return sessions
    }

    /// Exactly one expiry for each record and each session.
    private mutating func expire(_ image: StateImage) throws(StateImageFlaw) {
        let flaw = StateImageFlaw.inconsistent("what is kept and when it is forgotten do not fit")
        guard image.expiries.count == clients.count + sessions.count else { throw flaw }
        var seen = [Bool](repeating: false, count: clients.count + sessions.count)
        for expiry in image.expiries {
            let place: Int
            switch expiry.what {
            case .client(let position):
                guard clients.keys.indices.contains(position) else { throw flaw }
                place = position
                append(.client(clients.keys[position]), at: expiry.at)
            case .session(let position):
                guard sessions.keys.indices.contains(position) else { throw flaw }
                place = clients.count + position
                append(.session(sessions.keys[position]), at: expiry.at)
            }
            guard !seen[place] else { throw flaw }
            seen[place] = true
        }
    }
}

extension StateImage.Kept {
    init(_ record: RequestTable.Record) { self.init(fingerprint: record.fingerprint, outcome: record.outcome) }
}

extension RequestTable.Record {
    init(_ kept: StateImage.Kept) { self.init(fingerprint: kept.fingerprint, outcome: kept.outcome) }
}

extension Obligations {
    init(_ image: StateImage) throws(StateImageFlaw) {
        let waiting = image.obligations.filter { !$0.waiters.isEmpty }
        self.init(
            open: try SortedArrayMap(
                rising: image.obligations.map(\.obligation.id), image.obligations.map(\.obligation), "obligations", limit: Obligations.limit
            ),
            waiters: try SortedArrayMap(rising: waiting.map(\.obligation.id), waiting.map(\.waiters), "obligations"))
    }
}

extension Registry {
    init(_ image: StateImage) throws(StateImageFlaw) {
        self.init(agents: try SortedArrayMap(rising: image.agents.map(\.name), image.agents, "agents", limit: Registry.limit))
    }
}

extension PairingQueue {
    func write(into image: inout StateImage) {
        image.waiting = waiting
        image.pairingOpenUntil = openUntil
        image.decided = decisionOrder.live.compactMap { reqid in
            decisions[reqid].map { StateImage.Decided(decision: $0.decision, name: $0.name, serial: $0.serial, at: $0.at) }
        }
    }

    init(_ image: StateImage) throws(StateImageFlaw) {
        guard image.waiting.count <= PairingQueue.limit else {
            throw .tooMany("pairing requests", count: image.waiting.count, limit: PairingQueue.limit)
        }
        let byReqid = image.decided.sorted { $0.decision.reqid < $1.decision.reqid }
        let decisions = try SortedArrayMap(
            rising: byReqid.map(\.decision.reqid),
            byReqid.map { Decided(decision: $0.decision, name: $0.name, serial: $0.serial, at: $0.at) }, "pairing decisions",
            limit: PairingQueue.decisionLimit)
        self.init(
            waiting: image.waiting, openUntil: image.pairingOpenUntil, decisions: decisions, order: image.decided.map(\.decision.reqid))
        let reqids = image.waiting.map(\.submission.reqid).sorted()
        for (reqid, next) in zip(reqids, reqids.dropFirst()) where reqid == next { throw .unordered("pairing requests") }
        for reqid in reqids where decisions[reqid] != nil { throw .inconsistent("a pairing request waits and is decided") }
    }
}

extension Operators {
    init(_ image: StateImage) throws(StateImageFlaw) {
        self.init(
            records: try SortedArrayMap(
                rising: image.operators.map { Key(name: $0.name, serial: $0.serial) }, image.operators, "certificates of operators",
                limit: Operators.limit))
    }
}

extension Identities {
    init(_ image: StateImage) throws(StateImageFlaw) {
        let limit = Identities.keptLimit + Identities.limit
        guard image.identities.count <= limit else {
            throw .tooMany("dispatcher identities", count: image.identities.count, limit: limit)
        }
        let serials = image.identities.map(\.serial).sorted()
        for (serial, next) in zip(serials, serials.dropFirst()) where serial == next { throw .unordered("dispatcher identities") }
        for use in image.uses {
            for (member, next) in zip(use.use.holders, use.use.holders.dropFirst()) where !(member < next) {
                throw .unordered("members that hold an identity")
            }
        }
        self.init(
            all: image.identities,
            uses: try SortedArrayMap(rising: image.uses.map(\.serial), image.uses.map(\.use), "uses of identities", limit: limit),
            rotation: image.rotation, lastRotation: image.lastRotation)
    }
}

extension Revocations {
    init(_ image: StateImage) throws(StateImageFlaw) {
        self.init(
            records: try SortedArrayMap(
                rising: image.revocations.map(\.serial), image.revocations, "revoked certificates", limit: Revocations.limit),
            changed: image.revocationIndex)
    }
}

extension Membership {
    func write(into image: inout StateImage) {
        image.members = members.values
        image.invitations = invitations.values
        image.formerMembers = former.values
        image.voters = voters
        image.learners = learners
        image.membershipIndex = changed
    }

    init(_ image: StateImage) throws(StateImageFlaw) {
        for (list, what, limit) in [(image.voters, "voters", Membership.limit), (image.learners, "learners", Configuration.learnerLimit)] {
            guard list.count <= limit else { throw .tooMany(what, count: list.count, limit: limit) }
            for (id, next) in zip(list, list.dropFirst()) where !(id < next) { throw .unordered(what) }
        }
        self.init(
            members: try SortedArrayMap(rising: image.members.map(\.id), image.members, "members", limit: Membership.formerLimit),
            invitations: try SortedArrayMap(
                rising: image.invitations.map(\.id), image.invitations, "invitations", limit: Membership.formerLimit),
            former: try SortedArrayMap(
                rising: image.formerMembers.map(\.id), image.formerMembers, "former members", limit: Membership.formerLimit),
            voters: image.voters, learners: image.learners, changed: image.membershipIndex)
        for id in former.keys where members[id] != nil || invitations[id] != nil {
            throw .inconsistent("a member is there and was removed")
        }
        for id in invitations.keys where members[id] != nil { throw .inconsistent("a member is there and invited") }
    }
}
