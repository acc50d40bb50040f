// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced list-agents`: the registry.

import AgentLink
import ArgumentParser
import CtrlExec

struct ListAgentsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list-agents", abstract: "Lists the registered agents.",
        discussion: "With --json: an array of registry records, empty if there are none.")

    @Option(help: ArgumentHelp("Only those that have all of these tags.", valueName: "k=v,..."))
    var tags: String?
    @OptionGroup(title: "Reading")
    var reading: ReadOptions
    @OptionGroup(title: "Connection")
    var connection: ConnectionOptions

    func validate() throws {
        if let tags, wantedTags == nil { throw ValidationError("--tags is a list such as role=web,zone=eu, not '\(tags)'") }
    }

    /// Nil if it cannot be understood.
    private var wantedTags: [(key: String, value: String)]? {
        var wanted: [(key: String, value: String)] = []
        for word in (tags ?? "").split(separator: ",") {
            guard let equals = word.firstIndex(of: "="), equals != word.startIndex else { return nil }
            wanted.append((word[..<equals].trimmedOfWhiteSpace, word[word.index(after: equals)...].trimmedOfWhiteSpace))
        }
        return tags != nil && wanted.isEmpty ? nil : wanted
    }

    func run() async throws {
        try await reporting(json: connection.json) {
            let wanted = wantedTags ?? []
            let agents = try await Client(connection).read("/v1/agents", reading).list("agents").filter { agent in
                wanted.allSatisfy { agent["tags"]?[$0.key]?.scalarText == $0.value }
            }
            if connection.json { return Output.json(.array(agents)) }
            guard !agents.isEmpty else {
                return Output.line(wanted.isEmpty ? "No registered agents." : "No registered agents with these tags.")
            }
            Output.table(
                ["HOSTNAME", "IP", "PORT", "LOOKUP", "PAIRED", "CERT EXPIRY", "SERIAL", "TAGS"],
                agents.map {
                    [
                        $0.text("hostname"), $0.text("ip"), $0.text("port"), $0.text("lookup_by"), $0.text("paired"), $0.text("expiry"),
                        $0.flag("revoked") ? "revoked" : $0.text("serial_status"), tagsText($0),
                    ]
                })
        }
    }
}

/// `role=web, zone=eu`; `-` if there are none.
func tagsText(_ record: JSONValue) -> String {
    guard case .object(let tags) = record["tags"], !tags.isEmpty else { return "-" }
    return tags.map { "\($0.key)=\($0.value.scalarText ?? "")" }.joined(separator: ", ")
}
