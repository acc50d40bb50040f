// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// JSON as the agent writes and reads it: keys sorted, slashes as they are.

import CtrlExec
import FoundationEssentials

package enum AgentJSON {
    /// Every shape that is encoded here is a struct of texts, numbers and booleans, for which the encoder has no reason to fail.
    package static func encode(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do { return Array(try encoder.encode(value)) } catch {
            return Array(#"{"error":"the answer could not be written as JSON"}"#.utf8)
        }
    }

    package static func decode<Shape: Decodable>(_ shape: Shape.Type, _ bytes: [UInt8]) throws -> Shape {
        try JSONDecoder().decode(shape, from: Data(bytes))
    }

    /// Nil if the bytes are no JSON, or not of that shape.
    package static func decodeIfPossible<Shape: Decodable>(_ shape: Shape.Type, _ bytes: [UInt8]) -> Shape? {
        do { return try decode(shape, bytes) } catch { return nil }
    }
}
