// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `ced pairing-mode` in the foreground: who asks to be paired, live, through whichever member answers; on a terminal with decisions. What it
// has opened it closes when it is left, however that happens; a session that was open before stays open.

import AgentLink
import ArgumentParser
import CtrlExec
import Glibc
import NIOPosix
import Platform

struct PairingSession {
    let client: Client
    let seconds: Int
    let opens: Bool
    let request: RequestOptions
    let asJSON: Bool

    private static let interval = Duration.milliseconds(500)
    /// Blocked in a read for as long as the process lives.
    private static let keyboard = NIOThreadPool(numberOfThreads: 1)

    private enum Event: Sendable {
        case tick
        case line(String)
        case leave
    }

    /// For what follows the opening: a given request id belongs to that.
    private var withoutID: RequestOptions {
        var options = request
        options.requestID = nil
        return options
    }

    private var isInteractive: Bool { !asJSON && isatty(STDIN_FILENO) == 1 }

    func run() async throws {
        let before = try await client.read("/v1/pairing/requests")
        var isOurs = false
        // Signals are caught before anything is open that would have to be closed.
        let events = try events()
        if before.flag("open") {
            note("A pairing session is open already\(opens ? ", and stays open when you leave" : "").")
        } else if opens {
            isOurs = true
            let body = JSONValue.record(["action": .text("start"), "seconds": .count(seconds)])
            do throws(ClientFailure) {
                say("open", try await client.exclusive("POST", "/v1/pairing/mode", body, request)) { pairingText($0) }
            } catch {
                if error.mayHaveHappened { try await close() }
                throw error
            }
        } else {
            note("No pairing session is open; watching.")
        }
        do {
            let hasEnded = try await follow(events, sawOpen: isOurs || before.flag("open"))
            if isOurs, !hasEnded { try await close() }
        } catch {
            if isOurs { try await close() }
            throw error
        }
    }

    /// True once the session has ended by itself, false when it was left.
    private func follow(_ events: AsyncStream<Event>, sawOpen: Bool) async throws -> Bool {
        var board = PairingBoard()
        var wasOpen = sawOpen
        var trouble = ""
        for await event in events {
            switch event {
            case .leave: return false
            case .tick:
                let answer: JSONValue
                do throws(ClientFailure) {
                    answer = try await client.read("/v1/pairing/requests")
                    trouble = ""
                } catch {
                    guard error.code == .noLeaderInTime || error.code == .noMemberReachable else { throw error }
                    if trouble != error.description { note("waiting: \(error.description)") }
                    trouble = error.description
                    continue
                }
                let (new, gone) = board.update(answer.list("requests"))
                for request in gone { sayGone(request) }
                await show(new, &board)
                if wasOpen, !answer.flag("open") {
                    say("ended", .object([])) { _ in "The pairing session has ended." }
                    return true
                }
                wasOpen = answer.flag("open")
            case .line(let text):
                if PairingBoard.Word(text) == .quit { return false }
                await act(PairingBoard.Word(text), &board)
            }
        }
        return false
    }

    private func close() async throws {
        _ = try await client.exclusive("POST", "/v1/pairing/mode", .record(["action": .text("stop")]), withoutID)
        say("closed", .object([])) { _ in "Closed the pairing session that this command had opened." }
    }

    // MARK: Decisions

    private func act(_ word: PairingBoard.Word, _ board: inout PairingBoard) async {
        switch word {
        case .nothing, .quit: break
        case .unknown(let text): note("'\(text)' means nothing here: \(Self.words)")
        case .list:
            if board.waiting.isEmpty { note("No request waits.") }
            for request in board.waiting { Output.line(line(request) + (request.isSkipped ? "  (set aside)" : "")) }
        case .skip:
            guard let request = board.chosen(nil) else { return note("No request waits.") }
            board.skip(request)
            note("Set aside [\(request.number)] \(request.record.text("hostname")); it still waits.")
        case .approve(let number): await decide("approve", number, &board)
        case .deny(let number): await decide("deny", number, &board)
        }
    }

    private func decide(_ verdict: String, _ number: Int?, _ board: inout PairingBoard) async {
        guard let request = board.chosen(number) else {
            return note(number.map { "There is no request [\($0)] (any more)." } ?? "No request waits.")
        }
        do throws(ClientFailure) {
            let path = "/v1/pairing/requests/\(request.reqid)/\(verdict)"
            _ = try await client.exclusive("POST", path, .object([]), withoutID)
            board.decided(request)
            Output.line("\(verdict == "approve" ? "Approved" : "Denied") [\(request.number)] \(request.record.text("hostname")).")
        } catch {
            // The session goes on; the request still waits, or shows as gone.
            note("ced: \(error.description)")
        }
    }

    private static let words = "a approves, d denies, s sets aside, a2 and d2 the second, l lists, q quits"

    // MARK: What is shown

    private func show(_ requests: [PairingBoard.Request], _ board: inout PairingBoard) async {
        guard !requests.isEmpty else { return }
        board.name(await ReverseName.look(up: requests.map { $0.record.text("source_ip") }))
        for request in requests.compactMap({ board.chosen($0.number) }) {
            let reverse = request.reverse.map { JSONValue.text($0.text) }
            say("request", request.record.with(["number": .count(request.number), "reverse_dns": reverse])) { _ in line(request) }
        }
        if isInteractive { note("[\(Self.words)]") }
    }

    private func sayGone(_ request: PairingBoard.Request) {
        say("gone", .record(["number": .count(request.number), "reqid": .text(request.reqid)])) { _ in
            "[\(request.number)] \(request.record.text("hostname")) waits no more: decided through another session, or too old."
        }
    }

    private func line(_ request: PairingBoard.Request) -> String {
        let record = request.record
        let name = request.reverse.map { ", reverse DNS \($0.text)" } ?? ""
        return "[\(request.number)] \(record.text("hostname"))  code \(record.text("code"))  from \(record.text("source_ip"))\(name)  "
            + "\(record.text("reqid"))"
    }

    private func say(_ event: String, _ details: JSONValue, _ text: (JSONValue) -> String) {
        if asJSON { Output.json(details.with(["event": .text(event)])) } else { Output.line(text(details)) }
    }

    private func note(_ text: String) { Output.note(text) }

    // MARK: Events

    private func events() throws -> AsyncStream<Event> {
        let signals: AsyncStream<TerminationSignal>
        do throws(FileProblem) { signals = try TerminationSignals.stream() } catch { throw ClientFailure(.failed, error.description) }
        let (events, continuation) = AsyncStream.makeStream(of: Event.self)
        Task {
            for await _ in signals { continuation.yield(.leave) }
        }
        Task {
            while true {
                continuation.yield(.tick)
                // Not cancelled by anybody: it ends with the process.
                try await Task.sleep(for: Self.interval)
            }
        }
        guard isInteractive else { return events }
        Self.keyboard.start()
        Self.keyboard.submit { _ in
            while let line = readLine() { continuation.yield(.line(line)) }
            continuation.yield(.leave)
        }
        return events
    }
}
