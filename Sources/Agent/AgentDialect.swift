// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which of ctrl-exec's releases an agent behaves like where dispatchers tell it which serials to trust (protocol page, 16.4). The older two
// are for tests of dispatchers: an agent that anybody relies on speaks the newest.

import CtrlExec

package enum AgentDialect: String, CaseIterable, Sendable {
    /// A script with one argument, which overwrites the only serial.
    case single = "0.8"
    /// A script that adds a serial, or removes one.
    case script = "0.9"
    /// `/rotate-serial`, and the script as well.
    case endpoint = "0.11"

    /// What it says in pings and capabilities.
    var version: String {
        switch self {
        case .single: "0.8.4"
        case .script: "0.9.4"
        case .endpoint: Release.agentVersion
        }
    }

    /// Routes that the release has not (protocol page, 6).
    func lacks(_ path: String) -> Bool {
        switch self {
        case .endpoint: false
        case .script: path == "/rotate-serial" || path == "/renew" || path == "/renew-complete"
        case .single: path == "/rotate-serial" || path == "/renew" || path == "/renew-complete" || path.hasPrefix("/result/")
        }
    }
}
