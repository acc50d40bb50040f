// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a pairing session in the foreground shows, and what is meant by what is typed there (protocol page, 7.8). Numbers are given in the
// order of appearance and stay.

import CtrlExec

struct PairingBoard {
    struct Request {
        let number: Int
        let reqid: String
        let record: JSONValue
        var isSkipped = false
        /// What DNS says about its address.
        var reverse: ReverseName?
    }

    enum Word: Equatable {
        case approve(Int?), deny(Int?), skip, list, quit, nothing
        case unknown(String)

        init(_ line: String) {
            let word = line.trimmedOfWhiteSpace.lowercased()
            switch word {
            case "": self = .nothing
            case "a": self = .approve(nil)
            case "d": self = .deny(nil)
            case "s", "skip": self = .skip
            case "l", "list": self = .list
            case "q", "quit": self = .quit
            default:
                guard let number = Int(word.dropFirst()), number > 0 else {
                    self = .unknown(word)
                    return
                }
                switch word.first {
                case "a": self = .approve(number)
                case "d": self = .deny(number)
                default: self = .unknown(word)
                }
            }
        }
    }

    /// Those that wait for a decision, oldest first.
    private(set) var waiting: [Request] = []
    private var lastNumber = 0

    /// What is new, and what is there no more.
    mutating func update(_ records: [JSONValue]) -> (new: [Request], gone: [Request]) {
        let open = records.filter { !($0["approved"]?.isTrue ?? false) }
        let reqids = open.compactMap { $0["reqid"]?.scalarText }
        let gone = waiting.filter { !reqids.contains($0.reqid) }
        waiting.removeAll { request in gone.contains { $0.number == request.number } }
        var new: [Request] = []
        for record in open {
            guard let reqid = record["reqid"]?.scalarText, !waiting.contains(where: { $0.reqid == reqid }) else { continue }
            lastNumber += 1
            new.append(Request(number: lastNumber, reqid: reqid, record: record))
            waiting.append(new[new.count - 1])
        }
        return (new, gone)
    }

    /// Of this number; without one, the oldest that was not set aside.
    func chosen(_ number: Int?) -> Request? {
        guard let number else { return waiting.first { !$0.isSkipped } }
        return waiting.first { $0.number == number }
    }

    mutating func skip(_ request: Request) {
        for place in waiting.indices where waiting[place].number == request.number { waiting[place].isSkipped = true }
    }

    /// What was found out about addresses.
    mutating func name(_ names: [String: ReverseName]) {
        for place in waiting.indices where waiting[place].reverse == nil {
            waiting[place].reverse = waiting[place].record["source_ip"]?.scalarText.flatMap { names[$0] }
        }
    }

    /// Decided through this session: it is not told as gone.
    mutating func decided(_ request: Request) { waiting.removeAll { $0.number == request.number } }
}
