// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// Which address each port gets, with and without sockets of the service manager.

import CtrlExec
import Platform
import Testing
import Transport

@testable import Coordinator

@Suite("Where a member listens")
struct ListenPlanTests {
    private let configuration = ServeConfiguration()

    @Test("Without inherited sockets it is what the configuration says")
    func configured() {
        let plan = ListenPlan(configuration, inherited: [])
        #expect(plan[.operations].address == .tcp(host: "0.0.0.0", port: 7443))
        #expect(plan[.api].address == .tcp(host: "127.0.0.1", port: 7445))
        #expect(plan[.peer].address == .tcp(host: "0.0.0.0", port: 7446))
        #expect(plan[.control].address == .unix(path: "/run/ctrl-exec/ced.sock", mode: 0o660, group: nil))
        #expect(plan.lines.isEmpty)
    }

    @Test("An inherited socket goes before the configuration, port by port")
    func inherited() {
        let plan = ListenPlan(
            configuration,
            inherited: [
                InheritedSocket(descriptor: 4, name: "control", address: .unix(path: "/run/ctrl-exec/ced.sock")),
                InheritedSocket(descriptor: 3, name: "operations", address: .tcp(host: "::", port: 7443)),
            ])
        #expect(plan[.operations].address == .inherited(descriptor: 3))
        #expect(plan[.control].address == .inherited(descriptor: 4))
        #expect(plan[.pairing].address == .tcp(host: "0.0.0.0", port: 7444))
        #expect(
            plan.lines.map { $0.line.description } == [
                "ACTION=listen ADDRESS=[::]:7443 PORT=operations SOCKET=inherited",
                "ACTION=listen ADDRESS=/run/ctrl-exec/ced.sock PORT=control SOCKET=inherited",
            ])
    }

    @Test("A setting that an inherited socket makes useless is said, with its flag and its key")
    func unused() {
        let plan = ListenPlan(
            configuration, inherited: [InheritedSocket(descriptor: 3, name: "operations", address: .tcp(host: "192.0.2.1", port: 443))])
        let warnings = plan.lines.filter(\.isWarning).map { $0.line.description }
        #expect(warnings.count == 1)
        #expect(warnings.first?.contains("'0.0.0.0:7443' is not used (--operations, operations_listen)") == true, "\(warnings)")
    }

    @Test("A failure names the flag and the key that set the address, and none for an inherited one")
    func settings() {
        let plan = ListenPlan(configuration, inherited: [InheritedSocket(descriptor: 3, name: "api", address: .tcp(host: "::1", port: 1))])
        #expect(plan.setting(of: ListenFailure("cannot listen on 0.0.0.0:7446: permission denied")) == "; set by --peer, peer_listen")
        #expect(plan.setting(of: ListenFailure("cannot listen on the inherited socket 3: no")) == "")
    }
}
