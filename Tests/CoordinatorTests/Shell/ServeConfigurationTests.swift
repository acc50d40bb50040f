// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// What `ced serve` makes of its file and its flags, and what it says about mistakes.

import CtrlExec
import Testing

@testable import Coordinator

@Suite("The configuration of ced serve")
struct ServeConfigurationTests {
    private func read(_ text: String, flags: ServeConfiguration.Flags = .init()) throws -> ServeConfiguration {
        try ServeConfiguration(file: text, path: "ced.conf", flags: flags)
    }

    @Test("Without a file everything has its default")
    func defaults() throws {
        let configuration = try ServeConfiguration(file: nil, path: ServeConfiguration.defaultPath)
        #expect(configuration == ServeConfiguration())
        #expect("\(configuration.peer)" == "0.0.0.0:7446")
        #expect("\(configuration.api)" == "127.0.0.1:7445")
    }

    @Test("A file of ctrl-exec with the cluster's keys in it is read")
    func file() throws {
        let configuration = try read(
            """
            # ctrl-exec's own
            cert = /etc/ctrl-exec/dispatcher.crt
            max_parallel = 8
            timeout = 7
            api_port = 8445

            cluster_directory = /srv/ced
            operations_listen = [::]:8443
            pairing = always
            dial_from = 127.0.0.2
              peer_listen = ignored:1
            """)
        #expect(configuration.maxParallel == 8)
        #expect(configuration.readTimeoutSeconds == 7)
        #expect(configuration.directory == "/srv/ced")
        #expect(configuration.operations == HostPort(host: "::", port: 8443))
        #expect(configuration.api == HostPort(host: "127.0.0.1", port: 8445))
        #expect(configuration.pairingAlways)
        #expect(configuration.dialFrom == "127.0.0.2")
        #expect(configuration.peer == ServeConfiguration().peer)
    }

    @Test("The API's keys are ctrl-exec's; records of runs are kept beside the state directory unless told otherwise")
    func api() throws {
        let configuration = try read(
            """
            auth_hook = /etc/ctrl-exec/auth-hook
            auth_hook_timeout = 3
            api_auth_default = allow
            auth_deny_generic = Yes
            api_cert = /etc/ssl/api.crt
            api_key = /etc/ssl/api.key
            api_max_children = 7
            cluster_directory = /srv/ced/state/
            """)
        #expect(configuration.authHook == "/etc/ctrl-exec/auth-hook" && configuration.authHookTimeoutSeconds == 3)
        #expect(configuration.allowsApiWithoutHook && configuration.deniesGenerically && configuration.apiRequests == 7)
        #expect(configuration.apiCertificate == "/etc/ssl/api.crt" && configuration.apiKey == "/etc/ssl/api.key")
        #expect(configuration.runsDirectory == "/srv/ced/runs")
        #expect(ServeConfiguration().runsDirectory == "/var/lib/ctrl-exec/runs")
        #expect(try read("runs_directory = /srv/runs").runsDirectory == "/srv/runs")
        #expect(ServeConfiguration().snapshotEntries == 20_000)
        #expect(try read("snapshot_entries = 500").snapshotEntries == 500)
        #expect(try read("snapshot_entries = 0").snapshotEntries == nil)
        #expect(try !read("api_auth_default = deny\nauth_deny_generic = no").allowsApiWithoutHook)
        var flags = ServeConfiguration.Flags()
        flags.directory = "state"
        #expect(try read("", flags: flags).runsDirectory == "runs")
    }

    @Test("A flag wins over the file")
    func flags() throws {
        var flags = ServeConfiguration.Flags()
        flags.peer = "127.0.0.1:9446"
        flags.directory = "/elsewhere"
        let configuration = try read("peer_listen = 0.0.0.0:7446\ncluster_directory = /srv/ced\n", flags: flags)
        #expect(configuration.peer == HostPort(host: "127.0.0.1", port: 9446))
        #expect(configuration.directory == "/elsewhere")
    }

    @Test(
        "A mistake is named with its place and what would be right",
        arguments: [
            ("cluster_dir = /x", "ced.conf:1: 'cluster_dir' is no key that I know"),
            ("\npeer_listn = 0.0.0.0:1", "ced.conf:2: 'peer_listn' is no key that I know; did you mean 'peer_listen'?"),
            ("peer_listen = 7446", "ced.conf:1: 'peer_listen' must be HOST:PORT, such as 0.0.0.0:7443 or [::]:7443, not '7446'"),
            ("pairing = yes", "ced.conf:1: 'pairing' must be 'session' or 'always', not 'yes'"),
            ("auth_hook = auth-hook", "ced.conf:1: 'auth_hook' must be an absolute path, not 'auth-hook'"),
            ("api_auth_default = yes", "ced.conf:1: 'api_auth_default' must be 'allow' or 'deny', not 'yes'"),
            ("auth_deny_generic = true", "ced.conf:1: 'auth_deny_generic' must be 'yes' or 'no', not 'true'"),
            ("\napi_cert = /x", "ced.conf:2: 'api_cert' needs 'api_key' beside it"),
            ("isolation_limit = 3600", "ced.conf:1: 'isolation_limit' must be a number with s, m, h or d, such as 1h"),
            ("isolation_limit = 31d", "ced.conf:1: 'isolation_limit' must be a number with s, m, h or d, such as 1h, at most 30d"),
            ("api_key = /x", "ced.conf:1: 'api_key' needs 'api_cert' beside it"),
            ("auth_hook_timeout = 0", "ced.conf:1: 'auth_hook_timeout' must be a number from 1 to 3600, not '0'"),
            ("log_level = loud", "ced.conf:1: 'log_level' must be one of trace, debug, info, notice, warning, error, critical, not 'loud'"),
            ("snapshot_entries = 9", "ced.conf:1: 'snapshot_entries' must be 10 to 200000, or 0 for a member that never takes a snapshot"),
            ("max_parallel = 0", "ced.conf:1: 'max_parallel' must be a number from 1 to 500, not '0'"),
        ])
    func mistakes(text: String, message: String) {
        let error = #expect(throws: ConfigurationError.self) { try read(text) }
        #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "no error")")
    }

    @Test("A flag's mistake names the flag")
    func flagMistake() {
        var flags = ServeConfiguration.Flags()
        flags.operations = "nowhere"
        let error = #expect(throws: ConfigurationError.self) { try read("", flags: flags) }
        #expect(error?.description.contains("--operations must be HOST:PORT") == true)
    }

    @Test(
        "An address is HOST:PORT",
        arguments: [
            ("127.0.0.1:7446", "127.0.0.1:7446"), ("[::1]:1", "[::1]:1"), ("host.example.net:65535", "host.example.net:65535"),
            ("::1:7", nil),
            ("host", nil), ("host:", nil), ("host:65536", nil), (":7446", nil), ("ho st:1", nil), ("host:-1", nil), ("host:+1", nil),
        ] as [(String, String?)])
    func addresses(text: String, result: String?) {
        #expect(HostPort(text)?.description == result)
    }
}
