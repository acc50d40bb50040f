// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// As whom work on agents is asked for: what the auth hooks of dispatcher and agents are told, and the script.

import AgentLink
import ArgumentParser
import CtrlExec

struct CallerOptions: ParsableArguments {
    @Option(help: "The user name that the auth hooks and the script are told. Default: $USER.")
    var username: String?
    @Option(help: "A token for the auth hooks. Default: $ENVEXEC_TOKEN.")
    var token: String?

    /// The call's body with both in it.
    func added(to body: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        JSONValue.record(body).with([
            "username": .text(username ?? environment("USER") ?? ""), "token": .text(token ?? environment("ENVEXEC_TOKEN") ?? ""),
        ])
    }
}
