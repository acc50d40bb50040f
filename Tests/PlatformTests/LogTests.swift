// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How a log record looks on a terminal and in systemd's journal.

import CtrlExec
import Logging
import Testing

@testable import Platform

@Suite("A log record")
struct LogTests {
    private let instant: Int64 = 1_795_456_800_042  // 2026-11-23T18:00:00.042Z

    @Test("is a line with the action first and the other keys in order")
    func line() {
        let record = LogRecord(message: "pair-request", metadata: ["reqid": "00000000000000aa", "AGENT": "web-01", "STATUS": "pending"])
        #expect(
            record.line(level: .notice, millisecondsSince1970: instant)
                == "2026-11-23T18:00:00.042Z notice  ACTION=pair-request AGENT=web-01 REQID=00000000000000aa STATUS=pending")
    }

    @Test("is aligned for every level", arguments: Logger.Level.allCases)
    func levels(level: Logger.Level) {
        let line = LogRecord(message: "x", metadata: [:]).line(level: level, millisecondsSince1970: 0)
        let padding = String(repeating: " ", count: max(1, 8 - level.rawValue.count))
        #expect(line == "1970-01-01T00:00:00.000Z \(level.rawValue)\(padding)ACTION=x")
    }

    @Test("puts values with white space in double quotes and never breaks its line")
    func quotes() {
        let record = LogRecord(message: "run", metadata: ["ERROR": "no route\nto host", "SCRIPT": "hello"])
        #expect(record.text == "ACTION=run ERROR=\"no route to host\" SCRIPT=hello")
    }

    @Test("of free words keeps them, before its fields")
    func freeText() {
        #expect(
            LogRecord(message: "The port is in use\nby an agent", metadata: ["PORT": "7443"]).text
                == "The port is in use by an agent PORT=7443")
    }

    @Test("of a vocabulary's line has the line as its message and each key as a field")
    func vocabulary() {
        let line = LogLine("run", ("TARGET", "web-01"), ("SCRIPT", "hello"), ("EXIT", 0), ("ERROR", String?.none))
        let record = LogRecord(
            message: line.action, metadata: Dictionary(uniqueKeysWithValues: line.fields.map { ($0.key, "\($0.value)") }))
        #expect(
            record.journalFields(level: .info, identifier: "ctrl-exec-dispatcher") == [
                "MESSAGE=ACTION=run EXIT=0 SCRIPT=hello TARGET=web-01", "PRIORITY=6", "SYSLOG_FACILITY=3",
                "SYSLOG_IDENTIFIER=ctrl-exec-dispatcher", "ACTION=run", "EXIT=0", "SCRIPT=hello", "TARGET=web-01",
            ])
    }

    @Test("has syslog's number for its level", arguments: zip(Logger.Level.allCases, [7, 7, 6, 5, 4, 3, 2] as [Int32]))
    func priorities(level: Logger.Level, number: Int32) {
        #expect(LogRecord.priority(level) == number)
    }

    @Test("is written as long as its level is the process's or above, also when that changes")
    func processLevel() {
        defer { LogOutput.processLevel = .info }
        let logger = Logger(label: "test", factory: { _ in LogOutput(identifier: "test", destination: .standardError) })
        let own = Logger(label: "test", factory: { _ in LogOutput(identifier: "test", level: .error, destination: .standardError) })
        #expect(logger.logLevel == .info)
        LogOutput.processLevel = .debug
        #expect(logger.logLevel == .debug)
        #expect(own.logLevel == .error)
    }

    @Test("becomes fields that the journal accepts")
    func journalFields() {
        let record = LogRecord(
            message: "renew", metadata: ["target": "web-01", "_HOSTNAME": "forged", "MESSAGE": "forged", "9x-y": "1\n2"])
        #expect(
            record.journalFields(level: .warning, identifier: "ced") == [
                "MESSAGE=ACTION=renew F_9X_Y=\"1 2\" F__HOSTNAME=forged MESSAGE=forged TARGET=web-01", "PRIORITY=4",
                "SYSLOG_FACILITY=3", "SYSLOG_IDENTIFIER=ced",
                "ACTION=renew", "F_9X_Y=1 2", "F__HOSTNAME=forged", "TARGET=web-01",
            ])
    }
}
