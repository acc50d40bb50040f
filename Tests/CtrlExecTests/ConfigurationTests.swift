// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The grammars of the configuration files, and what they say about faults.

import Testing

@testable import CtrlExec

@Suite struct ConfigurationTests {
    private let minimal = "port = 7443\ncert = /e/agent.crt\nkey = /e/agent.key\nca = /e/ca.crt\n"

    @Test("agent.conf of the original is read with its defaults") func minimalConfiguration() throws {
        let conf = try AgentConfiguration(text: minimal, path: "agent.conf")
        #expect(conf.port == 7_443 && conf.cert == "/e/agent.crt" && conf.key == "/e/agent.key" && conf.ca == "/e/ca.crt")
        #expect(conf.volumeLimit == .volume && conf.probeLimit == .probe && !conf.rateLimitDisabled)
        #expect(conf.maximumConnections == 256 && conf.stdinTimeoutSeconds == 10 && conf.scriptDirectories.isEmpty)
        #expect(conf.allowedAddresses == nil && conf.warnings.isEmpty)
    }

    @Test("with a directory of its own, an agent keeps there what no key names") func ownDirectory() throws {
        let conf = try AgentConfiguration(text: minimal + "async_runs_dir = /r\n", path: "agent.conf", directory: "/d")
        #expect(conf.revokedSerials == "/d/revoked-serials" && conf.trustedDispatchers == "/d/ctrl-exec-dispatchers")
        #expect(conf.runsDirectory == "/r" && conf.stagedCertificate == "/d/agent.crt.staged" && conf.cert == "/e/agent.crt")
    }

    @Test("sections, tags, comments and repeated keys are read as the original reads them") func sections() throws {
        let further = """
              # a comment
            port = 8443
            rate_limit_volume = 20/30/40
            rate_limit_disable = yes
            script_dirs = /opt/a:/opt/b
            allowed_ips = 10.0.0.0/8, 192.0.2.7, nonsense
            [Tags]
            env = test
            role = peer # not a comment
            [profile default]
            run_as = nobody
            [strange]
            port = 1
            """
        let conf = try AgentConfiguration(text: minimal + further, path: "agent.conf")
        #expect(conf.port == 8_443)
        #expect(conf.tags.map { "\($0.key)=\($0.value)" } == ["env=test", "role=peer # not a comment"])
        #expect(conf.profiles == ["default"])
        #expect(conf.volumeLimit == RateLimiter.Limit(count: 20, windowSeconds: 30, blockSeconds: 40))
        #expect(conf.rateLimitDisabled)
        #expect(conf.scriptDirectories == ["/opt/a", "/opt/b"])
        let allowed = try #require(conf.allowedAddresses)
        #expect(allowed.contains("10.9.8.7") && allowed.contains("192.0.2.7") && allowed.contains("::ffff:10.0.0.1"))
        #expect(!allowed.contains("192.0.2.8") && !allowed.contains("2001:db8::1") && !allowed.contains("10.0.0"))
        #expect(conf.warnings.map(\.line) == [16, 10])
    }

    @Test(
        "a fault is named with its line and what to do",
        arguments: [
            ("port = 7443\nnonsense\n", "agent.conf:2: expected 'key = value', '[section]' or a comment, found 'nonsense'"),
            ("port =\n", "agent.conf:1: expected 'key = value', '[section]' or a comment, found 'port ='"),
            ("prot = 7443\n", "agent.conf:1: 'port' is missing; is 'prot' in this line meant to be it?"),
            ("", "agent.conf: 'port' is missing; add a line 'port = …'"),
            ("port = 70000\n", "agent.conf:1: 'port' must be a number up to 65535, not '70000'"),
            (
                "port = 1\ncert = a\nkey = b\nca = c\nrate_limit_probe = 3\n",
                "agent.conf:5: 'rate_limit_probe' must be limit/window/block (connections/seconds/seconds), not '3'"
            ),
            (
                "port = 1\ncert = a\nkey = b\nca = c\nallowed_ips = fe80::1\n",
                "agent.conf:5: 'allowed_ips' holds no IPv4 address or network; correct it, or remove it to allow everybody"
            ),
            (
                "port = 1\ncert = a\nkey = b\nca = c\nmax_children = many\n",
                "agent.conf:5: 'max_children' must be a number from 1 to 65536, not 'many'"
            ),
        ])
    func faults(_ text: String, _ message: String) {
        let error = #expect(throws: ConfigurationError.self) { try AgentConfiguration(text: text, path: "agent.conf") }
        #expect(error?.description == message)
    }

    @Test("an unknown key is a warning with the nearest known one") func unknownKey() throws {
        let conf = try AgentConfiguration(text: minimal + "scripts_dir = /opt\nexecutor_socket = /run/x\npairing_port = 7444\n", path: "f")
        #expect(
            conf.warnings.map(\.description) == [
                "f:5: 'scripts_dir' is no key that I know and is ignored; did you mean 'script_dirs'?",
                "f:6: 'executor_socket' is ignored: scripts run as the agent's own user, profiles are not applied",
            ])
    }

    @Test("scripts.conf: names, paths and profiles; malformed lines are skipped and named") func allowlist() throws {
        let text = """
            # scripts
            hello = /opt/hello
            fail3=/opt/fail3 profile=ops
            slow = profile=x note_x=1 /opt/slow
            hello = /opt/hello2
            bad name = /opt/x
            relative = opt/x
            two = /a /b
            none = profile=p
            nothing
            """
        let list = Allowlist(text: text, path: "scripts.conf")
        #expect(
            list.scripts.map { "\($0.name) \($0.path) \($0.profile)" } == [
                "fail3 /opt/fail3 ops", "hello /opt/hello2 default", "slow /opt/slow x",
            ])
        #expect(list.warnings.map(\.line) == [6, 7, 8, 9, 10])
        #expect(list[try #require(ScriptName("slow"))]?.path == "/opt/slow")
        #expect(list[try #require(ScriptName("gone"))] == nil)
    }

    @Test("ctrl-exec.conf: indented lines are ignored, the last of a key is kept, unknown keys are named") func dispatcher() throws {
        let text = "# c\ncert = /a\n key = /ignored\nkey = /k\nca=\nread_timeout = 5\nread_timout = 6\nport\ncert = /b # no comment\n"
        let conf = DispatcherConfiguration(text: text, path: "c.conf", furtherKeys: ["cluster_directory"])
        #expect(conf["cert"] == "/b # no comment")
        #expect(conf["key"] == "/k")
        #expect(conf.readTimeoutSeconds == 5)
        #expect(conf.unknownKeys.map(\.description) == ["c.conf:7: 'read_timout' is no key that I know; did you mean 'read_timeout'?"])
        let error = #expect(throws: ConfigurationError.self) { try conf.required("ca") }
        #expect(error?.description == "c.conf: Missing 'ca' in c.conf")
    }

    @Test(
        "a dispatcher id is made of any host name",
        arguments: [("host.example", "host.example"), ("__a b", "a-b"), ("", "dispatcher"), ("--", "dispatcher"), ("hôte", "h-te")])
    func identifier(_ text: String, _ id: String) { #expect(DispatcherID(sanitising: text).text == id) }

    @Test(
        "script names are words of letters, digits, '_' and '-'",
        arguments: [("hello", true), ("up-date_2", true), ("", false), ("a b", false), ("../x", false), ("a\n", false), ("é", false)])
    func names(_ text: String, _ valid: Bool) { #expect((ScriptName(text) != nil) == valid) }
}
