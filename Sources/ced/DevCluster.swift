// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// How `ced dev` makes its cluster, watches it and ends it. Every step is what an operator would type: `ced cluster init`, `install`,
// `serve`, `issue-operator`, `pairing-mode`, `cea request-pairing`, `approve`; requests and approvals go through different members.

import Consensus
import Coordinator
import CtrlExec
import FoundationEssentials
import Glibc
import Platform

final class DevCluster {
    private let plan: DevPlan
    private let printer: DevPrinter
    private let stopping: StopRequest
    private var running: [(name: String, process: ChildProcess)] = []
    private var guardPipe: Int32 = -1
    private var guardProcess: pid_t = -1
    private var agentProcesses: [String: ChildProcess] = [:]
    private var memberProcesses: [String: ChildProcess] = [:]

    init(plan: DevPlan, printer: DevPrinter, stopping: StopRequest) {
        self.plan = plan
        self.printer = printer
        self.stopping = stopping
    }

    // MARK: Making

    func build() async throws {
        let ced = try ownPath()
        let cea = String(ced.dropLast("ced".count)) + "cea"
        if !plan.agents.isEmpty, access(cea, X_OK) != 0 {
            throw CommandFailure(.failed, "\(cea) is not there: 'ced dev' looks for cea beside ced (or say --agents 0)")
        }
        for directory in [plan.directory, plan.logs, plan.directory + "/members", plan.directory + "/agents"] {
            try DurableFile.makeDirectory(directory, mode: 0o700)
        }
        adoptOrphans()
        try startGuard(ced)
        try await step([ced, "cluster", "init", "--members", plan.memberList, "--out", plan.bundles])
        for member in plan.members { try await startMember(member, ced) }
        try await waitForLeader()
        try await step([ced, "issue-operator", "dev", "--out", plan.identity, "--socket", plan.members[0].socket])
        if !plan.agents.isEmpty { try await pairAgents(ced, cea) }
        try describe()
        printer.tell("ready", ["description": plan.description, "identity": plan.identity], nil)
        if !printer.asJSON { explain() }
    }

    private func startMember(_ member: DevPlan.Member, _ ced: String) async throws {
        let bundle = plan.bundles + "/\(member.id).bundle"
        try await step([ced, "cluster", "install", bundle, "--directory", member.directory])
        unlink(bundle)
        for folder in ["/etc", "/var"] { try DurableFile.makeDirectory(member.files + folder, mode: 0o755) }
        try DurableFile.write(Array(member.configuration.utf8), to: member.configurationPath, mode: 0o644)
        let process = try start("member \(member.id)", [ced, "serve", "--config", member.configurationPath], log: "member-\(member.id)")
        memberProcesses[member.id] = process
        printer.tell(
            "member-started", ["member": member.id, "pid": "\(process.pid)"],
            "member \(member.id)   pid \(process.pid)   operations 127.0.0.1:\(member.operations)   socket \(member.socket)")
    }

    private func waitForLeader() async throws {
        try await wait(atMost: 30, for: "no leader was elected within 30 s; see \(plan.logs)/member-*.log") {
            await self.leader() != nil
        }
        if let leader = await leader() { printer.tell("leader", ["member": leader], "member \(leader) leads") }
    }

    /// Agent N asks member N for its certificate, member N+1 approves.
    private func pairAgents(_ ced: String, _ cea: String) async throws {
        try await step([ced, "pairing-mode", "start", "--socket", plan.members[plan.members.count / 2].socket])
        for (number, agent) in plan.agents.enumerated() {
            let asked = plan.members[number % plan.members.count]
            let approving = plan.members[(number + 1) % plan.members.count]
            try prepare(agent)
            let request = try start(
                "pairing of \(agent.name)",
                [
                    cea, "request-pairing", "--directory", agent.directory, "--dispatcher", "127.0.0.1:\(asked.pairing)", "--name",
                    agent.name, "--key-type", "p256",
                ], log: "pair-\(agent.name)")
            let reqid = try await waitForRequest(of: agent, through: approving, ced, request)
            try await step([
                ced, "approve", reqid, "--lookup-by", "ip", "--ip", "127.0.0.1", "--agent-port", "\(agent.port)", "--socket",
                approving.socket,
            ])
            try await wait(
                atMost: 30, for: "\(agent.name) was approved but did not get its certificate; see \(plan.logs)/pair-\(agent.name).log"
            ) {
                request.status() != nil || !self.isRunning(request)
            }
            forget(request)
            guard DurableFile.exists(agent.directory + "/agent.crt") else {
                throw CommandFailure(.failed, "the pairing of \(agent.name) failed; see \(plan.logs)/pair-\(agent.name).log")
            }
            let process = try start(agent.name, [cea, "serve", "--directory", agent.directory], log: agent.name)
            agentProcesses[agent.name] = process
            printer.tell(
                "agent-paired", ["agent": agent.name, "pid": "\(process.pid)", "through": asked.id, "approved": approving.id],
                "\(agent.name)    pid \(process.pid)   port \(agent.port)   paired through \(asked.id), approved through \(approving.id)")
        }
        try await step([ced, "pairing-mode", "stop", "--socket", plan.members[0].socket])
    }

    private func prepare(_ agent: DevPlan.Agent) throws {
        let scripts = agent.directory + "/scripts"
        try DurableFile.makeDirectory(agent.directory, mode: 0o700)
        try DurableFile.makeDirectory(scripts, mode: 0o755)
        try DurableFile.write(Array(agent.configuration.utf8), to: agent.directory + "/agent.conf", mode: 0o644)
        try DurableFile.write(Array(agent.allowlist.utf8), to: agent.directory + "/scripts.conf", mode: 0o644)
        try DurableFile.write([], to: agent.directory + "/revoked-serials", mode: 0o644)
        for script in DevPlan.scripts { try DurableFile.write(Array(script.text.utf8), to: scripts + "/" + script.name, mode: 0o755) }
    }

    private func waitForRequest(
        of agent: DevPlan.Agent, through member: DevPlan.Member, _ ced: String, _ request: ChildProcess
    ) async throws -> String {
        struct Request: Decodable {
            let reqid: String
            let hostname: String
        }
        let giveUp = Date().addingTimeInterval(30)
        while Date() < giveUp {
            let output = try await step([ced, "list-requests", "--json", "--socket", member.socket])
            let requests = try JSONDecoder().decode([Request].self, from: Data(output))
            if let found = requests.first(where: { $0.hostname == agent.name }) { return found.reqid }
            if !isRunning(request) { break }
            try await pause(milliseconds: 50)
        }
        throw CommandFailure(.failed, "\(agent.name) did not ask to be paired; see \(plan.logs)/pair-\(agent.name).log")
    }

    private func describe() throws {
        let description = DevDescription(
            members: plan.members.map { member in
                DevDescription.Member(
                    id: member.id, pid: memberProcesses[member.id]?.pid ?? 0, command: memberProcesses[member.id]?.command ?? [],
                    socket: member.socket,
                    ports: DevDescription.Ports(
                        operations: member.operations, pairing: member.pairing, api: member.api, peer: member.peer),
                    directory: member.directory, files: member.files)
            },
            agents: plan.agents.map { agent in
                DevDescription.Agent(
                    name: agent.name, pid: agentProcesses[agent.name]?.pid ?? 0, command: agentProcesses[agent.name]?.command ?? [],
                    port: agent.port, directory: agent.directory)
            },
            ca: plan.members[0].directory + "/cluster-ca.crt", identity: plan.identity)
        try DurableFile.write(description.encoded(), to: plan.description, mode: 0o600)
    }

    private func explain() {
        let endpoints = plan.members.map { "127.0.0.1:\($0.operations)" }.joined(separator: ",")
        var lines = [
            "", "everything runs; \(plan.description) says what runs where, the logs are in \(plan.logs)", "", "try, in another terminal:",
            "  export CED_ENDPOINTS=\(endpoints) CED_IDENTITY=\(plan.identity)", "  ced cluster status",
        ]
        if let agent = plan.agents.first {
            lines += ["  ced list-agents", "  ced ping \(agent.name)", "  ced run \(agent.name) hello"]
        }
        if let member = plan.members.first, plan.members.count > 1 {
            lines += ["  kill -9 \(memberProcesses[member.id]?.pid ?? 0)      # member \(member.id); then: ced cluster status"]
        }
        lines += ["", "Ctrl-C ends all of it"]
        for line in lines { printer.tell("", [:], line) }
    }

    // MARK: Watching

    /// Until it is asked to stop. What ends by itself is reported, not started again: that is left to whoever plays with it.
    func watch() async throws {
        var leader = await leader()
        while true {
            try await pause(milliseconds: 200)
            for (name, process) in running {
                guard let status = process.status() else { continue }
                forget(process)
                printer.tell(
                    "process-ended", ["name": name, "pid": "\(process.pid)", "status": "\(status)"],
                    "\(name) (pid \(process.pid)) ended with status \(status); to start it again: \(process.command.joined(separator: " "))"
                )
            }
            let now = await self.leader()
            if let now, now != leader { printer.tell("leader", ["member": now], "member \(now) leads") }
            if now != nil { leader = now }
        }
    }

    /// The member whose `/leader` says 200.
    private func leader() async -> String? {
        for member in plan.members where loopbackStatus(port: member.api, path: "/leader") == 200 { return member.id }
        return nil
    }

    // MARK: Ending

    func end() async {
        printer.tell("stopping", [:], "ending \(running.count) processes")
        // Agents first, so that none is without its members; then the members, which hand leadership on as long as there is another.
        let isMember = { (pid: pid_t) in self.memberProcesses.values.contains { $0.pid == pid } }
        end(running.filter { !isMember($0.process.pid) }, atMost: 4)
        endOrphans(sparing: running.map(\.process.pid))
        end(running, atMost: 8)
        if guardPipe >= 0 {
            close(guardPipe)
            guardPipe = -1
        }
        if let directory = plan.socketDirectory {
            for member in plan.members { unlink(member.socket) }
            rmdir(directory)
        }
        printer.tell("stopped", [:], nil)
    }

    private func end(_ ending: [(name: String, process: ChildProcess)], atMost seconds: Double) {
        var left = ending
        for (_, process) in left { process.send(SIGTERM) }
        let giveUp = Date().addingTimeInterval(seconds)
        while !left.isEmpty, Date() < giveUp {
            left.removeAll { $0.process.status() != nil }
            usleep(20_000)
        }
        for (name, process) in left {
            printer.tell("killed", ["name": name], "\(name) (pid \(process.pid)) did not end and is killed")
            process.send(SIGKILL)
            _ = waitpid(process.pid, nil, 0)
        }
        running.removeAll { entry in ending.contains { $0.process.pid == entry.process.pid } }
    }

    /// Scripts that agents have left behind: they have become our children. Ending one may bring us its own.
    private func endOrphans(sparing members: [pid_t]) {
        let spared = members + [guardProcess]
        let giveUp = Date().addingTimeInterval(4)
        while Date() < giveUp {
            let orphans = RunningProcess.all().filter { $0.parent == getpid() && !spared.contains($0.pid) }
            if orphans.isEmpty { return }
            for orphan in orphans {
                kill(orphan.pid, SIGKILL)
                _ = waitpid(orphan.pid, nil, 0)
            }
        }
    }

    // MARK: Processes

    private func start(_ name: String, _ command: [String], log: String) throws -> ChildProcess {
        let path = "\(plan.logs)/\(log).log"
        let process = try ChildProcess.start(command, output: path, errors: path)
        running.append((name, process))
        tellGuard("+\(process.pid)\n")
        return process
    }

    private func isRunning(_ process: ChildProcess) -> Bool {
        running.contains { $0.process.pid == process.pid } && process.status() == nil
    }

    private func forget(_ process: ChildProcess) {
        running.removeAll { $0.process.pid == process.pid }
        tellGuard("-\(process.pid)\n")
    }

    /// Runs a command to its end; its standard output. A failure carries what it said.
    @discardableResult
    private func step(_ command: [String]) async throws -> [UInt8] {
        let output = plan.logs + "/step.out"
        let errors = plan.logs + "/step.err"
        unlink(output)
        unlink(errors)
        let process = try ChildProcess.start(command, output: output, errors: errors)
        var status = process.status()
        while status == nil {
            // Short, so that it is seen to its end even when asked to stop.
            usleep(2_000)
            status = process.status()
        }
        try stopping.check()
        guard status == 0 else {
            let said = String(decoding: try DurableFile.read(errors), as: UTF8.self)
            throw CommandFailure(
                .failed, "'ced \(command.dropFirst().joined(separator: " "))' failed with status \(status ?? 255): \(said)")
        }
        return try DurableFile.read(output)
    }

    private func wait(atMost seconds: Double, for what: String, _ condition: () async -> Bool) async throws {
        let giveUp = Date().addingTimeInterval(seconds)
        while await !condition() {
            guard Date() < giveUp else { throw CommandFailure(.failed, what) }
            if let (name, process) = running.first(where: { $0.name.hasPrefix("member") && $0.process.status() != nil }) {
                forget(process)
                throw CommandFailure(.failed, "\(name) ended at once; see \(plan.logs)")
            }
            try await pause(milliseconds: 20)
        }
    }

    private func pause(milliseconds: UInt64) async throws {
        try await Task.sleep(nanoseconds: milliseconds * 1_000_000)
        try stopping.check()
    }

    // MARK: The guard

    private func startGuard(_ ced: String) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0, fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0, fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0 else {
            throw FileProblem("make", "a pipe")
        }
        let log = plan.logs + "/guard.log"
        guardProcess = try ChildProcess.start([ced, "dev-guard"], input: ends[0], output: log, errors: log).pid
        close(ends[0])
        guardPipe = ends[1]
    }

    private func tellGuard(_ line: String) {
        guard guardPipe >= 0 else { return }
        let bytes = Array(line.utf8)
        _ = write(guardPipe, bytes, bytes.count)
    }
}

/// The status of a plain GET to a port of 127.0.0.1; nil if there was no answer within a second.
private func loopbackStatus(port: UInt16, path: String) -> Int? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var limit = timeval(tv_sec: 1, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let connected = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
    }
    guard connected else { return nil }
    let request = Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".utf8)
    guard write(descriptor, request, request.count) == request.count else { return nil }
    var answer = [UInt8](repeating: 0, count: 64)
    let count = read(descriptor, &answer, answer.count)
    guard count > 12 else { return nil }
    let words = String(decoding: answer.prefix(count), as: UTF8.self).split(separator: " ")
    return words.count > 1 ? Int(words[1]) : nil
}
