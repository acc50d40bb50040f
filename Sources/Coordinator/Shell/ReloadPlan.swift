// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What a configuration that was read again means for a member that runs: which settings change at once, which wait for a restart, and with
// what the member goes on. A value; `RunningMember+Reload.swift` carries it out. Every setting is in the table, whether it can change or not.

import Logging

package struct ReloadPlan: Hashable, Sendable {
    package struct Change: Hashable, Sendable {
        /// The key of the file.
        package let key: String
        package let from: String
        package let to: String
    }

    /// In the order of the table.
    package let live: [Change]
    /// They keep their values until the process is started anew.
    package let waiting: [Change]
    /// What is in force once the plan is carried out: the new values where they can change, the old ones elsewhere, so that the next reload
    /// says again what still waits.
    package let result: ServeConfiguration

    /// - Parameters:
    ///   - running: what is in force.
    ///   - wanted: what the file and the flags say now.
    package init(running: ServeConfiguration, wanted: ServeConfiguration) {
        var (live, waiting, result) = ([Change](), [Change](), running)
        for setting in Self.settings {
            let (from, to) = (setting.text(running), setting.text(wanted))
            guard from != to else { continue }
            let change = Change(key: setting.key, from: from, to: to)
            if let take = setting.take {
                take(&result, wanted)
                live.append(change)
            } else {
                waiting.append(change)
            }
        }
        (self.live, self.waiting, self.result) = (live, waiting, result)
    }

    /// One setting: its key, its property, how it reads, and how it changes while the member runs; nil: not without a restart.
    struct Setting: Sendable {
        let key: String
        let property: String
        let text: @Sendable (ServeConfiguration) -> String
        let take: (@Sendable (inout ServeConfiguration, ServeConfiguration) -> Void)?
    }

    /// Those that together say who is let in by the auth hook.
    static let hookKeys = ["auth_hook", "auth_hook_timeout", "api_auth_default", "auth_deny_generic"]

    static let settings: [Setting] = [
        fixed("cluster_directory", "directory") { $0.directory },
        fixed("operations_listen", "operations") { "\($0.operations)" },
        fixed("pairing_listen", "pairing") { "\($0.pairing)" },
        fixed("api_listen", "api") { "\($0.api)" },
        fixed("peer_listen", "peer") { "\($0.peer)" },
        fixed("control_socket", "controlSocket") { $0.controlSocket },
        fixed("dial_from", "dialFrom") { $0.dialFrom ?? "" },
        fixed("dispatcher_id", "dispatcherID") { $0.dispatcherID ?? "" },
        fixed("cert_days", "agentCertificateDays") { "\($0.agentCertificateDays)" },
        fixed("hold_version", "heldVersion") { $0.heldVersion.map { "\($0)" } ?? "" },
        fixed("snapshot_entries", "snapshotEntries") { "\($0.snapshotEntries ?? 0)" },
        fixed("api_cert", "apiCertificate") { $0.apiCertificate ?? "" },
        fixed("api_key", "apiKey") { $0.apiKey ?? "" },
        fixed("api_max_children", "apiRequests") { "\($0.apiRequests)" },
        fixed("runs_directory", "givenRunsDirectory") { $0.givenRunsDirectory ?? "" },
        fixed("projection", "projection") { $0.projection.map { $0 ? "on" : "off" } ?? "" },
        fixed("projection_config_directory", "projectionConfigurationDirectory") { $0.projectionConfigurationDirectory ?? "" },
        fixed("projection_data_directory", "projectionDataDirectory") { $0.projectionDataDirectory ?? "" },
        fixed("project_keys", "projectsKeys") { $0.projectsKeys ? "yes" : "no" },
        live("pairing", "pairingAlways", { $0.pairingAlways ? "always" : "session" }) { $0.pairingAlways = $1.pairingAlways },
        live("max_parallel", "maxParallel", { "\($0.maxParallel)" }) { $0.maxParallel = $1.maxParallel },
        live("read_timeout", "readTimeoutSeconds", { "\($0.readTimeoutSeconds)" }) { $0.readTimeoutSeconds = $1.readTimeoutSeconds },
        live("isolation_limit", "isolationLimitSeconds", { "\($0.isolationLimitSeconds)s" }) {
            $0.isolationLimitSeconds = $1.isolationLimitSeconds
        },
        live("log_level", "logLevel", { $0.logLevel.rawValue }) { $0.logLevel = $1.logLevel },
        live("auth_hook", "authHook", { $0.authHook ?? "" }) { $0.authHook = $1.authHook },
        live("auth_hook_timeout", "authHookTimeoutSeconds", { "\($0.authHookTimeoutSeconds)" }) {
            $0.authHookTimeoutSeconds = $1.authHookTimeoutSeconds
        },
        live("api_auth_default", "allowsApiWithoutHook", { $0.allowsApiWithoutHook ? "allow" : "deny" }) {
            $0.allowsApiWithoutHook = $1.allowsApiWithoutHook
        },
        live("auth_deny_generic", "deniesGenerically", { $0.deniesGenerically ? "yes" : "no" }) {
            $0.deniesGenerically = $1.deniesGenerically
        },
    ]

    private static func fixed(_ key: String, _ property: String, _ text: @escaping @Sendable (ServeConfiguration) -> String) -> Setting {
        Setting(key: key, property: property, text: text, take: nil)
    }

    private static func live(
        _ key: String, _ property: String, _ text: @escaping @Sendable (ServeConfiguration) -> String,
        _ take: @escaping @Sendable (inout ServeConfiguration, ServeConfiguration) -> Void
    ) -> Setting {
        Setting(key: key, property: property, text: text, take: take)
    }
}
