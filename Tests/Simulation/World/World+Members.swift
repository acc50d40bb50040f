// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Members that come and go, in the seeds that have them: somebody invites and removes, hosts join with what they were given, some of them never
// come up, somebody tries each token once more with a key of his own, and some that were removed do not stop.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

extension World {
    /// What a token would hash to; everybody in the world knows it.
    static func secretHash(of member: MemberID) -> [UInt8] {
        var generator = SeededGenerator(seed: member.name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
        return (0..<32).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    }

    var hasGuests: Bool { plan.guests > 0 }

    /// Machines with a member that may run; all of them where nobody comes and goes.
    var presentPlaces: [Int] {
        hasGuests ? members.indices.filter { !members[$0].isAbsent && !members[$0].hasLeft } : Array(members.indices)
    }

    /// Those whom clients ask. Once all is well, nobody goes on asking a machine that was removed: of seven that run one may be a member.
    var askedPlaces: [Int] {
        guard hasGuests, isHealing else { return presentPlaces }
        let places = presentPlaces.filter { history.state.formerMember(members[$0].id) == nil }
        return places.isEmpty ? presentPlaces : places
    }

    /// Those that count, as far as anything is committed.
    var votersNow: [MemberID] { history.state.voters }
    var quorumNow: Int { votersNow.count / 2 + 1 }

    /// Whether who votes is about to change, as far as the world can see.
    var membersAreChanging: Bool {
        guard hasGuests else { return false }
        return history.state.members.contains { $0.phase != .staying }
            || members.contains { ($0.process?.member.raft.configurationIndex ?? .zero) > history.last }
    }

    /// What the administrator does next; nil: nothing.
    func inventMembership() -> Command? {
        let state = history.state
        guard state.machineVersion >= .third else { return nil }
        let known = state.members.filter { $0.phase != .leaving }
        // One that lost its disk is replaced.
        if let lost = known.first(where: { member in members.contains { $0.id == member.id && $0.isLost } }), memberGenerator.below(2) == 0
        {
            return .removeMember(lost.id)
        }
        let target = memberTarget
        // Answers of one that is lost may be on their way for long.
        let mayRemove = lastLoss == .zero || now.since(lastLoss) > .seconds(12)
        if known.count + state.invitations.count < target,
            let guest = members.first(where: { guest in
                guest.isAbsent && !guest.isInvited && state.member(guest.id) == nil && state.invitation(of: guest.id) == nil
            })
        {
            return .invite(guest.id, address: "\(guest.id).example:7446", secretHash: World.secretHash(of: guest.id))
        }
        if mayRemove, known.count > target || memberGenerator.below(6) == 0 {
            let leader = members.first { $0.process?.member.raft.role == .leader }?.id
            // Leaders go more often than chance has it.
            if let leader, known.contains(where: { $0.id == leader }), memberGenerator.below(3) == 0 { return .removeMember(leader) }
            return .removeMember(known[Int(memberGenerator.below(UInt64(known.count)))].id)
        }
        if memberGenerator.below(4) == 0 {
            let moved = known[Int(memberGenerator.below(UInt64(known.count)))].id
            return .setMemberAddress(moved, "\(moved).example:\(7_447 + memberGenerator.below(900))")
        }
        return nil
    }

    /// How many there are to be changes every while: 1 → 3 → 5 → 3 and so on.
    private var memberTarget: Int {
        let span = max(1, plan.safetyPhase.milliseconds / UInt64(plan.memberTargets.count))
        return plan.memberTargets[min(plan.memberTargets.count - 1, Int(now.since(.zero).milliseconds / span))]
    }

    func administrate() throws(Broken) {
        guard !isHealing else { return }
        agenda.plan(.administrate, at: now + .milliseconds(300 + memberGenerator.below(1_500)))
        let client = plan.clients
        guard clients.clients[client].current == nil, let command = inventMembership() else { return }
        clients.nextName += 1
        begin(command, as: client, RequestID(client: "members-\(clients.nextName)"))
    }

    private func begin(_ command: Command, as client: Int, _ request: RequestID?) {
        clients.operations.append(
            SimulatedClients.Operation(
                client: client, principal: clients.clients[client].principal, kind: .exclusive(.command(command), request), isReuse: false,
                mustSee: checks.freshReads.acknowledged, asked: now))
        coverage.note(.requestsAsked)
        begin(clients.operations.count - 1, again: false)
    }

    /// Somebody has the token.
    func invited(_ member: MemberID) {
        guard let guest = members.first(where: { $0.id == member }), !guest.isInvited else { return }
        guest.isInvited = true
        coverage.note(.membersInvited)
        // Now and then it is never used; as often it is stolen, and used by both.
        let fate = memberGenerator.below(20)
        if fate == 0 { return }
        agenda.plan(.guestJoins(guest.place, isThief: false), at: now + .milliseconds(20 + memberGenerator.below(600)))
        if fate < 8 { agenda.plan(.guestJoins(guest.place, isThief: true), at: now + .milliseconds(20 + memberGenerator.below(2_500))) }
    }

    func guestJoins(_ place: Int, isThief: Bool) {
        guard !isHealing else { return }
        let id = members[place].id
        let client = plan.clients + 1 + 2 * (place - plan.members) + (isThief ? 1 : 0)
        guard clients.clients[client].current == nil else { return }
        let join = JoinRequest(
            member: id, secretHash: World.secretHash(of: id), publicKey: [UInt8(client), 1, 2, 3],
            signingRequest: SimulatedSigningRequest.make(UInt64(client), length: 90, isImpossible: false))
        begin(.admit(join), as: client, RequestID(client: "join-\(id)-\(isThief ? "thief" : "host")"))
    }

    /// The host has its certificate, and what it needs to begin; some never do.
    func admitted(_ member: MemberID) throws(Broken) {
        guard let guest = members.first(where: { $0.id == member }), guest.isAbsent, !guest.isStarting else { return }
        guest.isStarting = true
        if memberGenerator.below(12) == 0 { return coverage.note(.joinersThatNeverCame) }
        guest.contacts = history.state.members.map(\.id).filter { $0 != member }
        let genesis = Genesis(member: guest.id, configuration: configuration, payload: genesisPayload)
        do throws(DiskFailure) { try Journal.create(on: &guest.disk, genesis: genesis, layout: layout) } catch {
            throw Broken("JournalRecovery", [guest.id], "its journal cannot be made: \(error)")
        }
        guest.isAbsent = false
        if isHealing {
            guest.isSound = true
            network.heal(between: [guest.place])
        }
        guest.isRestartPlanned = true
        agenda.plan(.restart(guest.place), at: now + .milliseconds(10 + memberGenerator.below(400)))
    }

    /// It was told that it is a member no more. Most stop at once; some go on as if nothing had been said.
    func leaves(_ machine: SimulatedMember, _ process: SimulatedProcess, since index: LogIndex) throws(Broken) {
        trace.say(now, "\(process.life) leaves: removed since \(index)")
        try checks.removedStaysOut.leaves(machine.id)
        machine.wasTold = true
        coverage.note(.removedMembersTold)
        if memberGenerator.below(3) == 0, !isHealing {
            coverage.note(.removedMembersThatStay)
            return
        }
        machine.hasLeft = true
        try die(machine, losingPower: false)
    }

    /// What is committed about members.
    func observeMembers(_ proposal: Proposal, _ entry: Entry, _ applied: Applied) throws(Broken) {
        if let configuration = entry.configuration {
            try checks.changesKeepAQuorum.applied(configuration, voters: history.state.voters, learners: history.state.learners)
        }
        switch proposal.command {
        case .invite(let id, _, _):
            if case .invited = applied.outcome { try checks.tokenOnce.invites(id, at: entry.index) }
        case .admit(let join):
            switch applied.outcome {
            case .underway, .memberAdmitted: try checks.tokenOnce.admits(join.member, join.publicKey, at: entry.index)
            default: break
            }
        case .reconfigure(let configuration):
            for former in history.state.formerMembers where former.index == entry.index {
                coverage.note(.membersRemoved)
                checks.tokenOnce.removes(former.id)
                checks.removedStaysOut.removes(former.id, at: entry.index)
            }
            if configuration.voters.count > votersBefore { coverage.note(.membersPromoted) }
            votersBefore = configuration.voters.count
        default: break
        }
    }

    /// A leader has just written an entry that changes who votes.
    func observeChange(
        _ configuration: Configuration, at index: LogIndex, _ machine: SimulatedMember, _ process: SimulatedProcess, _ now: Instant
    )
        throws(Broken)
    {
        if !configuration.members.contains(machine.id) { coverage.note(.leadersRemoved) }
        let change = MembersChange(
            former: process.lastConfiguration, formerIndex: process.lastConfigurationIndex, commit: process.member.raft.commitIndex,
            next: configuration)
        try checks.oneChangeAtATime.proposes(machine.id, change)
        try checks.changesKeepAQuorum.proposes(process.life, change, at: now) { voter in
            let durable = members.first { $0.id == voter }?.known.durable.last ?? .zero
            return index.position - min(index.position, durable.position)
        }
    }

    /// Whoever is no member any more and still runs has been told, if it knows anybody who could have told it.
    func mustHaveBeenTold() throws(Broken) {
        for machine in members where machine.isSound && !machine.wasTold && history.state.formerMember(machine.id) != nil {
            guard let process = machine.process else { continue }
            let knowsSomebody = process.member.acquaintances.contains { id in
                members.contains { $0.id == id && $0.isSound && $0.process != nil && history.state.voters.contains(id) }
            }
            if knowsSomebody { throw Broken("Convergence", [machine.id], "it was removed, and nobody has told it") }
        }
        // Who is to come is there, and who is to go is gone, unless its host never came up.
        for member in history.state.members where member.phase != .staying {
            guard let machine = members.first(where: { $0.id == member.id }), machine.process != nil || member.phase == .leaving else {
                continue
            }
            // It waits for others who are not there.
            let others = votersNow.filter { $0 != member.id }
            let running = others.filter { id in members.contains { $0.id == id && $0.process != nil } }
            if member.phase == .leaving, running.count < others.count / 2 + 1 { continue }
            throw Broken("Convergence", [member.id], "it is \(member.phase.rawValue) still")
        }
    }
}

extension Outcome {
    var refusesToken: Bool {
        switch self {
        case .refused(.invitationUsed), .refused(.invitationUnknown): true
        default: false
        }
    }
}
