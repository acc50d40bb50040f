// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Scalars from Perl peers, whose JSON encoder writes a number as a string and truth as 1 when the value happens to be one.
// They decode from any scalar that can mean the value and encode as the type that the protocol page gives.

/// Text, or a number or boolean as Perl would print it; null is empty.
package struct LenientText: Hashable, Sendable, Codable {
    package let value: String
    package init(_ value: String) { self.value = value }
    package init(from decoder: any Decoder) throws {
        let json = try JSONValue(from: decoder)
        guard let text = json == .null ? "" : json.scalarText else { throw mismatch(decoder, "text") }
        value = text
    }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
    }
}

/// An integer, or text that is one.
package struct LenientInteger: Hashable, Sendable, Codable {
    package let value: Int64
    package init(_ value: Int64) { self.value = value }
    package init(from decoder: any Decoder) throws {
        switch try JSONValue(from: decoder) {
        case .integer(let integer): value = integer
        case .boolean(let boolean): value = boolean ? 1 : 0
        case .number(let number):
            guard let integer = Int64(exactly: number) else { throw mismatch(decoder, "an integer") }
            value = integer
        case .text(let text):
            guard let integer = Int64(text.trimmedOfWhiteSpace) else { throw mismatch(decoder, "an integer") }
            value = integer
        case .null, .array, .object: throw mismatch(decoder, "an integer")
        }
    }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
    }
}

/// A boolean, or any scalar by Perl's notion of truth.
package struct LenientBoolean: Hashable, Sendable, Codable {
    package let value: Bool
    package init(_ value: Bool) { self.value = value }
    package init(from decoder: any Decoder) throws {
        let json = try JSONValue(from: decoder)
        switch json {
        case .array, .object: throw mismatch(decoder, "a boolean")
        default: value = json.isTrue
        }
    }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(value)
    }
}

private func mismatch(_ decoder: any Decoder, _ expected: String) -> DecodingError {
    .dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "expected \(expected)"))
}

extension KeyedDecodingContainer {
    /// Nil if absent or null.
    package func text(_ key: Key) throws -> String? {
        guard contains(key), try !decodeNil(forKey: key) else { return nil }
        return try decode(LenientText.self, forKey: key).value
    }
    /// Nil if absent or null.
    package func integer(_ key: Key) throws -> Int64? {
        guard contains(key), try !decodeNil(forKey: key) else { return nil }
        return try decode(LenientInteger.self, forKey: key).value
    }
    /// Nil if absent or null.
    package func boolean(_ key: Key) throws -> Bool? {
        guard contains(key), try !decodeNil(forKey: key) else { return nil }
        return try decode(LenientBoolean.self, forKey: key).value
    }
    /// A required text; absent and null are errors.
    package func requiredText(_ key: Key) throws -> String {
        guard let text = try text(key) else {
            throw DecodingError.keyNotFound(key, .init(codingPath: codingPath, debugDescription: "missing \(key.stringValue)"))
        }
        return text
    }
}
