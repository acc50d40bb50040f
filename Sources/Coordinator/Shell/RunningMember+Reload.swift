// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// SIGHUP: the configuration file is read again while everything goes on. No port is closed, no request dropped, no lease given up. A file
// that cannot be used changes nothing, and the reason stays behind the service's status until one can.

import AgentLink
import CtrlExec
import Logging
import Platform
import Synchronization

extension RunningMember {
    /// - Parameter reread: reads the file and the flags as at the start.
    func reload(_ reread: @Sendable () throws -> ServeConfiguration) async {
        service.reloading()
        let running = configuration.withLock { $0 }
        do {
            let plan = ReloadPlan(running: running, wanted: try reread())
            await carryOut(plan)
            configuration.withLock { $0 = plan.result }
            watch.note(plan.waiting.isEmpty ? nil : "to be restarted for \(plan.waiting.map(\.key).joined(separator: ", "))")
        } catch {
            logger.log(.error, LogLine("reload-refused", ("ERROR", "\(error)"), ("MSG", "the running configuration stays as it is")))
            watch.note("configuration not reloaded: \(error)")
        }
        service.ready(status: await watch.status())
    }

    private func carryOut(_ plan: ReloadPlan) async {
        let (old, new) = (configuration.withLock { $0 }, plan.result)
        LogOutput.processLevel = new.logLevel
        agents?.change(maxParallel: new.maxParallel, readTimeoutSeconds: Int64(new.readTimeoutSeconds))
        if plan.live.contains(where: { ReloadPlan.hookKeys.contains($0.key) }) { hooksInForce?.change(hooks(new)) }
        isolationLimit?.change(seconds: new.isolationLimitSeconds)
        if new.pairingAlways, !old.pairingAlways { pairingUpkeep.begin() }
        if !new.pairingAlways, old.pairingAlways { await pairingUpkeep.end() }
        for change in plan.live {
            logger.log(.notice, LogLine("reload", ("KEY", change.key), ("FROM", change.from), ("TO", change.to)))
        }
        for change in plan.waiting {
            logger.log(
                .warning,
                LogLine(
                    "reload-waits", ("KEY", change.key), ("FROM", change.from), ("TO", change.to), ("MSG", "takes effect after a restart")))
        }
        if plan.live.isEmpty, plan.waiting.isEmpty { logger.log(.notice, LogLine("reload", ("MSG", "nothing has changed"))) }
    }
}
