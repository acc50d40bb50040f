// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is encoded is decoded as it was.

import Consensus
import CtrlExec
import DispatcherState
import Testing
import Wire

@Suite struct RoundTripTests {
    @Test("a proposal comes back as it was", arguments: 0..<8 as Range<UInt64>)
    func proposals(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<500 {
            let proposal = generator.proposal()
            #expect(try Proposal(decoding: proposal.encoded()) == proposal)
        }
    }

    @Test("a genesis state comes back as it was", arguments: 0..<4 as Range<UInt64>)
    func genesis(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<100 {
            let genesis = generator.genesis()
            #expect(try GenesisState(decoding: genesis.encoded()) == genesis)
        }
    }

    @Test("a hello comes back as it was, of whatever protocol version")
    func hellos() throws {
        var generator = ValueGenerator(seed: 1)
        for _ in 0..<200 {
            let hello = generator.hello()
            #expect(try PeerHello(decoding: hello.encoded()) == hello)
        }
    }

    @Test("a peer message comes back as it was", arguments: 0..<8 as Range<UInt64>)
    func messages(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<500 {
            let message = generator.peerMessage()
            #expect(try PeerMessage(decoding: message.encoded()) == message)
        }
    }

    @Test("a bulk message comes back as it was", arguments: 0..<4 as Range<UInt64>)
    func bulkMessages(_ seed: UInt64) throws {
        var generator = ValueGenerator(seed: seed)
        for _ in 0..<200 {
            let message = generator.bulkMessage()
            #expect(try BulkMessage(decoding: message.encoded()) == message)
        }
    }

    @Test("the largest part of a bulk transfer fits into a frame, and no larger one is taken")
    func largestPart() throws {
        let largest = BulkMessage(.max, .bytes(offset: WireLimit.number, [UInt8](repeating: 7, count: WireLimit.bulkBytes)))
        #expect(largest.encoded().count <= WireLimit.frame)
        #expect(try BulkMessage(decoding: largest.encoded()) == largest)
        let larger = BulkMessage(1, .bytes(offset: 0, [UInt8](repeating: 7, count: WireLimit.bulkBytes + 1)))
        #expect(throws: WireFailure.self) { try BulkMessage(decoding: larger.encoded()) }
        for count in [0, UInt32(WireLimit.bulkBytes + 1), .max] {
            #expect(throws: WireFailure.self) { try BulkMessage(decoding: BulkMessage(1, .read(offset: 0, count: count)).encoded()) }
        }
    }

    @Test("a value has one encoding")
    func deterministic() {
        var generator = ValueGenerator(seed: 3)
        for _ in 0..<200 {
            let (proposal, message) = (generator.proposal(), generator.peerMessage())
            #expect(proposal.encoded() == proposal.encoded())
            #expect(message.encoded() == message.encoded())
        }
    }

    @Test("the largest entry fits into a frame, and so does a full batch")
    func largest() throws {
        let heartbeat = Heartbeat(number: HeartbeatNumber(1), promise: .milliseconds(300), commit: .zero)
        func message(_ entries: [Entry]) -> PeerMessage {
            .consensus(
                Message(
                    term: Term(1),
                    body: .append(Append(heartbeat: heartbeat, previousIndex: .zero, previousTerm: .zero, entries: entries))),
                SenderNote(calendar: WallClock(secondsSince1970: -1), knows: .second))
        }
        let large = message([Entry(index: LogIndex(1), term: Term(1), payload: [UInt8](repeating: 7, count: Entry.payloadLimit))])
        #expect(try PeerMessage(decoding: large.encoded()) == large)
        let many = message((1...WireLimit.entries).map { Entry(index: LogIndex(UInt64($0)), term: Term(1), payload: [1]) })
        #expect(try PeerMessage(decoding: many.encoded()) == many)
    }
}
