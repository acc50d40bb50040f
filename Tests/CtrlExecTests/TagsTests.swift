// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is kept of the tags that an agent reports.

import CtrlExec
import Testing

@Suite("Tags") struct TagsTests {
    private func tags(_ members: [(String, JSONValue)]) -> AgentTags {
        AgentTags(keepingOf: .object(members: members.map { JSONValue.Member($0.0, $0.1) }))
    }

    @Test("scalars become text, and the rest is left out")
    func scalars() {
        let kept = tags([
            ("zone", .text("eu")), ("rack", .integer(7)), ("ssd", .boolean(true)), ("owners", .array([.text("ann")])), ("note", .null),
            ("", .text("nameless")), ("bell", .text("\u{7}")), ("es\u{1b}cape", .text("x")), ("empty", .text("")),
        ])
        #expect(kept.json.canonicalText == #"{"empty":"","rack":"7","ssd":"1","zone":"eu"}"#)
        #expect(kept["zone"] == "eu" && kept["owners"] == nil)
        for other in [JSONValue.null, .text("role=web"), .array([])] { #expect(AgentTags(keepingOf: other) == .none) }
    }

    @Test("no more than 64, none longer than 256 bytes, and 4096 bytes together")
    func limits() {
        let many = tags((0..<100).map { ("k\(1_000 + $0)", .text("v")) })
        #expect(many.all.count == 64 && many["k1000"] == "v" && many["k1064"] == nil)
        let long = tags([("a", .text(String(repeating: "x", count: 257))), ("b", .text(String(repeating: "ü", count: 128)))])
        #expect(long.all.map(\.key) == ["b"])
        let large = tags((0..<40).map { ("k\(10 + $0)", .text(String(repeating: "x", count: 250))) })
        #expect(large.all.count == 16)
        for kept in [many, long, large] { #expect(AgentTags(kept.all) == kept) }
    }

    @Test("tags from elsewhere are taken only as they are kept")
    func strict() {
        let (a, b) = (AgentTag(key: "a", value: "1"), AgentTag(key: "b", value: "2"))
        #expect(AgentTags([a, b])?.all == [a, b])
        #expect(AgentTags([]) == AgentTags.none)
        #expect(AgentTags([b, a]) == nil && AgentTags([a, a]) == nil)
        #expect(AgentTags([AgentTag(key: "", value: "x")]) == nil && AgentTags([AgentTag(key: "a", value: "\n")]) == nil)
        #expect(AgentTags((0..<65).map { AgentTag(key: "k\(1_000 + $0)", value: "") }) == nil)
        #expect(AgentTags((0..<30).map { AgentTag(key: "k\(10 + $0)", value: String(repeating: "x", count: 200)) }) == nil)
    }
}
