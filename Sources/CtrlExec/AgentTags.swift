// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What an agent says of itself in its `[tags]` (protocol page, 8.1): words that people choose hosts by. Every member keeps those of every
// agent, so that they are bounded here and not by each agent's good will.

package struct AgentTag: Hashable, Sendable {
    package let key: String
    package let value: String
    package init(key: String, value: String) {
        self.key = key
        self.value = value
    }

    /// A key that is not empty, both at most 256 bytes, without control characters: they are shown on terminals.
    package var isAcceptable: Bool {
        !key.isEmpty && [key, value].allSatisfy { $0.utf8.count <= AgentTags.textLimit && !$0.utf8.contains { $0 < 32 || $0 == 127 } }
    }

    fileprivate var bytes: Int { key.utf8.count + value.utf8.count }
}

/// The tags of one agent.
package struct AgentTags: Hashable, Sendable {
    package static let countLimit = 64
    package static let textLimit = 256
    /// Keys and values together: ten thousand agents may have them.
    package static let bytesLimit = 4_096
    package static let none = AgentTags()

    /// Sorted by key, no key twice.
    package let all: [AgentTag]

    private init() { all = [] }

    /// Nil unless they are sorted, acceptable and within the limits.
    package init?(_ tags: [AgentTag]) {
        guard tags.count <= AgentTags.countLimit, tags.allSatisfy(\.isAcceptable), tags.reduce(0, { $0 + $1.bytes }) <= AgentTags.bytesLimit
        else { return nil }
        for (tag, next) in zip(tags, tags.dropFirst()) where !tag.key.utf8.lexicographicallyPrecedes(next.key.utf8) { return nil }
        all = tags
    }

    /// What can be kept of an agent's answer, in the order of the keys; scalars become text as Perl would print them.
    ///
    /// - Parameter reported: the member `tags` of an answer to `/capabilities`; what is no object has no tags.
    package init(keepingOf reported: JSONValue) {
        var kept: [AgentTag] = []
        var bytes = 0
        // The members of an object are sorted, and no key is there twice.
        if case .object(let members) = reported {
            for member in members where kept.count < AgentTags.countLimit {
                guard let value = member.value.scalarText, case let tag = AgentTag(key: member.key, value: value), tag.isAcceptable,
                    bytes + tag.bytes <= AgentTags.bytesLimit
                else { continue }
                bytes += tag.bytes
                kept.append(tag)
            }
        }
        all = kept
    }

    package subscript(key: String) -> String? { all.first { $0.key == key }?.value }

    /// As JSON shows them.
    package var json: JSONValue { .object(all.map { JSONValue.Member($0.key, .text($0.value)) }) }
}
