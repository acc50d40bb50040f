// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// `cea self-check`, `cea pairing-status` and `cea promote-cert`.

import Agent
import ArgumentParser
import CtrlExec
import Glibc
import Transport

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

struct PromoteCertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote-cert", abstract: "Put a renewed certificate that waits in the place of the agent's own.",
        discussion:
            "For root, before the agent starts or reloads: the agent's user may not write its own certificate. Does nothing if none waits.")
    @OptionGroup var files: LayoutOptions

    func run() throws {
        do {
            guard let configuration = try files.layout.configurationIfPresent() else { return }
            StagedCertificate(configuration).promote(nowSeconds: wallClockSeconds(), log: makeLog())
        } catch {
            end(error)
        }
    }
}
