// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `POST /rotate-serial` (protocol page, 6.6): which serials of a dispatcher the agent obeys.

import CtrlExec
import Hooks
import Platform

extension AgentService {
    enum TrustChange: String {
        case add
        case remove
        /// As 0.8 does it; nobody asks for it by this name.
        case replaceAll
    }

    enum TrustChangeFailure: Error {
        case notOwned(DispatcherID)
        case file(FileProblem)
    }

    func rotate(_ body: [UInt8], _ caller: Caller) async -> AgentAnswer {
        let request = AgentJSON.decodeIfPossible(RotateSerialRequest.self, body) ?? RotateSerialRequest(serial: "")
        func failed(_ error: String) -> AgentAnswer {
            log.warning(
                "rotate-fail", ("DISPATCHER", caller.dispatcher), ("SERIAL_ACTION", request.action), ("SERIAL", request.serial),
                ("PEER", caller.address), ("ERROR", error))
            return AgentAnswer(200, RotateSerialAnswer.failed(error))
        }
        if request.serial.isEmpty { return failed(AgentErrors.serialRequired) }
        guard let action = TrustChange(rawValue: request.action), action != .replaceAll else {
            return failed(AgentErrors.invalidAction(request.action))
        }
        if let hook = hook {
            var question = question(.rotate, caller)
            (question.args, question.token) = ([request.action, request.serial], request.token ?? "")
            let verdict = await hook.ask(question)
            if verdict != .allowed {
                note(verdict)
                log.warning(
                    "rotate-deny", ("DISPATCHER", caller.dispatcher), ("SERIAL_ACTION", request.action), ("SERIAL", request.serial),
                    ("PEER", caller.address), ("REASON", verdict.reason))
                return .refused(AgentErrors.notAuthorised(verdict.reason))
            }
        }
        // The original takes any text; one that is no number could never be presented.
        guard let serial = SerialNumber(notation: request.serial) else { return failed("'\(request.serial)' is not a serial number") }
        do { try change(serial, action, caller) } catch {
            switch error {
            case .notOwned(let owner): return failed(AgentErrors.serialNotOwned(by: owner.text))
            case .file(let failure): return failed(failure.description)
            }
        }
        return AgentAnswer(
            200, RotateSerialAnswer.done(action: request.action, serial: request.serial, dispatcher: caller.dispatcher.text))
    }

    /// A serial of another dispatcher is not touched. (The original lets an `add` take it over, which would hand its results to the caller.)
    func change(_ serial: SerialNumber, _ action: TrustChange, _ caller: Caller) throws(TrustChangeFailure) {
        var owner: DispatcherID?
        do {
            try state.changeTrust { trusted in
                owner = trusted[serial]
                guard owner == nil || owner == caller.dispatcher else { return }
                switch action {
                case .add: trusted.add(serial, caller.dispatcher)
                case .remove: trusted.remove(serial)
                case .replaceAll:
                    for entry in trusted.entries where entry.dispatcher == caller.dispatcher { trusted.remove(entry.serial) }
                    trusted.add(serial, caller.dispatcher)
                }
            }
        } catch {
            throw .file(error)
        }
        if let owner, owner != caller.dispatcher { throw .notOwned(owner) }
        log.info(
            "rotate", ("DISPATCHER", caller.dispatcher), ("SERIAL_ACTION", action.rawValue), ("SERIAL", serial), ("PEER", caller.address))
    }
}
