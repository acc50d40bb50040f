// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Where log records go: readable lines on standard error, or fields in systemd's journal if standard error leads there.
// A message that is a word of ctrl-exec's vocabulary is the action, its metadata are the fields (protocol page, 19); any other message stands
// as it is, before its fields.

import CSystemd
import Consensus
import CtrlExec
import Glibc
import Logging
import Synchronization

package struct LogOutput: LogHandler {
    package enum Destination: Hashable, Sendable {
        case standardError
        case systemdJournal
    }

    /// The process's unless it was set for this one.
    package var logLevel: Logger.Level {
        get { ownLevel ?? LogOutput.processLevel }
        set { ownLevel = newValue }
    }
    private var ownLevel: Logger.Level?
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let identifier: String
    private let destination: Destination
    /// Nil: written by whoever logs.
    private var queue: LogQueue?

    /// - Parameters:
    ///   - identifier: the journal's `SYSLOG_IDENTIFIER`, for instance `ctrl-exec-agent`.
    ///   - level: nil: that of the process, also when it changes.
    ///   - destination: found out by `LogOutput.detect` unless given.
    package init(identifier: String, level: Logger.Level? = nil, destination: Destination? = nil) {
        self.identifier = identifier
        ownLevel = level
        self.destination = destination ?? LogOutput.detect()
    }

    /// Makes this the output of every `Logger` of the process. Call it once, first of all.
    package static func bootstrap(identifier: String, level: Logger.Level = .info) {
        let destination = detect()
        processLevel = level
        let immediate = LogOutput(identifier: identifier, destination: destination)
        let queue = LogQueue(capacity: 8_192) { count in
            immediate.write(LogRecord(message: "log-dropped", metadata: ["COUNT": "\(count)"]), .warning, BootClock.wallMilliseconds())
        }
        processQueue.withLock { $0 = queue }
        atexit { LogOutput.flush() }
        LoggingSystem.bootstrap(
            { _, provider in
                var output = immediate
                output.queue = queue
                output.metadataProvider = provider
                return output
            }, metadataProvider: nil)
    }

    /// What is less important than this is not logged; may change at any time.
    package static var processLevel: Logger.Level {
        get { Logger.Level.allCases[levelPlace.load(ordering: .relaxed)] }
        set { levelPlace.store(Logger.Level.allCases.firstIndex(of: newValue) ?? 0, ordering: .relaxed) }
    }
    private static let levelPlace = Atomic(Logger.Level.allCases.firstIndex(of: .info) ?? 0)

    /// The queue of `bootstrap`.
    private static let processQueue = Mutex<LogQueue?>(nil)

    /// Returns when what was logged has been written, or after a second. An end by `exit` does it by itself, one by `_exit` does not.
    package static func flush() { processQueue.withLock { $0 }?.flush() }

    /// The journal, if standard error *is* the stream that systemd has named; a redirected child inherits the name but not the stream.
    package static func detect() -> Destination {
        guard let text = getenv("JOURNAL_STREAM") else { return .standardError }
        let parts = String(cString: text).split(separator: ":").map { UInt64($0) }
        var status = stat()
        guard parts.count == 2, fstat(STDERR_FILENO, &status) == 0, parts[0] == UInt64(status.st_dev), parts[1] == UInt64(status.st_ino)
        else { return .standardError }
        return .systemdJournal
    }

    /// Before a plain line on standard error that says why this process ends: where systemd reads it, the line becomes an error
    /// (sd-daemon(3)); elsewhere nothing shows.
    package static var errorMark: String { detect() == .systemdJournal ? "<\(LogRecord.priority(.error))>" : "" }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var fields = metadata
        if let provided = metadataProvider?.get() { fields.merge(provided) { _, new in new } }
        if let own = event.metadata { fields.merge(own) { _, new in new } }
        if let error = event.error, fields["ERROR"] == nil { fields["ERROR"] = "\(error)" }
        let record = LogRecord(message: event.message.description, metadata: fields)
        let (level, now) = (event.level, BootClock.wallMilliseconds())
        if let queue { queue.add { [self] in write(record, level, now) } } else { write(record, level, now) }
    }

    private func write(_ record: LogRecord, _ level: Logger.Level, _ now: Int64) {
        switch destination {
        case .standardError:
            let line = record.line(level: level, millisecondsSince1970: now)
            // One write a line, so that lines of several threads do not mix. Nobody is left to be told if it fails.
            _ = DurableFile.writeAll(Array((line + "\n").utf8)[...], to: STDERR_FILENO)
        case .systemdJournal:
            if send(record.journalFields(level: level, identifier: identifier)) { return }
            // Without a journal to take fields, its stream takes lines; the number in front is their priority (sd-daemon(3)).
            _ = DurableFile.writeAll(Array("<\(LogRecord.priority(level))>\(record.text)\n".utf8)[...], to: STDERR_FILENO)
        }
    }

    private func send(_ fields: [String]) -> Bool {
        var bytes: [UInt8] = []
        var lengths: [Int] = []
        for field in fields {
            lengths.append(field.utf8.count)
            bytes += Array(field.utf8)
        }
        return bytes.withUnsafeMutableBytes { bytes in
            var offset = 0
            let pieces = lengths.map { length in
                defer { offset += length }
                return iovec(iov_base: bytes.baseAddress.map { $0 + offset }, iov_len: length)
            }
            return sd_journal_sendv(pieces, Int32(pieces.count)) == 0
        }
    }
}

extension Logger {
    /// Logs one line of the vocabulary.
    package func log(_ level: Logger.Level, _ line: LogLine) {
        guard level >= logLevel else { return }
        var metadata: Logger.Metadata = [:]
        for field in line.fields { metadata[field.key] = .string(field.value) }
        log(level: level, "\(line.action)", metadata: metadata)
    }
}
