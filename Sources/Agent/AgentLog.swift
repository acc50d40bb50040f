// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Lines of ctrl-exec's log vocabulary, on whatever swift-log writes to.

import CtrlExec
import Logging
import Platform

package struct AgentLog: Sendable {
    package let logger: Logger
    package init(_ logger: Logger) { self.logger = logger }

    func info(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) { write(.info, action, fields) }
    func warning(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) { write(.warning, action, fields) }
    func error(_ action: String, _ fields: (String, (any CustomStringConvertible)?)...) { write(.error, action, fields) }

    private func write(_ level: Logger.Level, _ action: String, _ fields: [(String, (any CustomStringConvertible)?)]) {
        logger.log(level, LogLine(action, fields.compactMap { key, value in value.map { LogLine.Field(key, $0.description) } }))
    }
}
