// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What the trace and the picture call things.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    func words(for message: PeerMessage) -> String {
        switch message {
        case .consensus(let message, _):
            switch message.body {
            case .append(let append):
                "t\(message.term) append #\(append.heartbeat.number.number) after \(append.previousIndex)/t\(append.previousTerm) ×\(append.entries.count) commit \(append.heartbeat.commit)"
            case .heartbeat(let heartbeat): "t\(message.term) heartbeat #\(heartbeat.number.number) commit \(heartbeat.commit)"
            case .heartbeatAnswer(let answer): "t\(message.term) heartbeat answer #\(answer.number.number)"
            case .appendAnswer(let answer): "t\(message.term) append answer #\(answer.number.number) \(answer.result)"
            case .offer(let offer): "t\(message.term) offer #\(offer.heartbeat.number.number) of the snapshot behind \(offer.place)"
            case .voteRequest(let request):
                "t\(message.term) \(request.isPreVote ? "pre-vote" : "vote") request, log \(request.lastLogIndex)/t\(request.lastLogTerm)\(request.transfer == nil ? "" : ", transfer")"
            case .voteAnswer(let answer):
                "t\(message.term) \(answer.isPreVote ? "pre-vote" : "vote") \(answer.granted ? "granted" : "refused") for t\(answer.campaignTerm)"
            case .timeoutNow(let number): "t\(message.term) timeout now after #\(number.number)"
            case .readIndexRequest(let token): "t\(message.term) read index request \(token.number)"
            case .readIndexAnswer(let token, let index):
                "t\(message.term) read index answer \(token.number): \(index.map { "\($0)" } ?? "none")"
            }
        case .forward(let request): "forward \(request.number): \(request.request)"
        case .forwardAnswer(let answer): "forward answer \(answer.number): \(answer.result)"
        case .reportRequest(let number): "report request \(number)"
        case .report(let number, _): "report \(number)"
        case .holding(let serials): "holding \(serials)"
        case .tagsObserved(let agent, let tags): "\(agent.name) has tags \(tags.json.canonicalText)"
        case .standingRequest: "asks whether it is a member"
        case .removed(let index): "it is removed since \(index)"
        case .observed(let observation): "observed \(observation.agent.name) accept \(observation.accepted), refuse \(observation.refused)"
        }
    }

    func words(for reply: Reply) -> String {
        if case .reports(let reports) = reply { "reports of \(reports.map(\.member.name))" } else { "\(reply)" }
    }

    func words(for command: Command) -> String {
        switch command {
        case .issueOperator(let name, _): "issue operator \(name)"
        case .openPairing(let milliseconds): "open pairing for \(milliseconds) ms"
        case .closePairing: "close pairing"
        case .submitPairing(let submission): "submit pairing \(submission.reqid) of \(submission.hostname)"
        case .approvePairing(let reqid, _): "approve \(reqid)"
        case .denyPairing(let reqid): "deny \(reqid)"
        case .unpair(let name): "unpair \(name)"
        case .editAgent(let name, _): "edit \(name)"
        case .reserveAnew(let id): "reserve anew for \(id.index)"
        case .recordCertificate(let id, let serial, _, _): "record \(serial) for \(id.index)"
        case .signingFailed(let id, let serial, _): "signing \(serial) failed for \(id.index)"
        case .expire: "expire"
        case .raiseVersion(let version): "raise the version to \(version)"
        case .beginRotation(let overlap, let isCompromised, _):
            "begin rotation, overlap \(overlap) ms\(isCompromised ? ", compromised" : "")"
        case .abortRotation: "abort rotation"
        case .revoke(let target, _): "revoke \(target)"
        case .recordIdentity(let id, let serial, _, _, _): "record identity \(serial) for \(id.index)"
        case .memberHolds(let member, let serial): "\(member) holds \(serial)"
        case .identityConfirmed(let agent, let serial, let refused): "\(agent.name) confirmed \(serial), refused \(refused)"
        case .identityRemoved(let agent, let serial): "\(agent.name) forgot \(serial)"
        case .dialectLearned(let agent, let dialect): "\(agent.name) speaks \(dialect.rawValue)"
        case .tagsLearned(let agent, let tags): "\(agent.name) has tags \(tags.json.canonicalText)"
        case .activate(let serial): "activate \(serial)"
        case .retire(let serial): "retire \(serial)"
        case .invite(let id, _, _): "invite \(id)"
        case .admit(let join): "admit \(join.member)"
        case .removeMember(let id): "remove \(id)"
        case .setMemberAddress(let id, let address): "\(id) is at \(address)"
        case .reconfigure(let configuration):
            "members \(configuration.voters.map(\.name).joined(separator: " "))"
                + (configuration.learners.isEmpty ? "" : ", learning \(configuration.learners.map(\.name).joined(separator: " "))")
        }
    }

    func words(for operation: SimulatedClients.Operation) -> String {
        switch operation.kind {
        case .exclusive(.command(let command), let request): "\(words(for: command)), \(request.map { "\($0)" } ?? "no id")"
        case .exclusive(.transfer(let target), _): "transfer to \(target.map { "\($0)" } ?? "whom it likes")"
        case .read(let consistency, let sight): "\(consistency) read of \(sight), must see \(operation.mustSee)"
        case .reports: "reports"
        }
    }
}
