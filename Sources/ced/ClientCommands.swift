// Part of ced. Licensed under the Apache License, Version 2.0; see LICENSE.

// The subcommands that ask a member for something, in the order in which `ced --help` shows them.

import ArgumentParser

enum ClientCommands {
    static let all: [any ParsableCommand.Type] = [
        RunCommand.self, PingCommand.self, CapabilitiesCommand.self, DiscoveryCommand.self, ResultCommand.self, StatusCommand.self,
        WaitCommand.self, ListAgentsCommand.self, EditAgentCommand.self,
        UnpairCommand.self, PairingModeCommand.self, ListRequestsCommand.self, ApproveCommand.self, DenyCommand.self,
        IssueOperatorCommand.self, RotateCertCommand.self, SerialStatusCommand.self, ListOperatorsCommand.self,
        RevokeCommand.self, ListRevocationsCommand.self,
    ]

    /// Of `ced cluster`.
    static let cluster: [any ParsableCommand.Type] = [
        ClusterStatusCommand.self, ClusterTransferCommand.self, ClusterInviteCommand.self, ClusterRemoveCommand.self,
        ClusterSetAddressCommand.self,
    ]
}
