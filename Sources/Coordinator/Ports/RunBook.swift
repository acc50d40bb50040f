// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What became of a run, asked of any member: from its own record, or from that of the member that made the run. Agents that had not finished
// are asked again, by whoever is asked, for they keep results by dispatcher and not by member.

import AgentLink
import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Hooks
import Logging
import Platform

/// The runs that this member remembers, and the way to those of the others.
package struct RunBook: Sendable {
    private let records: RunRecords
    private let others: any RunSeeking
    /// How long the other members are waited for.
    static let patience = Duration.seconds(5)

    package init(records: RunRecords, others: any RunSeeking) {
        self.records = records
        self.others = others
    }

    enum Finding {
        case found(RunRecord)
        case absent
        /// Nobody who answered has it.
        case unanswered([MemberID])
    }

    func keep(_ record: RunRecord) async {
        guard let reqid = Reqid(record.reqid) else { return }
        await records.keep(record.bytes(limit: records.bounds.recordBytes), of: reqid)
    }

    func find(_ reqid: Reqid, patience: Duration) async -> Finding {
        if let bytes = await records.record(of: reqid), let record = RunRecord(bytes: bytes) { return .found(record) }
        switch await others.seek(reqid, patience: patience) {
        case .found(let bytes): return RunRecord(bytes: bytes).map { .found($0) } ?? .absent
        case .absent: return .absent
        case .unanswered(let members): return .unanswered(members)
        }
    }
}

extension PortFront {
    func runStatus(_ text: String, _ request: PortRequest, on port: Port) async throws(BadRequest) -> PortResponse {
        let timeout = try request.timeout()
        let unknown = PortResponse(
            404,
            .record([
                "ok": .boolean(false), "error": .text("not found"), "reqid": .text(text),
                "detail": .text("no member has a record of run \(text); records are kept for 24 h"),
            ]))
        guard let reqid = Reqid(text) else {
            // ctrl-exec's path takes any number of digits, its ids have 16.
            guard port == .api else { throw BadRequest("'\(text)' is not a reqid: 16 lower-case hexadecimal digits") }
            return unknown
        }
        switch await runs.find(reqid, patience: min(RunBook.patience, .milliseconds(Int64(timeout.milliseconds)))) {
        case .absent: return unknown
        case .unanswered(let members):
            let names = members.map(\.name).joined(separator: ", ")
            logger.log(.warning, LogLine("run-lookup", ("REQID", reqid), ("UNANSWERED", names)))
            let response = PortResponse.failure(
                503, "members did not answer", detail: "no member that answered has a record of run \(reqid); these did not: \(names)")
            return PortResponse(
                503, response.body.with(["reqid": .text(text), "members": .array(members.map { .text($0.name) })]),
                headers: response.headers)
        case .found(let record):
            if port == .api {
                var question = question(.status, request, .null)
                question.reqid = text
                question.submitter = record.submitter
                // Whether there is such a run is nobody's business who may not see it.
                if await denial(of: question, on: port) != nil { return unknown }
            }
            return PortResponse(200, await refreshed(record).shown)
        }
    }

    /// With what agents say now that had not finished.
    private func refreshed(_ record: RunRecord) async -> RunRecord {
        let pending = record.pending
        guard !pending.isEmpty else { return record }
        let state = await member.appliedState()
        var current = record
        var targets: [AgentTarget] = []
        for (name, host) in pending {
            switch AgentTarget.resolve([host], in: state) {
            case .success(let resolved): targets += resolved
            case .failure: current.note(.record(["error": .text("not a registered agent")]), of: name)
            }
        }
        for result in await agents.result(of: record.reqid, targets) {
            if let host = result["host"]?.scalarText { current.note(result, of: host) }
        }
        if current != record { await runs.keep(current) }
        return current
    }
}
