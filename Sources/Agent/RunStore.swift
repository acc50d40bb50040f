// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Results of asynchronous runs on disk, by the dispatcher that asked (protocol page, 11).

import CtrlExec
import Platform

package struct RunStore: Sendable {
    package let directory: String
    package init(directory: String) { self.directory = directory }

    private func path(_ dispatcher: DispatcherID, _ reference: RunReference) -> String { "\(directory)/\(dispatcher)/\(reference).json" }

    /// Nil if there is none, or if it names another owner.
    package func record(_ reference: RunReference, of dispatcher: DispatcherID) -> (found: ResultAnswer?, otherOwner: Bool) {
        // A record that cannot be read is as good as none to a dispatcher.
        guard let bytes = try? DurableFile.read(path(dispatcher, reference), limit: Limits.answerBytes),
            let record = AgentJSON.decodeIfPossible(ResultAnswer.self, bytes)
        else { return (nil, false) }
        return record.owner == dispatcher.text ? (record, false) : (nil, true)
    }

    func write(_ record: ResultAnswer, _ reference: RunReference, of dispatcher: DispatcherID) throws(FileProblem) {
        try AgentFiles.makeDirectory("\(directory)/\(dispatcher)", mode: 0o750)
        try AgentFiles.replace(path(dispatcher, reference), with: AgentJSON.encode(record), mode: 0o640)
    }

    /// One detached run per script name, whoever asked; nil while one is going on.
    func lock(_ script: ScriptName) throws(FileProblem) -> FileLock? {
        try AgentFiles.makeDirectory("\(directory)/.locks", mode: 0o750)
        return try FileLock("\(directory)/.locks/\(script).lock")
    }

    /// Removes records that nobody has written to for a day, of this layout and of the flat one before 0.9.
    func sweep(nowSeconds: Int64) {
        for name in AgentFiles.names(in: directory) where name != ".locks" {
            if name.hasSuffix(".json") {
                removeIfOld("\(directory)/\(name)", nowSeconds)
            } else {
                for inner in AgentFiles.names(in: "\(directory)/\(name)") where inner.hasSuffix(".json") {
                    removeIfOld("\(directory)/\(name)/\(inner)", nowSeconds)
                }
            }
        }
    }

    private func removeIfOld(_ path: String, _ nowSeconds: Int64) {
        guard let modified = AgentFiles.modificationSeconds(path), nowSeconds - modified > Int64(Limits.resultRetentionSeconds) else {
            return
        }
        // One that stays is swept the next time.
        try? DurableFile.remove(path)
    }
}
