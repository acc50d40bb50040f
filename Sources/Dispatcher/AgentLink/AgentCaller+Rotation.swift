// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Telling agents which serials to trust, in the three ways in which ctrl-exec's releases want it told (protocol page, 16.4). Adding and
// removing are harmless when they come twice. What is not, or what was sent without an answer, is settled by a ping that presents the
// identity in question and no other: what the agent does counts, not what it said.

import CtrlExec
import DispatcherState
import Logging
import Platform

extension AgentCaller {
    /// - Parameters:
    ///   - target: with the identities to present, in order.
    ///   - dialect: how this agent is told; nil: only `.learn` is possible.
    package func carryOut(
        _ task: AgentTask, dialect: AgentDialect?, dispatcher: DispatcherID, on target: AgentTarget, reqid: String
    ) async -> AgentTaskAnswer {
        let answer: AgentTaskAnswer
        switch (task, dialect) {
        case (.learn, _), (_, nil): answer = await learn(target, reqid)
        case (.announce(let serial), .endpoint): answer = await rotate("add", serial, target, reqid)
        case (.remove(let serial), .endpoint): answer = await rotate("remove", serial, target, reqid)
        case (.announce(let serial), .script):
            answer = await runScript([serial.hexadecimal, dispatcher.text], expecting: serial, target, reqid)
        case (.announce(let serial), .single): answer = await runScript([serial.hexadecimal], expecting: serial, target, reqid)
        case (.remove(let serial), .script):
            answer = await runScript(["--remove", serial.hexadecimal], expecting: nil, target, reqid)
        // It forgot the serial when it learned another.
        case (.remove, .single): answer = AgentTaskAnswer(.done)
        }
        log(task, answer, target, reqid)
        return answer
    }

    // MARK: The three ways

    /// By its release. One that names none is asked whether it has the route; if not, it is taken for the oldest kind, which is told last.
    private func learn(_ target: AgentTarget, _ reqid: String) async -> AgentTaskAnswer {
        let pinged = await asked(.ping(reqid: reqid), target)
        guard case .answered(200, let body) = pinged.exchange, let accepted = pinged.accepted else { return failure(pinged) }
        if let version = JSONValue(bytes: body)?["version"]?.scalarText, let dialect = AgentDialect(version: version) {
            return AgentTaskAnswer(.learned(dialect), accepted: accepted, refused: pinged.refused)
        }
        let probed = await asked(.rotateSerial(action: "add", serial: "", reqid: reqid), target.presenting([accepted]))
        switch probed.exchange {
        case .answered(404, _): return AgentTaskAnswer(.learned(.single), accepted: accepted, refused: pinged.refused)
        case .answered(200...299, _): return AgentTaskAnswer(.learned(.endpoint), accepted: accepted, refused: pinged.refused)
        case .answered, .failed: return failure(probed)
        }
    }

    private func rotate(_ action: String, _ serial: SerialNumber, _ target: AgentTarget, _ reqid: String) async -> AgentTaskAnswer {
        let told = await asked(.rotateSerial(action: action, serial: serial.hexadecimal, reqid: reqid), target)
        guard case .answered(200...299, let body) = told.exchange else { return failure(told) }
        let json = JSONValue(bytes: body)
        guard json?["status"]?.scalarText == "ok" else {
            return told.answer(.refused(json?["error"]?.scalarText ?? "the agent did not say ok"))
        }
        return told.answer(.done)
    }

    /// - Parameter expected: the identity that the agent must let in afterwards; nil: its word is enough.
    private func runScript(
        _ arguments: [String], expecting expected: SerialNumber?, _ target: AgentTarget, _ reqid: String
    ) async -> AgentTaskAnswer {
        let run = RunRequest(script: ScriptName.updateSerial, args: arguments, reqid: reqid)
        let told = await asked(.run(run), target)
        var problem: String?
        switch told.exchange {
        case .answered(200...299, let body):
            let json = JSONValue(bytes: body)
            let exit = json?["exit"]?.scalarText
            // The script of 0.9 wants two arguments and says so.
            if exit == "1", arguments.count == 1 { return told.answer(.learned(.script)) }
            if exit != "0" {
                let words = [json?["error"]?.scalarText, json?["stderr"]?.scalarText].compactMap { $0 }.first { !$0.isEmpty }
                return told.answer(.refused("\(ScriptName.updateSerial) exited \(exit ?? "without a code"): \(words ?? "no reason given")"))
            }
        case .answered: return failure(told)
        case .failed(.outcomeUnknown(let reason)): problem = reason
        case .failed(.readTimeout(let seconds)): problem = "no answer within \(seconds) s"
        case .failed: return failure(told)
        }
        guard let expected else { return told.answer(problem.map { .unreachable($0) } ?? .done) }
        // It may be reading its files again.
        for attempt in 1...3 {
            let shown = await asked(.ping(reqid: reqid), target.presenting([expected]))
            if case .answered(200, _) = shown.exchange { return told.answer(.done) }
            if attempt < 3 {
                // A cancelled sleep only means that the next attempt comes at once.
                try? await Task.sleep(for: .milliseconds(250 * attempt))
            }
        }
        return told.answer(problem.map { .unreachable($0) } ?? .refused("it said that it trusts \(expected), and turns it away"))
    }

    // MARK: Answers

    private func failure(_ asked: Asked) -> AgentTaskAnswer {
        switch asked.exchange {
        case .failed(let failure): asked.answer(.unreachable(failure.text))
        case .answered(let status, let body):
            asked.answer(.refused("\(status) \(JSONValue(bytes: body)?["error"]?.scalarText ?? StatusPhrases.phrase(status))"))
        }
    }

    private func log(_ task: AgentTask, _ answer: AgentTaskAnswer, _ target: AgentTarget, _ reqid: String) {
        let action: String
        let serial: SerialNumber?
        switch task {
        case .learn: (action, serial) = ("dialect", nil)
        case .announce(let announced): (action, serial) = ("serial-broadcast", announced)
        case .remove(let removed): (action, serial) = ("serial-remove", removed)
        }
        let result: String
        switch answer.result {
        case .done: result = "ok"
        case .learned(let dialect): result = dialect.rawValue
        case .refused(let reason), .unreachable(let reason): result = reason
        case .dropped: result = "dropped"
        }
        logger.log(
            .info,
            LogLine(
                action, ("TARGET", target.name.text), ("SERIAL", serial?.hexadecimal), ("VIA", answer.accepted?.hexadecimal),
                ("RESULT", result), ("REQID", reqid)))
    }
}

extension AgentCaller.Asked {
    func answer(_ result: AgentTaskAnswer.Result) -> AgentTaskAnswer { AgentTaskAnswer(result, accepted: accepted, refused: refused) }
}

extension AgentTarget {
    func presenting(_ identities: [SerialNumber]) -> AgentTarget {
        AgentTarget(name: name, address: address, port: port, identities: identities, key: key, isRevoked: isRevoked)
    }
}
