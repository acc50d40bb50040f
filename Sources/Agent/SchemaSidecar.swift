// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The optional description beside a script, carried verbatim and never interpreted (protocol page, 20).

import CtrlExec
import PKI
import Platform

package struct SchemaSidecar: Hashable, Sendable {
    let schema: JSONValue
    let version: String

    /// Nil if there is none; throws the reason for which one is left out.
    static func load(script path: String) throws(SchemaSkip) -> SchemaSidecar? {
        let file = path + ".schema.json"
        let bytes: [UInt8]?
        do { bytes = try AgentFiles.readIfPresent(file, limit: Limits.schemaBytes) } catch {
            throw SchemaSkip(reason: error.description)
        }
        guard let bytes else { return nil }
        guard let schema = AgentJSON.decodeIfPossible(JSONValue.self, bytes), schema.isObject else {
            throw SchemaSkip(reason: "\(file) is no JSON object")
        }
        return SchemaSidecar(schema: schema, version: version(of: schema))
    }

    struct SchemaSkip: Error { let reason: String }

    /// Its own `version` if that is a plain word, else a hash of its canonical form.
    private static func version(of schema: JSONValue) -> String {
        if case .text(let text)? = schema["version"], (1...64).contains(text.utf8.count), !text.hasPrefix("sha256:"),
            text.utf8.allSatisfy({
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || [45, 46, 95].contains($0)
            })
        {
            return text
        }
        return "sha256:" + hexadecimal(sha256(Array(schema.canonicalText.utf8))).prefix(12)
    }
}
