// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `POST /run` (protocol page, 6.1, 6.2), and the rotation script of 0.9 and 0.10, which an agent of ours needs nobody to install.

import CtrlExec
import Hooks
import Platform

extension AgentService {
    func run(_ body: [UInt8], _ caller: Caller, _ snapshot: AgentState.Snapshot) async -> AgentAnswer {
        guard let json = AgentJSON.decodeIfPossible(JSONValue.self, body) else { return AgentAnswer(200, RunAnswer.invalidJSON) }
        let request: RunRequest
        do { request = try RunRequest(json) } catch {
            switch error {
            case .notAnObject: return AgentAnswer(200, RunAnswer.invalidJSON)
            case .argsNotArray(let reqid): return AgentAnswer(200, RunAnswer.argsNotArray(reqid: reqid))
            }
        }
        func refused(_ error: String, _ reason: String? = nil) -> AgentAnswer {
            log.warning(
                "deny", ("SCRIPT", request.script), ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("REQID", request.reqid),
                ("REASON", reason))
            return AgentAnswer(200, RunAnswer.refused(script: request.script, error: error, reqid: request.reqid))
        }
        guard let name = ScriptName(request.script) else { return refused(AgentErrors.scriptNotPermitted) }
        let script = snapshot.allowlist[name]
        let isBuiltIn = script == nil && name.text == ScriptName.updateSerial && request.detached != true
        guard isBuiltIn || script.map({ isInScriptDirectories($0.path) }) == true else { return refused(AgentErrors.scriptNotPermitted) }

        if let hook = hook {
            var question = question(.run, caller)
            (question.script, question.args) = (request.script, request.args)
            (question.username, question.token) = (request.username, request.token)
            let verdict = await hook.ask(question)
            if verdict != .allowed {
                note(verdict)
                return refused(AgentErrors.notAuthorised(verdict.reason), verdict.reason)
            }
        }
        guard let script else { return finished(updateSerial(request.args, caller), request, caller) }
        let context = AgentJSON.encode(
            RunContext(request: request, peerAddress: caller.address, dispatcher: caller.dispatcher.text, timestamp: timestamp))
        if request.detached == true { return await runDetached(script, context, request, caller) }

        let runner = ScriptRunner(stdinTimeoutSeconds: state.configuration.stdinTimeoutSeconds)
        let outcome = await runner.run(script.path, arguments: request.args, context: context)
        if let unread = outcome.unreadContextBytes { log.warning("stdin-timeout", ("BYTES", unread)) }
        return finished(outcome, request, caller)
    }

    private func finished(_ outcome: ScriptOutcome, _ request: RunRequest, _ caller: Caller) -> AgentAnswer {
        log.info(
            "run", ("SCRIPT", request.script), ("EXIT", outcome.exit), ("PEER", caller.address), ("PEER_SERIAL", caller.serial),
            ("DISPATCHER", caller.dispatcher),
            ("REQID", request.reqid))
        return AgentAnswer(
            200,
            RunAnswer.done(script: request.script, exit: outcome.exit, stdout: outcome.stdout, stderr: outcome.stderr, reqid: request.reqid)
        )
    }

    private func runDetached(_ script: Allowlist.Script, _ context: [UInt8], _ request: RunRequest, _ caller: Caller) async -> AgentAnswer {
        guard let reference = RunReference(request.reqid) else {
            return AgentAnswer(200, RunAnswer.refused(script: request.script, error: AgentErrors.asyncNeedsReqid, reqid: request.reqid))
        }
        let run = DetachedRun(
            script: script.name.text, path: script.path, arguments: request.args, context: String(decoding: context, as: UTF8.self),
            dispatcher: caller.dispatcher.text, reference: reference.text, runsDirectory: state.configuration.runsDirectory,
            stdinTimeoutSeconds: state.configuration.stdinTimeoutSeconds)
        switch await launcher.launch(run, now: now) {
        case .started:
            log.info(
                "run-async", ("SCRIPT", request.script), ("PEER", caller.address), ("DISPATCHER", caller.dispatcher), ("REQID", reference))
            return AgentAnswer(202, RunAnswer.accepted(script: request.script, reqid: reference.text))
        case .busy:
            log.info(
                "run-async-busy", ("SCRIPT", request.script), ("PEER", caller.address), ("DISPATCHER", caller.dispatcher),
                ("REQID", reference))
            return AgentAnswer(409, RunAnswer.busy(script: request.script, reqid: reference.text))
        case .failed:
            log.error("async-store-fail", ("SCRIPT", request.script), ("REQID", reference), ("PATH", state.configuration.runsDirectory))
            return AgentAnswer(200, RunAnswer.refused(script: request.script, error: AgentErrors.couldNotStart, reqid: reference.text))
        }
    }

    /// Links and `..` resolved on both sides; a script that does not exist is judged by the path as it is written.
    private func isInScriptDirectories(_ path: String) -> Bool {
        let directories = state.configuration.scriptDirectories
        if directories.isEmpty { return true }
        let script = AgentFiles.resolved(path) ?? path
        return directories.contains { directory in
            let resolved = AgentFiles.resolved(directory) ?? directory
            return script == resolved || script.hasPrefix(resolved.hasSuffix("/") ? resolved : resolved + "/")
        }
    }

    /// `[serial]`, `[serial, dispatcher-id]` to add, `["--remove", serial]` to remove; the exit codes of the script (16.4): 1 usage or
    /// validation, 2 not written. As with `/rotate-serial`, a dispatcher deals with its own serials only.
    private func updateSerial(_ arguments: [String], _ caller: Caller) -> ScriptOutcome {
        func failed(_ exit: Int64, _ text: String) -> ScriptOutcome {
            ScriptOutcome(exit: exit, stdout: "", stderr: "\(ScriptName.updateSerial): \(text)\n")
        }
        // The script of 0.8 knows one argument and one serial, that of 0.9 wants the id as well.
        switch (dialect, arguments.count) {
        case (.single, 1), (.script, 2), (.endpoint, _): break
        case (.single, _): return failed(1, "usage: \(ScriptName.updateSerial) SERIAL")
        case (.script, _): return failed(1, "usage: \(ScriptName.updateSerial) SERIAL DISPATCHER-ID | --remove SERIAL")
        }
        let isRemoval = arguments.first == "--remove" && dialect != .single
        let operands = isRemoval ? Array(arguments.dropFirst()) : arguments
        guard (1...(isRemoval ? 1 : 2)).contains(operands.count) else {
            return failed(1, "usage: \(ScriptName.updateSerial) SERIAL [DISPATCHER-ID] | --remove SERIAL")
        }
        guard (8...40).contains(operands[0].utf8.count), let serial = SerialNumber(hexadecimal: operands[0]) else {
            return failed(1, "'\(operands[0])' is not a serial of 8 to 40 hexadecimal digits")
        }
        if operands.count == 2, operands[1] != caller.dispatcher.text {
            return failed(1, "'\(operands[1])' is not the dispatcher that calls, which is '\(caller.dispatcher)'")
        }
        do {
            try change(serial, isRemoval ? .remove : dialect == .single ? .replaceAll : .add, caller)
        } catch {
            switch error {
            case .notOwned(let owner): return failed(1, AgentErrors.serialNotOwned(by: owner.text))
            case .file(let failure): return failed(2, failure.description)
            }
        }
        let done =
            isRemoval ? "Serial \(operands[0]) removed from trust." : "Trusted serial \(operands[0]) (\(caller.dispatcher)) added."
        return ScriptOutcome(exit: 0, stdout: "\(done) Agent reloaded.\n", stderr: "")
    }
}
