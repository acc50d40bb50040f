// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a hook is told, twice: as variables of its environment and as one JSON object on its standard input (protocol page, 12).

import CtrlExec

package struct HookQuestion: Hashable, Sendable {
    /// Who submitted the run whose status is asked.
    package struct Submitter: Hashable, Sendable {
        package var username: String
        package var sourceAddress: String
        package init(username: String, sourceAddress: String) {
            self.username = username
            self.sourceAddress = sourceAddress
        }
    }

    package enum Action: String, Hashable, Sendable { case run, ping, api, status, discovery, rotate }

    package var action: Action
    package var script = ""
    /// Empty on an agent.
    package var hosts: [String] = []
    package var args: [String] = []
    package var username = ""
    package var token = ""
    package var sourceAddress: String
    /// ISO 8601.
    package var timestamp: String
    /// Id and serial of the calling dispatcher, on an agent.
    package var dispatcher = ""
    package var dispatcherSerial = ""
    package var reqid = ""
    package var submitter: Submitter?

    package init(_ action: Action, sourceAddress: String, timestamp: String) {
        self.action = action
        self.sourceAddress = sourceAddress
        self.timestamp = timestamp
    }

    /// Added to the inherited environment.
    var environment: [(name: String, value: String)] {
        var variables = [
            (name: "ENVEXEC_ACTION", value: action.rawValue), ("ENVEXEC_SCRIPT", script),
            ("ENVEXEC_HOSTS", hosts.joined(separator: ",")), ("ENVEXEC_ARGS", args.joined(separator: " ")),
            ("ENVEXEC_ARGS_JSON", JSONValue.array(args.map { .text($0) }).canonicalText), ("ENVEXEC_USERNAME", username),
            ("ENVEXEC_TOKEN", token), ("ENVEXEC_SOURCE_IP", sourceAddress), ("ENVEXEC_TIMESTAMP", timestamp),
            ("ENVEXEC_DISPATCHER", dispatcher), ("ENVEXEC_DISPATCHER_SERIAL", dispatcherSerial),
        ]
        if action == .status {
            variables += [
                ("ENVEXEC_REQID", reqid), ("ENVEXEC_SUBMITTER", submitter?.username ?? ""),
                ("ENVEXEC_SUBMITTER_IP", submitter?.sourceAddress ?? ""),
            ]
        }
        return variables
    }

    /// For standard input.
    var json: JSONValue {
        let submitter: JSONValue =
            submitter.map {
                .object(members: [.init("username", .text($0.username)), .init("source_ip", .text($0.sourceAddress))])
            } ?? .null
        return .object(members: [
            .init("action", .text(action.rawValue)), .init("script", .text(script)), .init("hosts", .array(hosts.map { .text($0) })),
            .init("args", .array(args.map { .text($0) })), .init("username", .text(username)), .init("token", .text(token)),
            .init("source_ip", .text(sourceAddress)), .init("timestamp", .text(timestamp)), .init("dispatcher", .text(dispatcher)),
            .init("dispatcher_serial", .text(dispatcherSerial)), .init("reqid", .text(reqid)), .init("submitter", submitter),
        ])
    }
}
