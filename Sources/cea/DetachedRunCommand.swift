// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The process that carries one asynchronous run out; the agent starts it, nobody else.

import Agent
import ArgumentParser
import CtrlExec
import Glibc
import Transport

struct DetachedRunCommand: AsyncParsableCommand {
    static let name = "detached-run"
    static let configuration = CommandConfiguration(commandName: name, shouldDisplay: false)

    func run() async throws {
        let code = await DetachedRun.main(now: wallClockSeconds)
        Glibc.exit(code.rawValue)
    }
}
