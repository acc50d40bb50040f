// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What 7445 says of itself: its routes, its description for programs, and the same with the hosts and scripts that there are.

import AgentLink
import CtrlExec
import DispatcherState
import PKI
import Transport

extension PortFront {
    func apiIndex() -> PortResponse {
        let endpoints = Routes.table.filter { $0.ports.contains(.api) && $0.method != "HEAD" }
        return PortResponse(
            200,
            .record([
                "name": .text("ctrl-exec-api"), "version": .text(version), "spec": .text("/openapi.json"),
                "live_spec": .text("/openapi-live.json"),
                "endpoints": .array(endpoints.map { .record(["method": .text($0.method), "path": .text($0.path)]) }),
            ]))
    }

    func openAPI() -> PortResponse { PortResponse(200, OpenAPIDocument.document(version: version)) }

    /// Asks all agents for their scripts. What is shown is what answered.
    func liveOpenAPI() async -> PortResponse {
        let state = await member.appliedState()
        let names = state.agents.map(\.name.text)
        var scripts: [LiveScript] = []
        // Every name is registered, so that none is unknown; of more than one call takes, the first by name.
        if case .success(let targets) = AgentTarget.resolve(Array(names.prefix(Limits.hosts)), in: state),
            let number = try? SystemRandom.number()
        {
            for result in await agents.capabilities(reqid: Reqid(number).description, targets) {
                guard let host = result["host"]?.scalarText, case .array(let listed) = result["scripts"] else { continue }
                for script in listed {
                    guard let name = script["name"]?.scalarText else { continue }
                    let version = script["schema_version"]
                    if let known = scripts.firstIndex(where: { $0.name == name && $0.version == version }) {
                        scripts[known].hosts.append(host)
                    } else {
                        scripts.append(LiveScript(name: name, version: version, schema: script["schema"], hosts: [host]))
                    }
                }
            }
        }
        return PortResponse(200, OpenAPIDocument.live(version: version, epoch: wallClockSeconds(), hosts: names, scripts: scripts))
    }
}

/// A script as some hosts have it: one entry for each version of its schema.
struct LiveScript: Hashable, Sendable {
    let name: String
    let version: JSONValue?
    let schema: JSONValue?
    var hosts: [String]
}
