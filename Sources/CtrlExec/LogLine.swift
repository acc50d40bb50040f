// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// One line of ctrl-exec's log vocabulary: `ACTION=run DISPATCHER=disp-one EXIT=0 PEER=192.0.2.7 …` (protocol page, 19).

/// The action first, the other keys in alphabetical order; a value with white space stands in double quotes, quotes inside are left as they are.
/// Control characters become spaces, so that nothing from a peer can begin a second line.
package struct LogLine: Hashable, Sendable, CustomStringConvertible {
    package let action: String
    /// Sorted by key.
    package let fields: [Field]

    package struct Field: Hashable, Sendable {
        package let key: String
        package let value: String
        package init(_ key: String, _ value: String) {
            self.key = key
            self.value = value
        }
    }

    /// A later field of the same key wins.
    package init(_ action: String, _ fields: [Field]) {
        self.action = action
        var sorted: [Field] = []
        for field in fields {
            let place = sorted.firstIndex { !$0.key.utf8.lexicographicallyPrecedes(field.key.utf8) } ?? sorted.count
            if place < sorted.count, sorted[place].key == field.key { sorted[place] = field } else { sorted.insert(field, at: place) }
        }
        self.fields = sorted
    }

    /// `LogLine("run", ("SCRIPT", "hello"), ("EXIT", 0))`; a nil value leaves the field out.
    package init(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) {
        self.init(action, fields.compactMap { key, value in value.map { Field(key, $0.description) } })
    }

    package var description: String {
        fields.reduce("ACTION=" + quoted(action)) { $0 + " " + $1.key + "=" + quoted($1.value) }
    }

    private func quoted(_ value: String) -> String {
        let harmless = String(decoding: value.utf8.map { $0 < 32 || $0 == 127 ? 32 : $0 }, as: UTF8.self)
        return harmless.utf8.contains(32) ? "\"" + harmless + "\"" : harmless
    }
}
