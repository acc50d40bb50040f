// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Lines of ctrl-exec's log vocabulary, on whatever swift-log writes to.

import CtrlExec
import Logging
import Platform

package struct AgentLog: Sendable {
    package let logger: Logger
    /// Whose line it is, where one process serves several agents; nil: not said.
    private let agent: String?
    package init(_ logger: Logger, agent: String? = nil) {
        self.logger = logger
        self.agent = agent
    }

    func info(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) { write(.info, action, fields) }
    func warning(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) { write(.warning, action, fields) }
    func error(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) { write(.error, action, fields) }

    private func write(_ level: Logger.Level, _ action: String, _ fields: [(String, (any CustomStringConvertible)?)]) {
        let fields = fields.compactMap { key, value in value.map { LogLine.Field(key, $0.description) } }
        logger.log(level, LogLine(action, (agent.map { [LogLine.Field("AGENT", $0)] } ?? []) + fields))
    }
}
