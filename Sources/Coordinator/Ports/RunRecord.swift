// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What is remembered of one run (protocol page, 14.5), and how that of an asynchronous one changes as its agents are asked (15.5).

import AgentLink
import CtrlExec
import Hooks

struct RunRecord: Hashable, Sendable {
    /// The whole of it, in ctrl-exec's shape.
    private(set) var json: JSONValue

    var reqid: String { json["reqid"]?.scalarText ?? "" }

    /// Nil if it is no record.
    init?(bytes: [UInt8]) {
        guard let json = JSONValue(bytes: bytes), json.isObject, json["reqid"] != nil else { return nil }
        self.json = json
    }

    /// - Parameters:
    ///   - results: the objects that the caller was answered.
    ///   - completed: seconds since 1970.
    static func synchronous(
        _ reqid: String, script: String, results: [JSONValue], submitter: HookQuestion.Submitter?, completed: Int64
    ) -> RunRecord {
        RunRecord(
            json: .record([
                "reqid": .text(reqid), "script": .text(script), "mode": .text("sync"),
                "hosts": .array(results.compactMap { $0["host"] }), "results": .array(results), "completed": .integer(completed),
                "complete": .boolean(true), "submitter": submitter.map(shape),
            ]))
    }

    /// - Parameters:
    ///   - results: what the agents answered when it was submitted.
    ///   - ports: of the hosts that were named with one of their own.
    static func asynchronous(
        _ reqid: String, script: String, results: [JSONValue], ports: [AgentName: UInt16], submitter: HookQuestion.Submitter?,
        created: Int64
    ) -> RunRecord {
        var hosts: [JSONValue.Member] = []
        var pending: [JSONValue] = []
        for result in results {
            guard let host = result["host"]?.scalarText else { continue }
            let status = result["status"]?.scalarText ?? "error"
            if status == "accepted" { pending.append(.text(host)) }
            let port = AgentName(host).flatMap { ports[$0] }
            hosts.append(
                JSONValue.Member(
                    host,
                    .record([
                        "status": .text(status), "error": result["error"], "exit": result["exit"], "port": port.map { .count(Int($0)) },
                    ])))
        }
        return RunRecord(
            json: .record([
                "reqid": .text(reqid), "script": .text(script), "mode": .text("async"), "hosts": .object(members: hosts),
                "created": .integer(created), "pending": .array(pending), "complete": .boolean(pending.isEmpty),
                "submitter": submitter.map(shape),
            ]))
    }

    private init(json: JSONValue) { self.json = json }

    private static func shape(_ submitter: HookQuestion.Submitter) -> JSONValue {
        .record(["username": .text(submitter.username), "source_ip": .text(submitter.sourceAddress)])
    }

    var submitter: HookQuestion.Submitter? {
        guard let submitter = json["submitter"], submitter.isObject else { return nil }
        return HookQuestion.Submitter(
            username: submitter["username"]?.scalarText ?? "", sourceAddress: submitter["source_ip"]?.scalarText ?? "")
    }

    /// As `/status` shows it: without the submitter.
    var shown: JSONValue {
        guard case .object(let members) = json else { return json }
        return JSONValue.object(members: members.filter { $0.key != "submitter" }).with(["ok": .boolean(true)])
    }

    // MARK: Asynchronous runs

    /// The hosts that may still have something to say, as they are resolved: `NAME` or `NAME:PORT`.
    var pending: [(name: String, host: String)] {
        guard case .array(let names) = json["pending"] else { return [] }
        return names.compactMap(\.scalarText).map { name in
            let port = json["hosts"]?[name]?["port"]?.scalarText
            return (name, port.map { "\(name):\($0)" } ?? name)
        }
    }

    /// What an agent answered when it was asked for the result.
    mutating func note(_ result: JSONValue, of host: String) {
        guard case .object(let hosts) = json["hosts"], let known = json["hosts"]?[host] else { return }
        var entry = known.without("fetch_error")
        var isPending = true
        switch result["status"]?.scalarText {
        case "done":
            entry = entry.with([
                "status": .text("done"), "exit": result["exit"], "stdout": result["stdout"], "stderr": result["stderr"],
            ])
            isPending = false
        case "running": entry = entry.with(["status": .text("running")])
        case "unknown":
            entry = entry.with(["status": .text("expired")])
            isPending = false
        default: entry = entry.with(["fetch_error": .text(result["error"]?.scalarText ?? "the agent answered something else")])
        }
        let left = pending.map(\.name).filter { isPending || $0 != host }
        json = json.with([
            "hosts": .object(members: hosts + [JSONValue.Member(host, entry)]), "pending": .array(left.map { .text($0) }),
            "complete": .boolean(left.isEmpty),
        ])
    }

    // MARK: Bytes

    /// At most `limit`: if need be, outputs are cut, which each result that lost something says (`truncated`).
    func bytes(limit: Int) -> [UInt8] {
        var bytes = json.bytes
        var share = limit / 8
        while bytes.count > limit, share > 0 {
            bytes = cut(to: share).bytes
            share /= 4
        }
        return bytes
    }

    private func cut(to share: Int) -> JSONValue {
        if case .array(let results) = json["results"] { return json.with(["results": .array(results.map { $0.cut(to: share) })]) }
        guard case .object(let hosts) = json["hosts"] else { return json }
        return json.with(["hosts": .object(members: hosts.map { JSONValue.Member($0.key, $0.value.cut(to: share)) })])
    }
}

extension JSONValue {
    fileprivate func without(_ key: String) -> JSONValue {
        guard case .object(let members) = self else { return self }
        return .object(members.filter { $0.key != key })
    }

    /// An object whose texts have at most so many bytes, and whose inner values are texts too if they are longer.
    fileprivate func cut(to share: Int) -> JSONValue {
        guard case .object(let members) = self else { return self }
        var isCut = false
        let kept = members.map { member -> Member in
            let text: String
            switch member.value {
            case .text(let whole): text = whole
            case .array, .object: text = member.value.canonicalText
            case .null, .boolean, .integer, .number: return member
            }
            guard text.utf8.count > share else { return member }
            isCut = true
            return Member(member.key, .text(text.prefix(ofBytes: share)))
        }
        return JSONValue.object(kept).with(["truncated": isCut ? .boolean(true) : nil])
    }
}

extension String {
    /// No more than so many bytes, and no half character.
    fileprivate func prefix(ofBytes count: Int) -> String {
        var part = utf8.prefix(count)
        while !part.isEmpty {
            if let text = String(part) { return text }
            part = part.dropLast()
        }
        return ""
    }
}
