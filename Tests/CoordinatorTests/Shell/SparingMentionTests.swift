// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What anybody can bring about is logged a few times, then once in a while.

import NIOCore
import Testing

@testable import Coordinator

@Suite("Sparing mention")
struct SparingMentionTests {
    @Test("eight at once, then one every ten seconds, with the number of those left out")
    func spares() {
        var mention = SparingMention()
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        #expect((0..<10).map { _ in mention.mention(now: start) } == [0, 0, 0, 0, 0, 0, 0, 0, nil, nil])
        #expect(mention.mention(now: start + .seconds(9)) == nil)
        #expect(mention.mention(now: start + .seconds(10)) == 3)
        #expect(mention.mention(now: start + .seconds(10)) == nil)
        #expect(mention.mention(now: start + .hours(1)) == 1)
    }
}
