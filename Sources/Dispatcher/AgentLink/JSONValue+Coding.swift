// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// JSON values to and from bytes, and the shorthand with which answers are put together. Keys are sorted, so that equal values are equal
// bytes.

import CtrlExec
import FoundationEssentials

extension JSONValue {
    /// Members whose value is nil are left out.
    package static func record(_ members: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        .object(members: members.compactMap { key, value in value.map { Member(key, $0) } })
    }

    /// `self` with these members set.
    package func with(_ members: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        guard case .object(let present) = self else { return .record(members) }
        return .object(members: present + members.compactMap { key, value in value.map { Member(key, $0) } })
    }

    package static func count(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }
    package static func count(_ value: Int) -> JSONValue { .integer(Int64(value)) }

    package var bytes: [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Only a number that is not finite cannot be encoded, and parsing makes none.
        guard let data = try? encoder.encode(self) else { return Array(canonicalText.utf8) }
        return Array(data)
    }

    /// Nil if the bytes are not JSON.
    package init?(bytes: [UInt8]) {
        // What is wrong with somebody else's JSON is of no interest beyond that.
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(bytes)) else { return nil }
        self = value
    }
}
