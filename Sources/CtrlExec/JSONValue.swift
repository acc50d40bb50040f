// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// JSON whose shape is not ours: tags, schema sidecars, records of other programs. Carried as it came, its keys sorted.

/// Decodes and encodes with any Codable coder; `canonicalText` needs none.
package indirect enum JSONValue: Hashable, Sendable {
    case null
    case boolean(Bool)
    case integer(Int64)
    case number(Double)
    case text(String)
    case array([JSONValue])
    /// Sorted by key, no key twice; `JSONValue.object(members:)` sees to that.
    case object([Member])

    package struct Member: Hashable, Sendable {
        package let key: String
        package let value: JSONValue
        package init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }

    /// Sorts; of members with the same key the last one wins, as in a Perl hash.
    package static func object(members: [Member]) -> JSONValue {
        let indexed = members.enumerated().sorted { left, right in
            left.element.key == right.element.key
                ? left.offset < right.offset : left.element.key.utf8.lexicographicallyPrecedes(right.element.key.utf8)
        }
        var sorted: [Member] = []
        for (_, member) in indexed {
            if sorted.last?.key == member.key { sorted.removeLast() }
            sorted.append(member)
        }
        return .object(sorted)
    }

    /// A member of an object; nil for anything else.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    package var isObject: Bool { if case .object = self { true } else { false } }

    /// A scalar as Perl would print it; nil for arrays, objects and null.
    package var scalarText: String? {
        switch self {
        case .text(let text): text
        case .integer(let integer): String(integer)
        case .number(let number): String(number)
        case .boolean(let boolean): boolean ? "1" : "0"
        case .null, .array, .object: nil
        }
    }

    /// Perl's notion of truth: null, `""`, `"0"`, 0 and false are false.
    package var isTrue: Bool {
        switch self {
        case .null: false
        case .boolean(let boolean): boolean
        case .integer(let integer): integer != 0
        case .number(let number): number != 0
        case .text(let text): !text.isEmpty && text != "0"
        case .array, .object: true
        }
    }

    /// Keys sorted at all levels, no extra white space, text outside ASCII as UTF-8: what schema versions are the hash of (20).
    package var canonicalText: String {
        switch self {
        case .null: "null"
        case .boolean(let boolean): boolean ? "true" : "false"
        case .integer(let integer): String(integer)
        case .number(let number): String(number)
        case .text(let text): JSONValue.quoted(text)
        case .array(let elements): "[" + elements.map(\.canonicalText).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { JSONValue.quoted($0.key) + ":" + $0.value.canonicalText }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{c}": result += "\\f"
            default:
                if scalar.value < 32 || scalar.value == 127 {
                    let digits = String(scalar.value, radix: 16)
                    result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        return result + "\""
    }
}

/// Any key of an object whose keys are not known beforehand.
package struct AnyCodingKey: CodingKey, Hashable, Sendable {
    package let stringValue: String
    package var intValue: Int? { nil }
    package init(stringValue: String) { self.stringValue = stringValue }
    package init?(intValue: Int) { nil }
    package init(_ text: String) { stringValue = text }
}

extension JSONValue: Codable {
    package init(from decoder: any Decoder) throws {
        if let container = try? decoder.container(keyedBy: AnyCodingKey.self) {  // not an object: the next shape is tried
            self = .object(members: try container.allKeys.map { Member($0.stringValue, try container.decode(JSONValue.self, forKey: $0)) })
            return
        }
        if var container = try? decoder.unkeyedContainer() {  // not an array: a scalar
            var elements: [JSONValue] = []
            while !container.isAtEnd { elements.append(try container.decode(JSONValue.self)) }
            self = .array(elements)
            return
        }
        self = try JSONValue(scalar: decoder.singleValueContainer())
    }

    private init(scalar container: any SingleValueDecodingContainer) throws {
        if container.decodeNil() {
            self = .null
        } else if let text = try? container.decode(String.self) {  // a mismatch means another kind of scalar; the last one throws
            self = .text(text)
        } else if let boolean = try? container.decode(Bool.self) {  // as above
            self = .boolean(boolean)
        } else if let integer = try? container.decode(Int64.self) {  // as above
            self = .integer(integer)
        } else {
            self = .number(try container.decode(Double.self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        switch self {
        case .object(let members):
            var container = encoder.container(keyedBy: AnyCodingKey.self)
            for member in members { try container.encode(member.value, forKey: AnyCodingKey(member.key)) }
        case .array(let elements):
            var container = encoder.unkeyedContainer()
            for element in elements { try container.encode(element) }
        case .null, .boolean, .integer, .number, .text:
            var container = encoder.singleValueContainer()
            switch self {
            case .boolean(let boolean): try container.encode(boolean)
            case .integer(let integer): try container.encode(integer)
            case .number(let number): try container.encode(number)
            case .text(let text): try container.encode(text)
            default: try container.encodeNil()
            }
        }
    }
}
