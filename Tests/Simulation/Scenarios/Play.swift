// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// A play: a text of one command a line, and the trace that it leaves.
//
//     members a b c              who there is (first; three by default)
//     guests d                   who may join (second; none by default)
//     snapshots 4                a snapshot after so many entries, and no log before it (third; none by default)
//     elect a                    only a's timers run, until it leads under a lease and the others that hear it know
//     campaign a                 the same, until it is elected at all
//     run 300                    so many milliseconds pass
//     until CONDITION            … until it holds, ten seconds at most
//     cut a > b | cut a - b      what a sends to b is lost from now on; in both directions
//     isolate a | heal
//     still a | moving a         a's timers are not looked at; they are again
//     hold KIND | release KIND | drop KIND    messages of a kind: heartbeat, append-answer, timeout-now, vote-request …
//     hold writes a | hold signatures | hold calls | hold fetches, and release
//     save a                     what a fetches comes onto its disk, and nobody tells a
//     lose answers               calls that wait reach their agents, and the answers are lost
//     ask NAME a WHAT            under this request id: issue ANN, open-pairing, begin-rotation, transfer b, invite d, admit d, remove b
//     join d                     the host of d, which has its certificate, starts its member
//     read NAME a CONSISTENCY
//     pair NAME a                an agent asks to be paired and is approved
//     kill a | power-cut a | restart a | lose-disk a
//     expect CONDITION
//
// Conditions: `leader a`, `no leader`, `term a 2`, `follower a`, `candidate a`, `log a 3` (entries), `reply NAME words …`, `no reply NAME`, `caught-up` (all
// who run have applied the same), `snapshot a 6` (the newest on disk), `base a 6` (where the log begins), `waiting signatures`, `waiting calls`,
// `waiting fetches`, `counts a b c learner d` (what a takes for the members: voters, then learners), `rotation making|prepared|none`, `identities PHASE …`,
// `trusted NAME` (every member presents what this agent trusts), `down a`.

import Consensus
import CoordinatorCore
import CtrlExec
import DispatcherState
import Wire

@testable import Simulation

struct Play {
    let text: String

    /// What it shows, line by line.
    func perform() throws -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        var count = 3
        var stage: Stage?
        var guests = 0
        var snapshotEntries: UInt64?
        var header: [String] = []
        for (number, line) in lines.enumerated() {
            let words = line.split(separator: " ").map(String.init)
            guard let first = words.first, !first.hasPrefix("#") else { continue }
            if first == "members" {
                count = words.count - 1
                header.append("> \(line)")
                continue
            }
            if first == "guests" {
                guests = words.count - 1
                header.append("> \(line)")
                continue
            }
            if first == "snapshots" {
                snapshotEntries = words.last.flatMap { UInt64($0) }
                header.append("> \(line)")
                continue
            }
            do {
                let current = try stage ?? Stage(members: count, guests: guests, snapshotEntries: snapshotEntries)
                stage = current
                current.show(command: line)
                var command = PlayCommand(words: words, stage: current)
                try command.perform()
            } catch {
                throw StageProblem("line \(number + 1), \(line): \(error)\n" + (stage?.lines.suffix(30).joined(separator: "\n") ?? ""))
            }
        }
        return (header + (stage?.lines ?? [])).joined(separator: "\n") + "\n"
    }
}

struct PlayCommand {
    private var words: ArraySlice<String>
    private let stage: Stage

    init(words: [String], stage: Stage) {
        self.words = words[...]
        self.stage = stage
    }

    private mutating func word() throws -> String {
        guard let word = words.popFirst() else { throw StageProblem("a word is missing") }
        return word
    }

    private mutating func member() throws -> Int {
        let name = try word()
        guard let place = stage.machines.firstIndex(where: { $0.id.name == name }) else { throw StageProblem("there is no member \(name)") }
        return place
    }

    private mutating func number() throws -> UInt64 {
        let text = try word()
        guard let number = UInt64(text) else { throw StageProblem("\(text) is no number") }
        return number
    }

    mutating func perform() throws {
        switch try word() {
        case "elect": try elect(try member()) { $0.holdsLease(at: $1) }
        case "campaign": try elect(try member()) { member, _ in member.raft.role == .leader }
        case "drop": stage.drop(try word())
        case "run": _ = try stage.pass(.milliseconds(try number()))
        case "until":
            let condition = try condition()
            guard try stage.pass(.seconds(10), until: condition) else { throw StageProblem("it does not come to that") }
        case "expect":
            let condition = try condition()
            guard condition() else { throw StageProblem("it is not so") }
        case "cut":
            let (from, how, to) = (try member(), try word(), try member())
            stage.cut.append((from, to))
            if how == "-" { stage.cut.append((to, from)) }
        case "isolate":
            let place = try member()
            for other in stage.machines.indices where other != place { stage.cut += [(place, other), (other, place)] }
        case "heal": stage.cut = []
        case "still": stage.machines[try member()].isStill = true
        case "moving": stage.machines[try member()].isStill = false
        case "hold": try hold(try word())
        case "release": try release(try word())
        case "lose":
            guard try word() == "answers" else { throw StageProblem("only answers are lost so") }
            try stage.loseAnswers()
        case "ask":
            let (name, place) = (try word(), try member())
            let operation = try operation()
            if case .command(.admit) = operation {
                try stage.ask(name, operation, at: place, as: .joiningHost(address: "192.0.2.9"))
            } else {
                try stage.ask(name, operation, at: place)
            }
        case "read":
            let (name, place) = (try word(), try member())
            guard let consistency = ReadConsistency(rawValue: try word()) else { throw StageProblem("no such consistency") }
            try stage.read(name, consistency, at: place)
        case "pair": try pair(try word(), at: try member())
        case "kill": try stage.end(try member(), losingPower: false)
        case "power-cut": try stage.end(try member(), losingPower: true)
        case "restart": try stage.begin(try member())
        case "join": try stage.join(try member())
        case "save": try stage.saveFetched(try member())
        case "lose-disk": try stage.loseDisk(try member())
        case let other: throw StageProblem("unknown command \(other)")
        }
        guard words.isEmpty else { throw StageProblem("too many words: \(words.joined(separator: " "))") }
    }

    private func elect(_ place: Int, until isElected: (Member, Instant) -> Bool) throws {
        let before = stage.machines.map(\.isStill)
        for other in stage.machines.indices { stage.machines[other].isStill = other != place }
        defer { for other in stage.machines.indices { stage.machines[other].isStill = before[other] } }
        let machine = stage.machines[place]
        let stage = stage
        guard try stage.pass(.seconds(5), until: { machine.member.map { isElected($0, stage.now) } ?? false }) else {
            throw StageProblem("\(machine.id) is not elected")
        }
    }

    private mutating func hold(_ what: String) throws {
        switch what {
        case "writes": stage.machines[try member()].holdsWrites = true
        case "signatures": stage.holdsSignatures = true
        case "calls": stage.holdsCalls = true
        case "fetches": stage.holdsFetches = true
        default: stage.heldKinds.append(what)
        }
    }

    private mutating func release(_ what: String) throws {
        switch what {
        case "writes": try stage.releaseWrites(try member())
        case "signatures":
            stage.holdsSignatures = false
            try stage.settle()
        case "calls":
            stage.holdsCalls = false
            try stage.settle()
        case "fetches":
            stage.holdsFetches = false
            try stage.settle()
        default: try stage.release(what)
        }
    }

    private mutating func operation() throws -> ExclusiveOperation {
        switch try word() {
        case "issue":
            guard let name = OperatorName(try word()) else { throw StageProblem("no operator can have that name") }
            return .command(.issueOperator(name, signingRequest: SigningRequest(der: [0x30, 1])))
        case "open-pairing": return .command(.openPairing(milliseconds: 600_000))
        case "close-pairing": return .command(.closePairing)
        case "begin-rotation":
            return .command(.beginRotation(overlapMilliseconds: 1_000, isCompromised: false, replacing: nil))
        case "transfer": return .transfer(to: stage.machines[try member()].id)
        case "invite":
            let guest = stage.machines[try member()].id
            return .command(.invite(guest, address: "\(guest).example:7446", secretHash: secretHash))
        case "admit":
            let guest = stage.machines[try member()].id
            let request = SigningRequest(der: [0x30, 3])
            return .command(.admit(JoinRequest(member: guest, secretHash: secretHash, publicKey: [7], signingRequest: request)))
        case "remove": return .command(.removeMember(stage.machines[try member()].id))
        case let other: throw StageProblem("unknown operation \(other)")
        }
    }

    private var secretHash: [UInt8] { [UInt8](repeating: 9, count: 32) }

    private func pair(_ name: String, at place: Int) throws {
        guard let agent = AgentName(name) else { throw StageProblem("no agent can have that name") }
        let reqid = Reqid(UInt64(stage.agents.count) + 1)
        let submission = PairingSubmission(
            reqid: reqid, hostname: agent, signingRequest: SigningRequest(der: [0x30, 2]), nonce: "n", code: "123456",
            sourceAddress: "192.0.2.7", suggested: Reachability())
        try stage.ask("open-\(name)", .command(.openPairing(milliseconds: 600_000)), at: place)
        try stage.ask("submit-\(name)", .command(.submitPairing(submission)), at: place, as: .pairingHost(address: "192.0.2.7"))
        try stage.ask("approve-\(name)", .command(.approvePairing(reqid, Reachability())), at: place)
        let stage = stage
        guard try stage.pass(.seconds(2), until: { stage.machines[place].member?.state.agent(named: agent) != nil }),
            let record = stage.machines[place].member?.state.agent(named: agent)
        else { throw StageProblem("\(name) is not paired") }
        stage.agents.append(SimulatedAgent(key: record.key, dialect: .endpoint, trusts: record.confirmedIdentities))
    }

    // MARK: Conditions

    private mutating func condition() throws -> () -> Bool {
        let stage = stage
        switch try word() {
        case "leader":
            let machine = stage.machines[try member()]
            return { machine.member?.holdsLease(at: stage.now) == true }
        case "candidate":
            let machine = stage.machines[try member()]
            return { machine.member?.raft.role == .candidate }
        case "follower":
            let machine = stage.machines[try member()]
            return { machine.member?.raft.role == .follower }
        case "counts":
            let machine = stage.machines[try member()]
            let wanted = words.joined(separator: " ")
            words = []
            return { machine.member?.raft.configuration.words == wanted }
        case "down":
            let machine = stage.machines[try member()]
            return { machine.member == nil }
        case "term":
            let (machine, term) = (stage.machines[try member()], Term(try number()))
            return { machine.member?.raft.term == term }
        case "log":
            let (machine, index) = (stage.machines[try member()], LogIndex(try number()))
            return { machine.member?.raft.lastLogIndex == index }
        case "reply":
            let name = try word()
            let wanted = words.joined(separator: " ")
            words = []
            return { stage.replies.contains { $0.name == name && $0.words == wanted } }
        case "caught-up":
            return {
                let states = stage.machines.compactMap(\.member).map(\.state)
                return states.allSatisfy { $0.appliedIndex == states[0].appliedIndex && $0.stateHash == states[0].stateHash }
            }
        case "no": return try absence()
        case "waiting":
            let what = try word()
            return {
                switch what {
                case "calls": stage.hasWaitingCalls
                case "fetches": stage.hasWaitingFetches
                default: stage.hasWaitingJobs
                }
            }
        case "snapshot":
            let (machine, index) = (stage.machines[try member()], LogIndex(try number()))
            return { machine.snapshots?.newest?.index == index }
        case "base":
            let (machine, index) = (stage.machines[try member()], LogIndex(try number()))
            return { machine.member?.raft.logBase.index == index }
        case "rotation":
            let wanted = try word()
            return {
                stage.machines.contains { machine in
                    guard let member = machine.member, member.holdsLease(at: stage.now) else { return false }
                    return (member.state.rotation.map { String(describing: $0.stage).prefixLabel } ?? "none") == wanted
                }
            }
        case "identities":
            let wanted = Array(words)
            words = []
            return {
                stage.machines.contains { machine in
                    guard let member = machine.member, member.holdsLease(at: stage.now) else { return false }
                    return member.state.identities.map { String(describing: $0.phase) } == wanted
                }
            }
        case "trusted":
            let name = try word()
            guard let agent = AgentName(name) else { throw StageProblem("no agent can have that name") }
            return {
                stage.machines.compactMap(\.member).allSatisfy { member in
                    guard let record = member.state.agent(named: agent), let real = stage.agents.first(where: { $0.key == record.key })
                    else { return false }
                    return member.state.presentation(to: record).contains { real.trusts.contains($0) }
                }
            }
        case let other: throw StageProblem("unknown condition \(other)")
        }
    }

    private mutating func absence() throws -> () -> Bool {
        let stage = stage
        switch try word() {
        case "leader": return { !stage.machines.contains { $0.member?.holdsLease(at: stage.now) == true } }
        case "reply":
            let name = try word()
            return { !stage.replies.contains { $0.name == name } }
        case let other: throw StageProblem("unknown condition no \(other)")
        }
    }
}
