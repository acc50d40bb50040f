// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `cea self-check` and `cea pairing-status`.

import Agent
import ArgumentParser
import CtrlExec
import Glibc

struct SelfCheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "self-check", abstract: "Check configuration, pairing, trust and scripts; exit 0 only if all is well.")
    @OptionGroup var files: LayoutOptions

    func run() throws {
        do {
            let findings = try SelfCheck(layout: files.layout).run()
            for finding in findings { print("\(finding.isFine ? "ok  " : "BAD ") \(finding.text)") }
            if !findings.allSatisfy(\.isFine) { Glibc.exit(CtrlExec.ExitCode.failed.rawValue) }
        } catch {
            end(error)
        }
    }
}

struct PairingStatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "pairing-status", abstract: "Exit 0 if this agent is paired, 1 if not.")
    @OptionGroup var files: LayoutOptions

    func run() throws {
        do {
            let configuration = try files.layout.configurationIfPresent() ?? files.layout.defaultConfiguration(port: 7443)
            let finding = SelfCheck(layout: files.layout).pairing(configuration)
            print(finding.text)
            if !finding.isFine { Glibc.exit(CtrlExec.ExitCode.failed.rawValue) }
        } catch {
            end(error)
        }
    }
}
