// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is not what it claims to be is refused with a word, never with a trap.

import Consensus
import CtrlExec
import DispatcherState
import Testing

@testable import Wire

@Suite struct HostileBytesTests {
    /// Decodes as everything; what is accepted is within the limits that the rooms behind rely on.
    private func feed(_ bytes: [UInt8]) {
        do {
            let message = try PeerMessage(decoding: bytes)
            if case .consensus(let message, _) = message { #expect(message.term.number <= WireLimit.number) }
            #expect((try? PeerMessage(decoding: message.encoded())) == message)
        } catch { #expect(!error.description.isEmpty) }
        do {
            let proposal = try Proposal(decoding: bytes)
            #expect((try? Proposal(decoding: proposal.encoded())) == proposal)
        } catch { #expect(!error.description.isEmpty) }
        do { _ = try GenesisState(decoding: bytes) } catch { #expect(!error.description.isEmpty) }
        do {
            let message = try BulkMessage(decoding: bytes)
            #expect((try? BulkMessage(decoding: message.encoded())) == message)
        } catch { #expect(!error.description.isEmpty) }
        do { _ = try PeerHello(decoding: bytes) } catch { #expect(!error.description.isEmpty) }
    }

    @Test("bytes that were changed, cut, or stretched are refused or read, and never trap", arguments: 0..<8 as Range<UInt64>)
    func mutated(_ seed: UInt64) {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<150 {
            let honest = generator.pick([
                generator.peerMessage().encoded(), generator.proposal().encoded(), generator.genesis().encoded(),
                generator.hello().encoded(), generator.bulkMessage().encoded(),
            ])
            for _ in 0..<4 {
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
                feed(bytes)
            }
        }
    }

    @Test("noise is refused or read, and never traps", arguments: 0..<4 as Range<UInt64>)
    func noise(_ seed: UInt64) {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<500 { feed(generator.bytes(200)) }
    }

    @Test("nothing, and a message without content, are refused")
    func empty() {
        #expect(throws: WireFailure.self) { try PeerMessage(decoding: []) }
        #expect(throws: WireFailure.unknownFormat(0)) { try Proposal(decoding: []) }
        #expect(throws: WireFailure.unknownFormat(0)) { try GenesisState(decoding: []) }
        #expect(throws: WireFailure.self) { try PeerHello(decoding: []) }
        #expect(throws: WireFailure.self) { try BulkMessage(decoding: []) }
        var message = ProtoPeerMessage()
        message.consensus.term = 1
        let bytes = message.serialized()
        #expect(throws: WireFailure.malformed("message of consensus, or one of a newer version")) { try PeerMessage(decoding: bytes) }
    }

    @Test("what is too large is refused before it is read")
    func oversize() {
        let frame = [UInt8](repeating: 0, count: WireLimit.frame + 1)
        #expect(throws: WireFailure.tooLarge(count: frame.count, limit: WireLimit.frame)) { try PeerMessage(decoding: frame) }
        #expect(throws: WireFailure.tooLarge(count: frame.count, limit: WireLimit.frame)) { try GenesisState(decoding: frame) }
        #expect(throws: WireFailure.tooLarge(count: frame.count, limit: Entry.payloadLimit)) { try Proposal(decoding: frame) }
        #expect(throws: WireFailure.tooLarge(count: frame.count, limit: 1024)) { try PeerHello(decoding: frame) }
    }

    @Test("a newer format is named in the refusal")
    func newerFormat() {
        var proposal = ProtoProposal()
        proposal.format = 9
        let bytes = proposal.serialized()
        #expect(throws: WireFailure.unknownFormat(9)) { try Proposal(decoding: bytes) }
        #expect(WireFailure.unknownFormat(9).description.contains("newer"))
    }

    struct Spoiled: CustomTestStringConvertible {
        let testDescription: String
        let message: ProtoPeerMessage
        init(_ description: String, _ fill: (inout ProtoPeerMessage) -> Void) {
            testDescription = description
            var message = ProtoPeerMessage()
            fill(&message)
            self.message = message
        }
    }

    private static func honestForward(_ message: inout ProtoPeerMessage) {
        message.forward.command.expire = ProtoNothing()
        message.forward.principal.leader = ProtoNothing()
        message.forward.request.client = "x"
    }

    @Test("the message that the spoiled ones are made from is accepted")
    func honest() throws {
        var message = ProtoPeerMessage()
        HostileBytesTests.honestForward(&message)
        _ = try PeerMessage(decoding: message.serialized())
    }

    @Test(
        "values beyond their limits or outside their grammar are refused",
        arguments: [
            Spoiled("a term near overflow") { ($0.consensus.term, $0.consensus.heartbeatAnswer) = (.max, 1) },
            Spoiled("an index near overflow") { $0.consensus.heartbeat.commit = .max },
            Spoiled("a promise of years") { $0.consensus.heartbeat.promiseNanoseconds = .max },
            Spoiled("entries behind the last index") {
                $0.consensus.append.previousIndex = .max
                $0.consensus.append.entries = [ProtoEntry()]
            },
            Spoiled("too many entries") {
                $0.consensus.append.entries = [ProtoEntry](repeating: ProtoEntry(), count: WireLimit.entries + 1)
            },
            Spoiled("too large an entry") {
                var entry = ProtoEntry()
                entry.payload = field([UInt8](repeating: 0, count: Entry.payloadLimit + 1))
                $0.consensus.append.entries = [entry]
            },
            Spoiled("an answer without a result") { $0.consensus.appendAnswer.number = 1 },
            Spoiled("a forwarded request without operation") { $0.forward.number = 1 },
            Spoiled("a remaining time of years") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.remainingMilliseconds = .max
            },
            Spoiled("a member's name that is none") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.transfer = "Not A Member"
            },
            Spoiled("a request id with a space") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.request.client = "a b"
            },
            Spoiled("an agent's name that climbs") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.command.unpair = "../../etc/passwd"
            },
            Spoiled("a port beyond 65535") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.command.approvePairing.reachability.port = 65_536
            },
            Spoiled("a serial number of 21 bytes") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.principal.operatorCertificate.name = "ada"
                $0.forward.principal.operatorCertificate.serial = field([UInt8](repeating: 1, count: 21))
            },
            Spoiled("a serial number of zero") {
                HostileBytesTests.honestForward(&$0)
                $0.forward.principal.operatorCertificate.name = "ada"
                $0.forward.principal.operatorCertificate.serial = field([0, 0])
            },
            Spoiled("a refusal of an unknown kind") { $0.forwardAnswer.settled.outcome.refused.kind = .UNRECOGNIZED(99) },
            Spoiled("a report with too many peers") {
                $0.report.report.member = "a"
                $0.report.report.role = .leader
                $0.report.report.peers = [ProtoPeerContact](repeating: ProtoPeerContact(), count: 17)
            },
        ])
    func spoiled(_ spoiled: Spoiled) {
        #expect(throws: WireFailure.self) { try PeerMessage(decoding: spoiled.message.serialized()) }
    }
}
