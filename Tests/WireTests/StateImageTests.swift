// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A snapshot's body: the state comes back whole, and goes on as the original does.

import Consensus
import CtrlExec
import DispatcherState
import Testing

@testable import Wire

@Suite struct StateImageTests {
    private func afterwards(_ state: DispatcherState) throws -> DispatcherState {
        try DispatcherState(genesis: state.genesis, image: try StateImage(decoding: try state.image().encoded()))
    }

    @Test("an image comes back as it was, and the state made of it has that image", arguments: 0..<8 as Range<UInt64>)
    func images(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<100 {
            let genesis = generator.genesis()
            let image = generator.image(of: genesis)
            #expect(try StateImage(decoding: try image.encoded()) == image)
            let state = try DispatcherState(genesis: genesis, image: image)
            #expect(state.image() == image)
            let again = try afterwards(state)
            #expect(again == state)
            #expect(again.fullStateHash() == state.fullStateHash())
        }
    }

    @Test("whatever is applied to a state that came out of an image does not trap", arguments: 0..<4 as Range<UInt64>)
    func oddStates(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<30 {
            let genesis = generator.genesis()
            var image = generator.image(of: genesis)
            image.appliedIndex = LogIndex(10)
            var state = try DispatcherState(genesis: genesis, image: image)
            var twin = try afterwards(state)
            for index in 11..<60 as Range<UInt64> {
                let proposal = generator.proposal()
                #expect(
                    state.apply(proposal, at: LogIndex(index), term: Term(1)) == twin.apply(proposal, at: LogIndex(index), term: Term(1)))
            }
            #expect(state == twin)
        }
    }

    @Test("a state that went through an image goes on like the one that did not", arguments: 0..<6 as Range<UInt64>)
    func lives(_ seed: UInt64) throws {
        var life = StateLife(seed: seed)
        var twin = life
        for step in 1...1_500 {
            life.step()
            twin.step()
            if step % 50 == 0 {
                #expect(life.state.stateHash == twin.state.stateHash)
                let revived = try afterwards(twin.state)
                #expect(revived == life.state)
                #expect(revived.fullStateHash() == life.state.fullStateHash())
                twin.state = revived
            }
        }
    }

    @Test("the lives that are compared fill every part of the state")
    func livesAreFull() throws {
        var sum: [String: Int] = [:]
        for seed in 0..<10 as Range<UInt64> {
            var life = StateLife(seed: seed)
            for step in 1...1_500 {
                life.step()
                guard step % 10 == 0 else { continue }
                let image = life.state.image()
                sum["clients", default: 0] += image.clients.count
                sum["sessions", default: 0] += image.sessions.count
                sum["records", default: 0] += image.sessions.reduce(0) { $0 + $1.records.count }
                sum["waiters", default: 0] += image.obligations.reduce(0) { $0 + $1.waiters.count }
                sum["agents", default: 0] += image.agents.count
                sum["tags", default: 0] += image.agents.count { $0.tags != .none }
                sum["dialects", default: 0] += image.agents.count { $0.dialect != nil }
                sum["waiting", default: 0] += image.waiting.count
                sum["granted", default: 0] += image.waiting.count { $0.granted != nil }
                sum["decided", default: 0] += image.decided.count
                sum["operators", default: 0] += image.operators.count
                sum["identities", default: 0] += image.identities.count - 1
                sum["retiring", default: 0] += image.uses.count { $0.use.retireAt != nil }
                sum["rotation", default: 0] += image.rotation == nil ? 0 : 1
                sum["last rotation", default: 0] += image.lastRotation == nil ? 0 : 1
                sum["revocations", default: 0] += image.revocations.count
                sum["joining", default: 0] += image.members.count { $0.phase == .joining }
                sum["leaving", default: 0] += image.members.count { $0.phase == .leaving }
                sum["invitations", default: 0] += image.invitations.count { $0.binding == nil }
                sum["tokens used", default: 0] += image.invitations.count { $0.binding != nil }
                sum["former members", default: 0] += image.formerMembers.count
                sum["learners", default: 0] += image.learners.count
                sum["open", default: 0] += image.pairingOpenUntil == nil ? 0 : 1
            }
        }
        #expect(sum.count == 23)
        for (part, count) in sum { #expect(count > 0, "\(part) never held anything") }
    }

    // MARK: What is refused

    @Test("an image of another genesis, of a newer format, or of nothing is refused")
    func foreign() throws {
        var generator = ValueGenerator(seed: 3)
        let (genesis, other) = (generator.genesis(), generator.genesis())
        let image = generator.image(of: genesis)
        #expect(throws: StateImageFlaw.foreignGenesis) { try DispatcherState(genesis: other, image: image) }
        var proto = ProtoStateImage()
        proto.format = 9
        let newer = proto.serialized()
        #expect(throws: WireFailure.unknownFormat(9)) { try StateImage(decoding: newer) }
        #expect(throws: WireFailure.unknownFormat(0)) { try StateImage(decoding: []) }
    }

    struct Spoiled: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let spoil: @Sendable (inout StateImage) -> Void
        init(_ description: String, _ spoil: @escaping @Sendable (inout StateImage) -> Void) {
            testDescription = description
            self.spoil = spoil
        }
    }

    /// An image with at least two of everything; it takes thousands of draws to find one.
    private static let full: (genesis: GenesisState, image: StateImage) = {
        var generator = ValueGenerator(seed: 11)
        while true {
            let genesis = generator.genesis()
            let image = generator.image(of: genesis)
            let counts = [
                image.clients.count, image.sessions.count, image.obligations.count, image.agents.count, image.waiting.count,
                image.decided.count, image.operators.count, image.identities.count, image.uses.count, image.revocations.count,
                image.sessions.first?.records.count ?? 0, image.uses.first?.use.holders.count ?? 0,
            ]
            if counts.allSatisfy({ $0 >= 2 }) { return (genesis, image) }
        }
    }()

    @Test(
        "an image that no state has is refused",
        arguments: [
            Spoiled("requests out of order") { $0.clients.swapAt(0, 1) },
            Spoiled("a session twice") { $0.sessions[1].id = $0.sessions[0].id },
            Spoiled("records of a session out of order") { $0.sessions[0].records.swapAt(0, 1) },
            Spoiled("a record that was answered") { $0.sessions[0].answeredThrough = 5 },
            Spoiled("a record without expiry") { $0.expiries.removeLast() },
            Spoiled("an expiry twice") { $0.expiries[1] = $0.expiries[0] },
            Spoiled("an expiry of nothing") { $0.expiries[0].what = .client($0.clients.count) },
            Spoiled("an expiry of a session that is not there") { $0.expiries[0].what = .session(-1) },
            Spoiled("obligations out of order") { $0.obligations.swapAt(0, 1) },
            Spoiled("agents out of order") { $0.agents.swapAt(0, 1) },
            Spoiled("a pairing request twice") { $0.waiting[1] = $0.waiting[0] },
            Spoiled("more pairing requests than wait") { $0.waiting = [QueuedPairing](repeating: $0.waiting[0], count: 11) },
            Spoiled("a decision twice") { $0.decided[1] = $0.decided[0] },
            Spoiled("a request that waits and is decided") { $0.decided[0].decision.reqid = $0.waiting[0].submission.reqid },
            Spoiled("operators out of order") { $0.operators.swapAt(0, 1) },
            Spoiled("an identity twice") { $0.identities[1] = $0.identities[0] },
            Spoiled("more identities than are kept") { $0.identities = [Identity](repeating: $0.identities[0], count: 25) },
            Spoiled("uses out of order") { $0.uses.swapAt(0, 1) },
            Spoiled("holders out of order") { $0.uses[0].use = IdentityUse(holders: $0.uses[0].use.holders.reversed()) },
            Spoiled("revocations out of order") { $0.revocations.swapAt(0, 1) },
            Spoiled("more agents than are paired") { $0.agents = [AgentRecord](repeating: $0.agents[0], count: 10_001) },
        ])
    func spoiled(_ spoiled: Spoiled) throws {
        let genesis = StateImageTests.full.genesis
        var image = StateImageTests.full.image
        _ = try DispatcherState(genesis: genesis, image: image)
        spoiled.spoil(&image)
        let flaw = #expect(throws: StateImageFlaw.self) { try DispatcherState(genesis: genesis, image: image) }
        #expect(flaw?.description.contains("snapshot") == true)
    }

    @Test("bytes that were changed, cut or stretched are refused or read, and never trap", arguments: 0..<8 as Range<UInt64>)
    func hostile(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<60 {
            let genesis = generator.genesis()
            let honest = try generator.image(of: genesis).encoded()
            for _ in 0..<10 {
                var bytes = honest
                for _ in 0...generator.random.below(3) where !bytes.isEmpty {
                    let position = Int(generator.random.below(UInt64(bytes.count)))
                    switch generator.random.below(5) {
                    case 0: bytes[position] ^= 1 << UInt8(generator.random.below(8))
                    case 1: bytes[position] = generator.pick([0, 0x7f, 0x80, 0xff])
                    case 2: bytes.removeSubrange(position...)
                    case 3: bytes.insert(contentsOf: generator.bytes(), at: position)
                    default: bytes.insert(contentsOf: [UInt8](repeating: 0xff, count: 12), at: position)
                    }
                }
                do {
                    let image = try StateImage(decoding: bytes)
                    #expect(try StateImage(decoding: try image.encoded()) == image)
                    var state = try DispatcherState(genesis: genesis, image: image)
                    #expect(state.image() == image)
                    _ = state.fullStateHash()
                    _ = state.apply(generator.proposal(), at: LogIndex(state.appliedIndex.position + 1), term: Term(1))
                } catch let failure as WireFailure { #expect(!failure.description.isEmpty) } catch let flaw as StateImageFlaw {
                    #expect(!flaw.description.isEmpty)
                }
            }
            do { _ = try StateImage(decoding: generator.bytes(200)) } catch { #expect(!"\(error)".isEmpty) }
        }
    }
}
