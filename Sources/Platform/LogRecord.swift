// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A log record's two renderings: a line for people, fields for the journal.

import CtrlExec
import Glibc
import Logging

struct LogRecord: Hashable, Sendable {
    /// Nil if the message is no action of the vocabulary.
    let action: String?
    let message: String
    /// Sorted by key.
    let fields: [LogLine.Field]

    init(message: String, metadata: Logger.Metadata) {
        let isAction =
            !message.isEmpty && message.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 45 }
        action = isAction ? message : nil
        self.message = message
        // `LogLine` sorts, so the order of the dictionary does not show.
        fields = LogLine("", metadata.map { LogLine.Field(LogRecord.key($0.key), $0.value.description) }).fields
    }

    /// As in the vocabulary and as the journal demands: upper case, digits, underscores, beginning with a letter, at most 64.
    private static func key(_ text: String) -> String {
        let bytes = text.utf8.map { byte -> UInt8 in
            switch byte {
            case 97...122: byte - 32
            case 65...90, 48...57: byte
            default: 95
            }
        }
        let begins = bytes.first.map { (65...90).contains($0) } ?? false
        return String(decoding: ((begins ? [] : Array("F_".utf8)) + bytes).prefix(64), as: UTF8.self)
    }

    /// `ACTION=x KEY=value …`, or the message before the fields.
    var text: String {
        if let action { return LogLine(action, fields).description }
        let rest = LogLine("x", fields).description.dropFirst("ACTION=x".count)
        return LogRecord.oneLine(message) + rest
    }

    /// `2026-11-23T18:00:00.123Z notice  ACTION=x KEY=value`; an election takes less than a second, so a second is too coarse.
    func line(level: Logger.Level, millisecondsSince1970: Int64) -> String {
        let word = level.rawValue
        let padding = String(repeating: " ", count: max(0, 7 - word.utf8.count))
        return "\(LogRecord.timestamp(millisecondsSince1970)) \(word)\(padding) \(text)"
    }

    /// Names that the journal gives a meaning of its own (systemd.journal-fields(7)), and the action's: ours to set, nobody else's.
    private static let ownFields = ["MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "ACTION"]

    /// `NAME=value` each; a value may hold anything but a line break. The facility is `daemon`, ctrl-exec's.
    func journalFields(level: Logger.Level, identifier: String) -> [String] {
        var lines = [
            "MESSAGE=" + text, "PRIORITY=\(LogRecord.priority(level))", "SYSLOG_FACILITY=3", "SYSLOG_IDENTIFIER=" + identifier,
        ]
        if let action { lines.append("ACTION=" + action) }
        for field in fields where !LogRecord.ownFields.contains(field.key) {
            lines.append(field.key + "=" + LogRecord.oneLine(field.value))
        }
        return lines
    }

    /// syslog's numbers.
    static func priority(_ level: Logger.Level) -> Int32 {
        switch level {
        case .trace, .debug: LOG_DEBUG
        case .info: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning: LOG_WARNING
        case .error: LOG_ERR
        case .critical: LOG_CRIT
        }
    }

    private static func oneLine(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 < 32 || $0 == 127 ? 32 : $0 }, as: UTF8.self)
    }

    private static func timestamp(_ millisecondsSince1970: Int64) -> String {
        var seconds = time_t(millisecondsSince1970 / 1000)
        var parts = tm()
        guard gmtime_r(&seconds, &parts) != nil else { return "\(millisecondsSince1970)" }
        let fraction = String(1000 + millisecondsSince1970 % 1000).dropFirst()
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date = "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        return "\(date)T\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)Z"
    }
}
